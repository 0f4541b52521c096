#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 400
# gmem-trace export: what is scraped is what the workload's own log says, exactly; histograms are whole; no counter ever
# decreases, through two lives of a VM and when there are more VMs than labels; the file has what HTTP has; who asks
# wrongly is told so, and who asks slowly keeps nobody waiting.
. "$(dirname "$0")/gmem-trace.sh"

URL=

# export_start ARG...: where it serves is in $URL
export_start() {
	trace_start export --listen 127.0.0.1:0 "$@"
	URL=$(sed -n 's/^Tracing guest memory for \(http[^ ]*\/metrics\)\..*/\1/p' "$TMP/trace.err")
	assert_match "$URL" '^http://127\.0\.0\.1:[0-9]+/metrics$' 'where it serves'
}

# export_stop: by what ends services
export_stop() {
	local rc=0
	kill -TERM "$TRACER"
	wait "$TRACER" || rc=$?
	assert_eq "$rc" 0 "status of gmem-trace: $(cat "$TMP/trace.err")"
	assert_eq "$(sed '/^Tracing/d' "$TMP/trace.err")" '' 'what gmem-trace complains of'
}

scrape() { curl -sSf -m 60 -o "$1" "$URL"; }

# value FILE SERIES: exactly that series
value() {
	local v
	v=$(awk -v series="$2" 'index($0, series " ") == 1 { print substr($0, length(series) + 2) }' "$1")
	assert_match "$v" . "the series $2 in $1"
	echo "$v"
}

# of_vm FILE LABEL NAME [LABELS]: the value of gmem_vm_NAME{vm="LABEL",LABELS}
of_vm() { value "$1" "gmem_vm_$3{vm=\"$2\"${4:+,$4}}"; }

# total FILE REGEX: sum of the series that are like that
total() { awk -v regex="^$2" '$0 !~ /^#/ && $0 ~ regex { sum += $NF } END { printf "%d\n", sum }' "$1"; }

