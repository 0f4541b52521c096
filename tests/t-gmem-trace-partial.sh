#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 200
# gmem-trace on a kernel that has only a part of what it wants: it says what it cannot show, and what it shows is as
# exact as ever. Which tracepoints and iterators there are, gmem-trace knows from the kernel's types (BTF); here it is
# given copies of these in which some have other names, while the kernel stays as it is.
. "$(dirname "$0")/gmem-trace.sh"

BIN=$(type -P gmem-trace)
export BIN

# ---- Kernels that lack something ----

# hide FILE NAME...: types of this kernel without those of these names
hide() {
	local file=$1 name script=''
	shift
	for name in "$@"; do script+="s/\\x00$name\\x00/\\x00${name/_/-}\\x00/;"; done
	LC_ALL=C sed "$script" "/sys/kernel/btf/$file" >"$TMP/btf/$file"
}

# Each gmem-trace from here on is on a kernel without these tracepoints, and what else is named. None: with all.
without() {
	local name vmlinux=() kvm=()
	rm -rf "$TMP/btf"
	mkdir "$TMP/btf"
	for name in "$@"; do
		case $name in
		bpf_iter_* | gmem_policy_ops) vmlinux+=("$name") ;;
		kvm_gmem_*) vmlinux+=("btf_trace_$name") ;;
		*) kvm+=("btf_trace_$name") ;;
		esac
	done
	hide vmlinux "${vmlinux[@]}"
	hide kvm "${kvm[@]}"
}

mkdir "$TMP/bin"
cat >"$TMP/bin/gmem-trace" <<-'END'
	#!/bin/bash
	# In place of the real one. It has the same process.
	for f in "$BTF"/*; do mount --bind "$f" "/sys/kernel/btf/${f##*/}" || exit 99; done
	exec "$BIN" "$@"
END
cat >"$TMP/bin/on-other-kernel" <<-'END'
	#!/bin/bash
	exec unshare -m "${0%/*}/gmem-trace.real" "$@"
END
mv "$TMP/bin/gmem-trace" "$TMP/bin/gmem-trace.real"
mv "$TMP/bin/on-other-kernel" "$TMP/bin/gmem-trace"
chmod +x "$TMP/bin"/*
export BTF=$TMP/btf PATH=$TMP/bin:$PATH

# trace_end LACK...: as trace_stop, when it said that the kernel does not tell these, and no more
trace_end() {
	local rc=0
	kill -INT "$TRACER"
	wait "$TRACER" || rc=$?
	assert_eq "$rc" 0 "status of gmem-trace: $(cat "$TMP/trace.err")"
	assert_eq "$(sed -n 's/^gmem-trace: this kernel does not tell: //p' "$TMP/trace.err" | sort)" \
		"$([ $# = 0 ] || printf '%s\n' "$@" | sort)" 'what the kernel does not tell'
	assert_eq "$(grep -cvE '^Tracing|does not tell: ' "$TMP/trace.err" || :)" 0 "what else gmem-trace says: $(cat "$TMP/trace.err")"
	assert_eq "$(tail -n 1 "$TMP/trace" | jq -r '.cannot_show | sort[]')" "$([ $# = 0 ] || printf '%s\n' "$@" | sort)" 'the same in JSON'
}

# refused REGEX ARG...: there is nothing that it could show
refused() {
	local regex=$1
	shift
	assert_fails 1 gmem-trace "$@"
	assert_match "$output" "$regex" "gmem-trace $*"
	assert_eq "$({ gmem-trace -j "$@" 2>/dev/null || :; } | jq -r .error.code)" EOPNOTSUPP "gmem-trace -j $*"
}

note 'all of it, by the same way'
without
trace_start faults -j
work -n 10
trace_end
assert_eq "$(of "$PIDS" '[.faults[] | select(.memory != "raced") | .count] | add')" "$(did "$PIDS" .faults)" faults

note 'without tracefs'
unshare -m bash -c 'umount -l /sys/kernel/tracing /sys/kernel/debug/tracing 2>/dev/null
	[ ! -e /sys/kernel/tracing/events ] && exec "$BIN" zero -j --once' >"$TMP/trace" 2>"$TMP/trace.err"
assert_eq "$(jq -c '[.command, .cannot_show]' "$TMP/trace")" '["zero",[]]' 'a report'

# The tracepoints of policies are there, but there is nothing that fires them.
note 'as without CONFIG_GMEM_BPF'
without gmem_policy_ops bpf_iter_gmem_{obj,pool}
refused 'no tracepoint kvm_gmem_policy_decision' policy
refused 'none of the tracepoints that tell this' events --event pool,policy_trip
for c in conversions faults zero alloc; do
	trace_start $c -j
	work -n 10
	trace_end
	assert_no_losses
	assert_eq "$(jq -c --argjson pid "$PIDS" '[.vms[].pid == $pid] | unique' "$TMP/trace")" '[true]' "VMs of $c"
done
assert_eq "$(of "$PIDS" '[.allocated[].pages] | add')" "$(did "$PIDS" .allocations)" allocations
trace_start events -j
work -n 10
trace_end 'policies that are attached' 'policies that are detached' 'policies that are disabled' 'what policies decide' \
	'pools of zeroed memory'
assert_eq "$(jq -s '[.[] | select(.event == "conversion")] | length' "$TMP/trace")" "$(jq .total.conversions "$TMP/log")" 'conversions, one by one'
vm_new a
vm a 'create 4M; bind 1 4G 0 2M; convert private 4G 1M; gfill 4G 64K 1; convert shared 4G 32K; gfill 4G 16K 2'
gmem-trace memory -j >"$TMP/out" 2>"$TMP/err"
assert_eq "$(jq -c '[.cannot_show, (.vms[] | [.private_bytes, .shared_bytes, .doubly_bytes_max]), .pools]' "$TMP/out")" \
	"[[\"private memory\",\"pools\"],[null,$((16 * K)),null],null]" memory
assert_eq "$(cat "$TMP/err")" "$(printf 'gmem-trace: this kernel does not tell: %s\n' 'private memory' pools)" 'what is said of it'
assert_match "$(gmem-trace memory 2>/dev/null)" 'private +not known.*shared +16 KiB of 2 MiB' 'memory as text'
vm_end a
rm -f "$TMP/trace.err"
gmem-trace record "$TMP/a.gmt" 2>"$TMP/trace.err" &
TRACER=$!
wait_for 30 grep -q '^Tracing' "$TMP/trace.err"
work -n 10 --hold 2
kill -INT "$TRACER"
wait "$TRACER" || die "record ended with $?: $(cat "$TMP/trace.err")"
output=$(gmem-trace report --text "$TMP/a.gmt")
assert_match "$output" "VM gmem_workload \\($PIDS\\): $(jq .total.conversions "$TMP/log") conversions" 'a recording'
gmem-trace report --output - "$TMP/a.gmt" >"$TMP/page"
assert_ge "$(sed -n '/<section id="memory">/,/<\/section>/p' "$TMP/page" | grep -c '<polyline ')" 1 'its memory: what is shared'
rm -f "$TMP/trace.err"
gmem-trace export --listen 127.0.0.1:0 1 >"$TMP/trace" 2>"$TMP/trace.err" &
TRACER=$!
wait_for 30 grep -q '^Tracing' "$TMP/trace.err"
url=$(sed -n 's/^Tracing guest memory for \(http[^ ]*\/metrics\)\..*/\1/p' "$TMP/trace.err")
work -n 10
curl -sSf -o "$TMP/scrape" "$url"
kill -TERM "$TRACER"
wait "$TRACER" || die "export ended with $?: $(cat "$TMP/trace.err")"
assert_eq "$(sed -n 's/^gmem_trace_unavailable{what="\(.*\)"} 1$/\1/p' "$TMP/scrape" | wc -l)" 4 'what export does not have'
assert_eq "$(awk '/^gmem_conversions_total/ { n += $NF } END { print n }' "$TMP/scrape")" "$(jq .total.conversions "$TMP/log")" 'conversions exported'
assert_eq "$(grep -cE '^gmem_(pool_|policy_|memory_private)' "$TMP/scrape" || :)" 0 'what is not known is not exported'

