#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The policy in the README, compiled by the README's command, changes how a running VM's next allocation is zeroed;
# status and the trace show it.
# timeout: 120
. "$(dirname "$0")/lib.sh"
tmp=$(mktemp -d)
cleanup "rm -rf $tmp"
cleanup "gmem-policy unload --all >/dev/null"
events=/sys/kernel/tracing/events/kvm_gmem

fdinfo() { awk -v line="gmem-$1:" '$2 == line { print $3 }' "$tmp/out" | tail -n 1; }
vm_says() { grep -c "$1" "$tmp/out" || :; }

mkfifo "$tmp/in"
"$SELFTESTS/gmem_vm" <"$tmp/in" >"$tmp/out" 2>&1 &
vm=$!
exec 3>"$tmp/in"
printf 'create 4M\nbind 1 4G 0 4M\nconvert private 4G 4M\ngwrite 0x100000000 1\nfdinfo\n' >&3
wait_for 30 grep -q '^ok fdinfo' "$tmp/out"
assert_eq "$(fdinfo policy)" builtin "policy before"
assert_eq "$(fdinfo zeroed-first-use)" 4096 "zeroed at first use, without the policy"
assert_eq "$(fdinfo zeroed-alloc)" 0 "zeroed at allocation, without the policy"

gmem-policy load /opt/gmem/readme/small_early.bpf.o --set small_mb=128
echo 1 >"$events/kvm_gmem_zero/enable"
cleanup "echo 0 >$events/kvm_gmem_zero/enable"
echo >/sys/kernel/tracing/trace
printf 'gwrite 0x100001000 1\nfdinfo\n' >&3
wait_for 30 eval '[ "$(vm_says "^ok fdinfo")" = 2 ]'
assert_eq "$(fdinfo policy)" small_early "policy after"
assert_eq "$(fdinfo zeroed-first-use)" 4096 "zeroed at first use, under the policy"
assert_eq "$(fdinfo zeroed-alloc)" 4096 "zeroed at allocation, under the policy"
grep -q 'kvm_gmem_zero: .* index=1 nr=1 when=alloc' /sys/kernel/tracing/trace ||
	die "the trace does not show it: $(cat /sys/kernel/tracing/trace)"
gmem-policy status | tee "$tmp/status"
grep -q 'early=1' "$tmp/status" || die "status does not show the policy's counter"

exec 3>&-
wait "$vm"
