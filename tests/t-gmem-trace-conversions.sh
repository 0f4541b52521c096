#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 400
# gmem-trace conversions: counts are those of the workload's own log, exactly; phases add up to the whole, and the
# whole is what the clock says; percentiles are within 6 % of the exact ones; requests and conversions are joined
# when one vCPU asks and another thread converts, even that of a vCPU that has asked for something else, when one
# request is answered piece by piece, and when several vCPUs of several VMs convert at once.
. "$(dirname "$0")/gmem-trace.sh"

# A JSON number each, in one line
counts() {
	of "$1" '[.conversions, .to.private.conversions, .to.shared.conversions, .to.private.bytes + .to.shared.bytes,
		.requests.hypercall, .requests.memory_fault, .unasked] | map(tostring) | join(" ")'
}

logged() {
	did "$1" '[.conversions, .to_private, .to_shared, .bytes, .by_hypercall, .by_fault, .by_vmm] | map(tostring) | join(" ")'
}

# What must be true of any VM whose vCPUs are all back
check_sums() {
	assert_eq "$(of "$1" '.joined + .unasked == .conversions')" true "VM $1: all are joined or unasked"
	assert_eq "$(of "$1" '[.requests.unanswered, .partial, .changed_nothing, .failed, .converting] | map(tostring) | join(" ")')" \
		'0 0 0 0 0' "VM $1: unanswered, partial, no-ops, failed, converting now"
	assert_eq "$(of "$1" '[.to[] | .conversions == .phases.total.count,
		.conversions == ([.by_size[].conversions] | add // 0), .conversions == ([.by_vcpus[].conversions] | add // 0),
		.pages == ([.by_size[].pages] | add // 0), .pages == ([.by_vcpus[].pages] | add // 0),
		.phases.total.sum_ns == ([.phases | to_entries[] | select(.key != "total" and .key != "first_fault") | .value.sum_ns] | add),
		.phases.total.sum_ns == ([.by_size[].ns] | add // 0), .phases.lock.sum_ns == ([.by_vcpus[].lock_ns] | add // 0)] | all')" \
		true "VM $1: sums of phases, sizes and vCPUs: $(of "$1" .)"
	assert_eq "$(of "$1" '[.to[].phases[] | .count == ([.buckets[][2]] | add // 0),
		(.count == 0 or (.p50_ns <= .p90_ns and .p90_ns <= .p99_ns and .p99_ns <= .p999_ns and .p999_ns <= .max_ns))] | all')" \
		true "VM $1: histograms"
	# What ends before it begins would be longer than the run.
	assert_eq "$(tail -n 1 "$TMP/trace" | jq '.interval_ns as $all | [.vms[].to[].phases[] | .sum_ns >= .max_ns and .max_ns <= $all] | all')" \
		true "VM $1: phases as long as they can be"
	assert_eq "$(of "$1" '[.to[].phases | .think.count, .back.count] | add')" "$(of "$1" '.joined * 2')" \
		"VM $1: joined conversions have the phases of their vCPU"
}

check() {
	local pid
	note "gmem_workload $*"
	trace_start conversions -j
	work "$@"
	trace_stop
	assert_no_losses
	assert_eq "$(wc -l <"$TMP/trace")" 1 'reports without an interval'
	assert_eq "$(jq -r '"\(.schema) \(.command) \(.cannot_show | length)"' "$TMP/trace")" '1 conversions 0' 'the report'
	assert_eq "$(jq -r '.vms[].pid' "$TMP/trace" | sort)" "$(sort <<<"$PIDS")" 'VMs'
	for pid in $PIDS; do
		assert_eq "$(counts "$pid")" "$(logged "$pid")" "VM $pid: conversions, directions, bytes, requests, unasked"
		check_sums "$pid"
	done
}

check -v 2 -c 4 -e both -n 40
# More than one vCPU at once was seen, and each conversion in one class
assert_eq "$(jq '[.vms[].to[].by_vcpus[] | select(.vcpus_from > 1)] | length > 0' "$TMP/trace")" true 'vCPUs that convert at once'
check -v 2 -c 3 -e both -n 30 --other-thread
check -v 2 -c 4 -e both -n 30 --swap
check -c 2 -p accept -s 1M -n 6
assert_eq "$(jq -c '[.vms[].to.private.by_size[] | [.pages_from, .conversions]]' "$TMP/trace")" '[[256,12]]' 'range sizes'

# ---- Against the events that the same run was told ----

note 'percentiles and sums, from events'
trace_start events -j --event conversion,first_fault
work -v 2 -c 2 -e both -n 60
trace_stop
assert_no_losses
for pid in $PIDS; do
	assert_eq "$(counts "$pid")" "$(logged "$pid")" "VM $pid, by events"
	check_sums "$pid"
done
assert_eq "$(jq -s '[.[] | select(.event == "conversion")] | length' "$TMP/trace")" "$(jq .total.conversions "$TMP/log")" 'events'
# The whole is the sum, to the nanosecond, and is the time that passed from the exit until the vCPU ran again.
assert_eq "$(jq -s '[.[] | select(.event == "conversion") |
	.total_ns == .exit_ns + .think_ns + .lock_ns + .zap_ns + .store_ns + .punch_ns + .back_ns] | all' "$TMP/trace")" true 'sum of phases'
jq -s -r '.[] | select(.event == "conversion" and .asked) | .clock_ns - .exit_clock_ns - .total_ns' "$TMP/trace" |
	sort -n | uniq -c >"$TMP/differences"
assert_eq "$(awk '{ print $2 }' "$TMP/differences")" 0 "time from exit to entry, less the total: $(cat "$TMP/differences")"

cat >"$TMP/exact.jq" <<-'END'
	(map(select(.event))) as $events | .[-1] as $report |
	def exact($m): sort | .[((length * $m + 999) / 1000 | floor) - 1];
	[$report.vms[] | .pid as $pid | .to | to_entries[] | .key as $dir | .value.phases | to_entries[] |
		.key as $phase | .value as $seen |
		[$events[] | select(.pid == $pid) |
			if $phase == "first_fault" then select(.event == "first_fault" and $dir == "private") | .ns
			else select(.event == "conversion" and .to_private == ($dir == "private")) |
				(if $phase == "think" or $phase == "back" then select(.asked) else . end) | .["\($phase)_ns"] |
				(if $phase == "punch" or $phase == "exit" then select(. > 0) else . end) end] as $exact |
		select($exact | length > 0) |
		([[500, "p50_ns"], [900, "p90_ns"], [990, "p99_ns"], [999, "p999_ns"]][] as [$m, $p] | [$p, ($exact | exact($m))] as $e |
			{phase: "\($dir) \($phase) \($e[0])", exact: $e[1], seen: $seen[$e[0]],
			ok: ($e[1] == $seen[$e[0]] or ((($e[1] - $seen[$e[0]]) | fabs) <= 0.06 * $e[1]))}),
		{phase: "\($dir) \($phase) max", exact: ($exact | max), seen: $seen.max_ns, ok: (($exact | max) == $seen.max_ns)},
		{phase: "\($dir) \($phase) sum", exact: ($exact | add), seen: $seen.sum_ns, ok: (($exact | add) == $seen.sum_ns)},
		{phase: "\($dir) \($phase) count", exact: ($exact | length), seen: $seen.count, ok: (($exact | length) == $seen.count)}] |
	"\(length) \(map(select(.ok | not)) | tostring)"
END
output=$(jq -s -r -f "$TMP/exact.jq" "$TMP/trace")
assert_match "$output" '^[0-9]+ \[\]$' 'percentiles, maxima, sums and counts, against the exact ones'
assert_ge "${output%% *}" 150 'values compared'

note 'vCPUs that convert for each other'
trace_start events -j --event conversion,convert_request,convert_end
work -c 4 -e both -n 40 --swap
trace_stop
assert_no_losses
assert_eq "$(counts "$PIDS")" "$(logged "$PIDS")" 'conversions, and those that nobody asked for'
check_sums "$PIDS"
assert_eq "$(jq -s '[.[] | select(.event == "conversion" and .asked) | .asked_gfn == .gfn and .asked_nr == .nr] | all' "$TMP/trace")" true \
	'each conversion is joined with the request for its range'
# The memory of each vCPU is asked for by its thread alone.
jq -s '(map(select(.event == "convert_request") | {key: (.gfn | tostring), value: .tid}) | from_entries) as $asked |
	[.[] | select(.event == "convert_end" and ($asked[.gfn | tostring] // .tid) != .tid)] | length' "$TMP/trace" >"$TMP/swapped"
assert_ge "$(cat "$TMP/swapped")" 20 'conversions by the thread of another vCPU'

# ---- One request and several conversions; requests that nobody answers ----

note 'one VM, step by step'
trace_start conversions -j
vm_new a
vm a 'create 2M; bind 1 4G 0 2M; convert private 4G 2M; convert private 4G 1M; plain 2 5G 2M; convert private 5G 64K'
# not answered, then answered by more than was asked for, in three pieces
vm_fails a EFAULT 'gread 5G'
vm_fails a EFAULT 'gread 5G'
vm a 'convert shared 5G 8K; convert private 5G 4K; convert shared 5G 4K; gread 5G'
pid=${VM_PID[a]}
vm_end a
trace_stop
assert_no_losses
assert_eq "$(of "$pid" '[.conversions, .unasked, .joined, .requests.memory_fault, .requests.unanswered, .changed_nothing, .failed, .converting] | map(tostring) | join(" ")')" \
	'5 2 3 2 1 1 0 0' 'conversions, unasked, joined, requests, unanswered, no-ops, failed, now'
assert_eq "$(of "$pid" '[.to[].phases | .exit.count, .think.count, .back.count, .total.count] | tostring')" '[0,1,0,3,1,2,1,2]' \
	'phases of the pieces: only the first one exits, and only the last one goes back into the guest'

# ---- Intervals ----

note 'intervals'
trace_start conversions -j 0.5
work -t 3
trace_stop
assert_ge "$(wc -l <"$TMP/trace")" 2 'reports'
assert_eq "$(jq -s '[.[].vms[].conversions] | add' "$TMP/trace")" "$(jq .total.conversions "$TMP/log")" 'sum over the intervals'
assert_eq "$(jq -s '[.[].vms[].to[].phases.total | [.count, .sum_ns, ([.buckets[][2]] | add // 0)] | .[0] == .[2]] | all' "$TMP/trace")" true \
	'histograms of intervals'

# ---- Loading ----

# 6,600 in all. It grew to 131,000 once, and to half of the time until it traced, because the same was verified on each path.
note 'what the verifier goes through'
trace_start conversions -j
verified=$(cat /proc/"$TRACER"/fdinfo/* 2>/dev/null | awk '/^verified_insns:/ { n += $2 } END { print n + 0 }')
trace_stop
assert_ge "$verified" 1000 'instructions that were verified, as the kernel tells'
assert_le "$verified" 20000 'instructions that were verified'

# ---- Which VM ----

note 'one VM of two, by pid, name and cgroup'
mkdir "$CGROUPS/t-trace"
cleanup "rm_cgroup '$CGROUPS/t-trace'"
trace_start conversions -j --cgroup /t-trace 1
vm_new b
vm b 'create 2M; bind 1 4G 0 2M; convert private 4G 1M'
vm_new c "$CGROUPS/t-trace"
vm c 'create 2M; bind 1 4G 0 2M; convert private 4G 1M; convert shared 4G 1M'
sleep 1.5
trace_stop
assert_eq "$(jq -s -c '[.[].vms[] | [.pid, .conversions, .cgroup]]' "$TMP/trace")" "[[${VM_PID[c]},2,\"/t-trace\"]]" 'VMs of the cgroup'
trace_start conversions -j -p "${VM_PID[b]}"
vm b 'convert shared 4G 1M'
vm c 'convert private 4G 1M'
trace_stop
assert_eq "$(jq -c '[.vms[] | [.pid, .conversions]]' "$TMP/trace")" "[[${VM_PID[b]},1]]" 'the VM with that pid'
trace_start conversions -j --vm "${VM_PID[c]}"
vm b 'convert private 4G 1M'
vm c 'convert shared 4G 1M'
trace_stop
assert_eq "$(jq -c '[.vms[] | [.pid, .conversions]]' "$TMP/trace")" "[[${VM_PID[c]},1]]" 'the VM with that pid as a name'

# What a VMM's command line calls it. The shell gives gmem_vm the name where Firecracker has an option.
trace_start conversions -j --vm 'web-*'
mkfifo "$TMP/named.in"
(
	close_vms
	exec -a --id=web-1 "$SELFTESTS/gmem_vm" <"$TMP/named.in" >"$TMP/named" 2>&1
) &
named=$!
cleanup "kill -9 $named 2>/dev/null; wait $named 2>/dev/null"
exec {in}>"$TMP/named.in"
echo 'create 2M; bind 1 4G 0 2M; convert private 4G 1M' >&"$in"
wait_for 30 grep -q 'ok convert' "$TMP/named"
vm b 'convert shared 4G 1M'
sleep 1
trace_stop
assert_eq "$(jq -c '[.vms[] | [.pid, .name, .conversions]]' "$TMP/trace")" "[[$named,\"web-1\",1]]" 'the VM with that name'