# Each histogram has the same bounds, ends with +Inf, never goes down, and its count is what +Inf has.
check_histograms() {
	awk '
	/_bucket\{/ {
		match($0, /le="[^"]*"/)
		le = substr($0, RSTART + 4, RLENGTH - 5)
		if (!open) { bounds = ""; last = 0 }
		open = 1
		if ($NF + 0 < last) { print "not cumulative: " $0; exit 1 }
		last = $NF + 0
		bounds = bounds " " le
		if (le != "+Inf") next
		if (!all) all = bounds
		if (bounds != all) { print "other bounds: " $0; exit 1 }
		open = 0
		histograms++
		next
	}
	open { print "no +Inf before: " $0; exit 1 }
	/_count[{ ]/ { if ($NF + 0 != last) { print "not what +Inf has: " $0; exit 1 } }
	END { if (histograms < 20) { print histograms " histograms"; exit 1 } }' "$1" || die "histograms of $1"
}

# What was there is there, and no less
check_grown() {
	awk '
	/^#/ { next }
	{ series = $0; sub(/ [^ ]*$/, "", series) }
	FNR == NR { before[series] = $NF; next }
	{ after[series] = $NF }
	END {
		for (s in before) {
			if (s !~ /^gmem_[a-z_]*_(total|bucket|sum|count)([{ ]|$)/) continue
			if (!(s in after)) { print "gone: " s; exit 1 }
			if (after[s] + 0 < before[s] + 0) { print "less: " s; exit 1 }
			n++
		}
		if (n < min) { print n " counters"; exit 1 }
	}' min="${MIN:-500}" "$1" "$2" || die "counters of $1 and $2"
}

note 'counts of the workload'
export_start --textfile "$TMP/gmem.prom" 1
scrape "$TMP/before"
work -v 2 -c 2 -e both -n 40
scrape "$TMP/a"
check_histograms "$TMP/a"
check_grown "$TMP/before" "$TMP/a"
for pid in $PIDS; do
	vm="gmem_workload ($pid)"
	for dir in private shared; do
		n=$(did "$pid" ".to_$dir")
		assert_eq "$(of_vm "$TMP/a" "$vm" conversions_total "direction=\"$dir\"")" "$n" "conversions of $vm to $dir"
		assert_eq "$(of_vm "$TMP/a" "$vm" conversion_duration_seconds_count "direction=\"$dir\"")" "$n" "their durations"
		# phases add up to the duration
		assert_eq "$(awk -v vm="{vm=\"$vm\",direction=\"$dir\"" '
			index($0, "gmem_vm_conversion_phase_seconds_total" vm) { phases += $NF }
			index($0, "gmem_vm_conversion_duration_seconds_sum" vm) { all = $NF }
			END { d = all - phases; print (all > 0 && d * d < 1e-16) }' "$TMP/a")" 1 "phases of $vm to $dir"
	done
	assert_eq "$(total "$TMP/a" "gmem_vm_converted_bytes_total[{]vm=\"gmem_workload .$pid.\"")" "$(did "$pid" .bytes)" "bytes of $vm"
	assert_eq "$(of_vm "$TMP/a" "$vm" conversion_requests_total 'how="hypercall"')" "$(did "$pid" .by_hypercall)" "hypercalls of $vm"
	assert_eq "$(of_vm "$TMP/a" "$vm" conversion_requests_total 'how="memory_fault"')" "$(did "$pid" .by_fault)" "faults of $vm"
	assert_eq "$(of_vm "$TMP/a" "$vm" conversions_unasked_total)" "$(did "$pid" .by_vmm)" "unasked conversions of $vm"
	assert_eq "$(total "$TMP/a" "gmem_vm_faults_total[{]vm=\"gmem_workload .$pid.\",access=\"private\",result=\"(found|allocated)\"")" \
		"$(did "$pid" .faults)" "private faults of $vm"
	assert_eq "$(total "$TMP/a" "gmem_vm_fault_sources_total[{]vm=\"gmem_workload .$pid.\"")" "$(did "$pid" .faults)" "their sources"
	assert_eq "$(of_vm "$TMP/a" "$vm" fault_sources_total 'source="first_use"')" \
		"$(of_vm "$TMP/a" "$vm" faults_total 'access="private",result="allocated"')" "those that zeroed memory"
	assert_eq "$(of_vm "$TMP/a" "$vm" allocated_bytes_total)" "$(($(did "$pid" .allocations) * 4096))" "memory allocated for $vm"
	assert_eq "$(of_vm "$TMP/a" "$vm" zeroed_bytes_total 'when="first_use"')" "$(($(did "$pid" .allocations) * 4096))" "memory zeroed for $vm"
	for series in conversion_requests_unanswered_total conversions_partial_total conversion_noops_total conversion_failures_total \
		allocation_failures_total converting; do
		assert_eq "$(of_vm "$TMP/a" "$vm" "$series")" 0 "$series of $vm"
	done
done
assert_eq "$(total "$TMP/a" 'gmem_conversions_total')" "$(jq .total.conversions "$TMP/log")" 'conversions of the host'
assert_eq "$(total "$TMP/a" 'gmem_converted_bytes_total')" "$(jq .total.bytes "$TMP/log")" 'bytes of the host'
assert_eq "$(total "$TMP/a" 'gmem_conversion_size_conversions_total')" "$(jq .total.conversions "$TMP/log")" 'conversions by size'
assert_eq "$(total "$TMP/a" 'gmem_conversion_vcpus_conversions_total')" "$(jq .total.conversions "$TMP/log")" 'conversions by vCPUs'
assert_eq "$(total "$TMP/a" 'gmem_conversion_phase_duration_seconds_count.*phase="lock"')" "$(jq .total.conversions "$TMP/log")" 'conversions by phase'
assert_eq "$(total "$TMP/a" 'gmem_allocation_duration_seconds_count[{]order="0"')" "$(jq .total.allocations "$TMP/log")" 'allocations by order'
assert_eq "$(total "$TMP/a" gmem_trace_lost_total)" 0 'what was lost'
assert_eq "$(grep '^gmem_trace_build_info{' "$TMP/a" | sed 's/libbpf="[^"]*"//')" "gmem_trace_build_info{,kernel=\"$(uname -r)\"} 1" 'build'
assert_no_match "$(cat "$TMP/a")" 'gmem_trace_unavailable' 'what this kernel does not tell'

note 'formats'
curl -sSf -D "$TMP/head" -o "$TMP/om" -H 'Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5' "$URL"
assert_match "$(cat "$TMP/head")" 'Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8' 'OpenMetrics'
assert_eq "$(tail -n 1 "$TMP/om")" '# EOF' 'the end of it'
assert_match "$(cat "$TMP/om")" $'\n# TYPE gmem_conversions counter\n(.*\n)?gmem_conversions_total[{]' 'a family and its samples'
curl -sSf -D "$TMP/head" -o "$TMP/classic" "$URL"
assert_match "$(cat "$TMP/head")" 'Content-Type: text/plain; version=0.0.4; charset=utf-8' 'the older format'
assert_no_match "$(cat "$TMP/classic")" '# EOF|# UNIT' 'the older format'
assert_eq "$(grep -v '^#' "$TMP/om")" "$(grep -v '^#' "$TMP/classic")" 'samples of both'

note 'the file'
# Whoever reads while it is written sees a whole one.
for _ in $(seq 30); do
	assert_match "$(tail -n 1 "$TMP/gmem.prom")" '^gmem_trace_textfile_errors_total 0$' 'the end of the file'
	sleep 0.1
done
scrape_is_file() { scrape "$TMP/b" && cmp "$TMP/b" "$TMP/gmem.prom"; }
wait_for 30 scrape_is_file
assert_eq "$(stat -c %a "$TMP/gmem.prom")" 644 'who may read it'

note 'requests that are wrong'
status() { curl -sS -m 60 -o "$TMP/body" -D "$TMP/head" -w '%{http_code}' "$@"; }
assert_eq "$(status "${URL%metrics}")" 404 'another path'
assert_eq "$(status "${URL}x")" 404 'another path'
assert_match "$(cat "$TMP/body")" /metrics 'what is said then'
for method in POST PUT DELETE OPTIONS; do
	assert_eq "$(status -X "$method" "$URL")" 405 "$method"
	assert_match "$(cat "$TMP/head")" 'Allow: GET, HEAD' "$method"
done
head -c 3000000 /dev/zero >"$TMP/zeroes"
assert_match "$(status --data-binary "@$TMP/zeroes" "$URL" 2>&1 || :)" 405 'a large POST'
assert_eq "$(status -I "$URL")" 200 HEAD
assert_eq "$(status "$URL?a=b")" 200 'with arguments'
hostport=${URL#http://} hostport=${hostport%/metrics}
exec {slow}<>"/dev/tcp/${hostport/://}"
printf 'GET /metr' >&"$slow"
assert_eq "$(status "$URL")" 200 'while another client is slow'
exec {slow}>&-
# More of them than there are connections, all at once. On the debug kernel an answer takes seconds, and who waits for ten is
# turned away.
jobs=()
for i in $(seq $((${TIME_SCALE:-1} > 1 ? 2 : 24))); do
	curl -sSf -m 100 -o "$TMP/many.$i" "$URL" &
	jobs+=($!)
done
for i in "${jobs[@]}"; do wait "$i" || die 'one of many clients got no answer'; done
assert_eq "$(sort -u "$TMP"/many.* | grep -c '^gmem_conversions_total{direction="private"}')" 1 'what they got'

note 'a port in use'
assert_fails 1 gmem-trace export --listen "$hostport"
assert_match "$output" "cannot listen on $hostport: Address already in use.*--listen takes another port" 'what is said'

note 'two lives of a VM'
rows() { bpftool -j map dump name vms | jq length; }
there() { scrape "$TMP/now" && grep -qxF "gmem_vm_processes{vm=\"web-1\"} $1" "$TMP/now"; }
# named_vm COMMANDS: of a VM that is called web-1, as Firecracker's are; it ends when it was seen
named_vm() {
	local in
	mkfifo "$TMP/named.in"
	(
		close_vms
		exec -a --id=web-1 "$SELFTESTS/gmem_vm" <"$TMP/named.in" >"$TMP/named" 2>&1
	) &
	cleanup "kill -9 $! 2>/dev/null"
	exec {in}>"$TMP/named.in"
	rm "$TMP/named.in"
	echo "$1" >&"$in"
	wait_for 30 there 1
	assert_ge "$(rows)" 1 'VMs that the kernel counts'
	exec {in}>&-
	wait $! || die "web-1: $(cat "$TMP/named")"
}
scrape "$TMP/0"
named_vm 'create 2M; bind 1 4G 0 2M; convert private 4G 1M; convert shared 4G 64K'
scrape "$TMP/1"
check_grown "$TMP/0" "$TMP/1"
assert_eq "$(of_vm "$TMP/1" web-1 conversions_total 'direction="private"')" 1 'the first life'
wait_for 30 there 0
check_grown "$TMP/1" "$TMP/now"
# Its room in the kernel is given back a while later.
no_rows() { [ "$(rows)" = 0 ]; }
wait_for 60 no_rows
scrape "$TMP/2"
check_grown "$TMP/1" "$TMP/2"
named_vm 'create 2M; bind 1 4G 0 2M; convert private 4G 2M'
scrape "$TMP/3"
check_grown "$TMP/2" "$TMP/3"
assert_eq "$(of_vm "$TMP/3" web-1 conversions_total 'direction="private"')" 2 'both lives'
assert_eq "$(of_vm "$TMP/3" web-1 converted_bytes_total 'direction="private"')" $((3 * M)) 'bytes of both lives'
assert_eq "$(of_vm "$TMP/3" web-1 conversion_duration_seconds_count 'direction="shared"')" 1 'of the first life only'

note 'what is so now'
vm_new a
vm a 'create 4M; bind 1 4G 0 2M; convert private 4G 1M; gfill 4G 64K 1; convert shared 4G 32K; gfill 4G 16K 2'
label="gmem_vm (${VM_PID[a]})"
# seen PRIVATE SHARED: memory is looked at once each interval, maybe in the middle of what the VM does
seen() {
	scrape "$TMP/now" && grep -qxF "gmem_vm_memory_private_bytes{vm=\"$label\"} $1" "$TMP/now" &&
		grep -qxF "gmem_vm_memory_shared_bytes{vm=\"$label\"} $2" "$TMP/now"
}
wait_for 30 seen $((64 * K)) $((16 * K))
assert_eq "$(of_vm "$TMP/now" "$label" memory_doubly_backed_min_bytes)" 0 'backed by both, at least'
assert_eq "$(of_vm "$TMP/now" "$label" memory_doubly_backed_max_bytes)" $((16 * K)) 'backed by both, at most'
assert_eq "$(value "$TMP/now" gmem_memory_private_bytes)" $((64 * K)) 'private memory of the host'
assert_eq "$(of_vm "$TMP/now" "$label" processes)" 1 'it lives'
vm_end a
wait_for 30 seen 0 0
load prezero --set large=false --set pool_large_mb=0 --set pool_small_mb=32 --set pool_low_percent=5
wait_for 60 pools_are "$FULL"
pooled() { scrape "$TMP/now" && [ "$(total "$TMP/now" gmem_pool_ready_bytes)" = "$(js '[.pools[].ready] | add')" ]; }
wait_for 30 pooled
assert_ge "$(total "$TMP/now" gmem_pool_ready_bytes)" $((32 * M)) 'memory in pools'
assert_eq "$(total "$TMP/now" gmem_pool_dirty_bytes)" 0 'memory in pools that is to be zeroed'
unload prezero

note policies
load count
vm_new b
vm b 'create 2M; bind 1 4G 0 2M; convert private 4G 2M; gfill 4G 64K 1'
unload count
counted_detach() { scrape "$TMP/now" && grep -qxF 'gmem_policy_detached_total{policy="count"} 1' "$TMP/now"; }
wait_for 30 counted_detach
assert_eq "$(value "$TMP/now" 'gmem_policy_attached_total{policy="count"}')" 1 'policies loaded'
assert_eq "$(value "$TMP/now" 'gmem_policy_decisions_total{policy="count",op="alloc",shadow="false"}')" 16 'decisions'
assert_eq "$(value "$TMP/now" 'gmem_policy_tripped_total{policy="count"}')" 0 'policies disabled'
vm_end b

note 'what it costs'
# The process, and its maps in the kernel
rss=$(awk '/^VmHWM/ { print $2 }' "/proc/$TRACER/status")
maps=$(bpftool -j map | jq --argjson pid "$TRACER" '[.[] | select(.pids // [] | map(.pid) | index($pid)) | .bytes_memlock] | add')
assert_ge "$maps" 1000000 'bytes of its maps'
assert_le "$((rss * 1024 + maps))" $((64 * M)) 'memory of the exporter'

note 'the end'
check_grown "$TMP/3" "$TMP/now"
scrape "$TMP/last"
export_stop
check_grown "$TMP/last" "$TMP/gmem.prom"
assert_eq "$(find "$TMP" -name 'gmem.prom?*')" '' 'files that are left'
if curl -sS -m 5 -o "$TMP/body" "$URL" 2>/dev/null; then die 'somebody still serves'; fi

note 'more VMs than labels'
labels() { sed -n 's/^gmem_vm_processes{vm="\(.*\)"} .*/\1/p' "$1" | sort | paste -sd' '; }
export_start --max-vms 2
for vm in x y; do
	vm_new $vm
	vm $vm 'create 2M; bind 1 4G 0 2M; convert private 4G 1M'
done
both_there() { scrape "$TMP/0" && [ "$(value "$TMP/0" gmem_processes)" = 2 ]; }
wait_for 30 both_there
work -v 4 -c 1 -e both -n 10
scrape "$TMP/1"
check_grown "$TMP/0" "$TMP/1"
check_histograms "$TMP/1"
assert_eq "$(labels "$TMP/0")" "$(printf 'gmem_vm (%s)\n' "${VM_PID[x]}" "${VM_PID[y]}" | sort | paste -sd' ')" 'labels of two VMs'
assert_eq "$(labels "$TMP/1")" "$(labels "$TMP/0") other" 'labels of six VMs'
assert_eq "$(total "$TMP/1" 'gmem_vm_conversions_total[{]vm="other"')" "$(jq .total.conversions "$TMP/log")" 'the VMs without labels'
for series in conversions faults allocated_bytes; do
	assert_eq "$(total "$TMP/1" "gmem_vm_${series}_total")" "$(total "$TMP/1" "gmem_${series}_total")" "$series, sum over VMs"
done
# One whose VM has ended makes room for another; the host has both.
vm_end x
made_room() {
	[ -n "${VM_PID[z]:-}" ] && vm_end z
	vm_new z
	vm z 'create 2M; bind 1 4G 0 2M; convert private 4G 1M'
	sleep 1
	scrape "$TMP/2" && [ "$(labels "$TMP/2")" = "$(printf 'gmem_vm (%s)\n' "${VM_PID[y]}" "${VM_PID[z]}" | sort | paste -sd' ') other" ]
}
wait_for 60 made_room
assert_eq "$(of_vm "$TMP/2" "gmem_vm (${VM_PID[z]})" conversions_total 'direction="private"')" 1 'the new one begins at 0'
grep -v '^gmem_vm_' "$TMP/1" >"$TMP/1.host"
check_grown "$TMP/1.host" "$TMP/2"
grep -F 'vm="other"' "$TMP/1" >"$TMP/1.other"
MIN=50 check_grown "$TMP/1.other" "$TMP/2"
vm_end y
vm_end z
export_stop

note 'a file alone, and one that cannot be written any more'
trace_start export --textfile "$TMP/alone.prom" 0.5
assert_match "$(cat "$TMP/trace.err")" "^Tracing guest memory for $TMP/alone.prom" 'where it writes'
assert_eq "$(ss -Hltnp | grep -c "pid=$TRACER," || :)" 0 'it does not listen'
assert_match "$(cat "$TMP/alone.prom")" gmem_conversions_total 'the file is there at once'
until rm -f "$TMP/alone.prom" && mkdir "$TMP/alone.prom"; do :; done
wait_for 30 grep -q "alone.prom cannot be written: Is a directory" "$TMP/trace.err"
rmdir "$TMP/alone.prom"
errors() { grep -qE '^gmem_trace_textfile_errors_total [1-9]' "$TMP/alone.prom"; }
wait_for 30 errors
assert_eq "$(grep -c 'cannot be written' "$TMP/trace.err")" 1 'it is said once'
kill -TERM "$TRACER"
wait "$TRACER"
gmem-trace export --textfile "$TMP/counted.prom" 0.2 2 2>/dev/null
assert_match "$(cat "$TMP/counted.prom")" gmem_conversions_total 'it ends after COUNT intervals'