note 'without what tells where the memory of faults comes from'
without kvm_gmem_alloc kvm_gmem_zero
trace_start faults -j
work -n 10
trace_end allocations zeroing
assert_eq "$(of "$PIDS" '[.faults[] | select(.memory != "raced") | .count] | add')" "$(did "$PIDS" .faults)" faults
assert_eq "$(of "$PIDS" '[.faults[] | select(.memory == "allocated") | .source] | unique | tostring')" '["-"]' 'their source'
refused 'no tracepoint kvm_gmem_zero' zero
refused 'no tracepoint kvm_gmem_alloc' alloc

note 'without requests'
without kvm_gmem_convert_request
trace_start conversions -j
work -n 10
trace_end "requests, and the phases 'exit', 'think' and 'back'"
assert_eq "$(of "$PIDS" '[.conversions, .unasked, .joined, .partial] | tostring')" "[$(did "$PIDS" '[.conversions, .conversions] | map(tostring) | join(",")'),0,0]" \
	'conversions, unasked, joined, partial'

note 'without the beginning of conversions'
without kvm_gmem_convert_begin
trace_start conversions -j
work -n 10
trace_end 'phases of conversions'
assert_eq "$(of "$PIDS" '[.conversions, .partial, .unasked, .joined, ([.to[].phases.total.count] | add)] | tostring')" \
	"[$(did "$PIDS" '[.conversions, .conversions] | map(tostring) | join(",")'),0,0,0]" 'conversions, partial, unasked, joined, with phases'

note 'without the entry of vCPUs'
without kvm_entry kvm_exit
trace_start conversions -j
work -n 10
trace_end 'the way back into the guest, and requests that nobody answered' "how long KVM takes to leave to the VMM (the phase 'exit')"
assert_eq "$(of "$PIDS" '[.conversions, .joined + .unasked] | tostring')" "[$(did "$PIDS" '[.conversions, .conversions] | map(tostring) | join(",")')]" \
	'conversions, joined or unasked'
assert_eq "$(of "$PIDS" '[.to[].phases | .exit.count, .back.count] | add')" 0 'phases that are not known'
assert_eq "$(of "$PIDS" '[.requests.unanswered, .converting] | tostring')" '[0,0]' 'unanswered, converting now'

note 'without what a command is about'
without kvm_gmem_convert_end kvm_gmem_fault
refused 'no tracepoint kvm_gmem_convert_end' conversions
refused 'no tracepoint kvm_gmem_convert_end' export --listen 127.0.0.1:0
refused 'no tracepoint kvm_gmem_fault' faults

note 'without all of it'
all=(/sys/kernel/tracing/events/kvm_gmem/kvm_gmem_*)
all=("${all[@]##*/}")
assert_ge "${#all[@]}" 20 tracepoints
without "${all[@]}" bpf_iter_gmem_{obj,pool}
for c in conversions faults zero alloc policy events 'record /dev/null' 'export --listen 127.0.0.1:0'; do
	# shellcheck disable=SC2086 # a command and its argument
	refused 'no tracepoint|none of the tracepoints.*come with the gmem-bpf patches' $c
done
