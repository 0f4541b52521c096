#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 180
# What waits to be rebuilt for want of memory: it is counted where there is something to rebuild only, and holds
# nothing of a policy that has gone. What cannot even be noted is counted, too.
. "$(dirname "$0")/policy.sh"

trace_begin collapse
cgroup tight
vm_new a "$CGROUPS/tight"
load hostile --set order=9 --set rebuild=1 --set max_holes=511 --set only_op=alloc
vm a 'create 16M; bind 1 4G 0 16M; convert private 4G 16M; gtouch 4G 16M'
assert_eq "$(fdinfo a folios-order-9)" 8 'blocks of 2M that were touched'
echo $((4 * M)) >"$CGROUPS/tight/memory.high"

note 'blocks that need no rebuilding'
replace hostile --set order=9 --set rebuild=1 --set max_holes=511
vm a 'convert shared 4G 16M; convert private 4G 16M'
sleep 2
fdinfo_is a rebuilds=0 rebuilds-failed=0
assert_traced 'collapse: ' 0 'tries to rebuild what is one folio'

note 'a block that waits for memory'
vm a "convert shared $((4 * G + M)) 64K; punch 1M 64K; convert private $((4 * G + M)) 64K"
wait_for 10 traced_at_least 'collapse: .* ret=-12' 1
fdinfo_is a rebuilds=0 folios-order-9=7
# Each conversion asked for it; the first one may have been looked at after the hole was there.
assert_ge "$(fdinfo a rebuilds-failed)" 1 'rebuilds for which there was no memory'
left() { bpf_census | grep -c hostile || :; }
assert_ge "$(left)" 1 'what BPF has in the kernel of a policy that is loaded'
unload hostile
gone() { [ "$(left)" = 0 ]; }
wait_for 5 gone

note 'and is rebuilt when there is some'
: >"$TRACE/trace"
load hostile --set order=9 --set rebuild=1 --set max_holes=511
vm a "convert shared $((4 * G + M)) 4K; convert private $((4 * G + M)) 4K"
wait_for 10 traced_at_least 'collapse: .* ret=-12' 1
echo max >"$CGROUPS/tight/memory.high"
wait_for 30 fdinfo_at_least a rebuilds 1
assert_eq "$(fdinfo a folios-order-9)" 8 'blocks of 2M'
vm_end a
unload hostile

note 'what there is no memory to note'
# Each allocation of a conversion fails once, and then none. Two of them are for the rebuilding: the first a file needs
# once. How many others come before is not always the same.
keep_failing_knobs
echo N >/sys/kernel/debug/failslab/ignore-gfp-wait
echo 0 >/sys/kernel/debug/failslab/verbose
load hostile --set rebuild=1 --set max_holes=511 --set only_op=convert
: >"$TRACE/trace"
for n in 1 2 3 4 5 6 7 8; do
	vm_new f
	vm f 'create 4M; bind 1 4G 0 4M'
	echo "$n" >"/proc/${VM_PID[f]}/fail-nth"
	_vm_do f 'convert private 4G 4M' || :
	left=$(<"/proc/${VM_PID[f]}/fail-nth")
	echo 0 >"/proc/${VM_PID[f]}/fail-nth"
	vm_end f
done
assert_ge "$left" 1 'allocations that were left at the end, when none failed any more'
traced_at_least 'collapse: .* why=convert ret=-12' 2 || die 'what could not be noted is not told'
unload hostile
