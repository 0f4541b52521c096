#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The kill switch: a kernel booted with gmem_bpf=off refuses every policy, says why, and is otherwise the same, also for
# gmem-trace; any other value changes nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

# What the machine runs
# shellcheck disable=SC2016
off='
. /opt/gmem/tests/gmem-trace.sh
for p in count zero_alloc prealloc; do
	assert_fails 1 gmem-policy load $p -j
	assert_eq "$(jq -r .error.code <<<"$output")" EACCES "the error of load $p"
	assert_match "$(jq -r ".error.message + .error.hint" <<<"$output")" "gmem_bpf=off" "what it says"
done
assert_fails 1 gmem-policy load count --flags named --as x
assert_fails 1 gmem-policy load count --dry-run
assert_fails 255 bpftool struct_ops register /opt/gmem/lib/gmem/policies/count.bpf.o
assert_fails 1 gmem-policy check
assert_match "$output" "gmem_bpf=off" check
assert_match "$(dmesg)" "gmem_policy: policy count refused: booted with gmem_bpf=off" "the log"
assert_eq "$(gmem-policy status --names)" "" "what is loaded"
vm_new a
vm a "create 2M; bind 1 4G 0 2M; convert private 4G 2M; gcheck 4G 2M 0; punch 0 2M; gcheck 4G 1M 0"
policy_is a builtin builtin
fdinfo_is a decisions=0
assert_eq "$(gmem-trace memory -j -p "${VM_PID[a]}" | jq -c "[.cannot_show, .vms[].private_bytes]")" "[[],$M]" "memory"
for c in conversions faults zero alloc policy; do
	trace_start $c -j
	work -n 4
	trace_stop
	assert_no_losses
	assert_eq "$(jq -c "[.cannot_show, .vms[]?.pid, .decisions[]?]" "$TMP/trace")" "$([ $c = policy ] && echo "[[]]" || echo "[[],$PIDS]")" "$c"
done
'
# shellcheck disable=SC2016
other='
. /opt/gmem/tests/policy.sh
assert_match "$(dmesg)" "gmem_bpf= takes on or off" "the log"
load count
'
log=${BUILD:-build}/logs/console-killswitch
scripts/boot --log "$log-off.log" --append gmem_bpf=off -- bash -c "$off"
scripts/boot --log "$log-other.log" --append gmem_bpf=maybe -- bash -c "$other"
