#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 300
# What is in pools is given back when memory is short: a process that needs it gets it, and nobody is killed. When it is
# over, the pools are filled again. What comes out of a pool is charged to the VM's memory cgroup, whose limit holds.
. "$(dirname "$0")/policy.sh"

note 'a memory hog'
load prezero --set pool_large_mb=320 --set pool_small_mb=64
full 64 320
# 2M at a time, to be fast
echo always >/sys/kernel/mm/transparent_hugepage/enabled
cleanup 'echo madvise >/sys/kernel/mm/transparent_hugepage/enabled'
trace_begin pool
kills=$(event oom_kill) given=$(js '[.pools[].given_back] | add')
# All that is free, and half of what is in the pools
hog=$(($(free_mb) + 384))
dd if=/dev/zero of=/dev/null bs="${hog}M" count=1 iflag=fullblock 2>"$TMP/dd" || die "the hog: $(cat "$TMP/dd")"
assert_match "$(cat "$TMP/dd")" '1\+0 records out' "the hog of $hog MiB"
assert_eq "$(event oom_kill)" "$kills" 'processes killed for memory'
assert_ge "$(($(js '[.pools[].given_back] | add') - given))" 1 'folios given back'
assert_ge "$(traced 'action=shrink')" 1 'shrinks in the trace'
# The threads leave it alone for a while, and then fill it again
wait_for 60 pools_are "$FULL"
assert_eq "$(event oom_kill)" "$kills" 'processes killed for memory'

note 'with a VM that takes from them meanwhile'
vm_new a
vm a 'create 512M; bind 1 4G 0 512M; convert private 4G 512M; gfill 4G 32M 7'
hog=$(($(free_mb) + 256))
dd if=/dev/zero of=/dev/null bs="${hog}M" count=1 iflag=fullblock 2>"$TMP/dd" &
dd=$!
for i in 1 2 3 4 5 6 7 8; do vm a "gcheck $((4 * G + i * 32 * M)) 32M 0; punch $((i * 32 * M)) 32M"; done
rc=0
wait $dd || rc=$?
assert_eq "$rc" 0 "the hog of $hog MiB: $(cat "$TMP/dd")"
vm a 'gcheck 4G 32M 7'
assert_eq "$(event oom_kill)" "$kills" 'processes killed for memory'
vm_end a
unload prezero

note 'who pays'
cgroup pay "memory.max=$((256 * M))"
for large in true false; do
	load prezero --set pool_large_mb=64 --set pool_small_mb=32 --set large=$large
	full 32 64
	vm_new m "$CGROUPS/pay"
	vm m 'pid'
	base=$(<"$CGROUPS/pay/memory.current")
	vm m 'create 64M; bind 1 4G 0 64M; convert private 4G 64M'
	vm m 'gtouch 4G 16M'
	fdinfo_is m zeroed-pool=$((16 * M)) pool-misses=0
	now=$(<"$CGROUPS/pay/memory.current")
	assert_ge $((now - base)) $((16 * M)) "charged to the VM's cgroup (large=$large)"
	assert_le $((now - base)) $((20 * M)) "charged to the VM's cgroup (large=$large)"
	assert_ge "$(awk '$1 == "file" { print $2 }' "$CGROUPS/pay/memory.stat")" $((16 * M)) 'in its memory.stat'
	vm_end m
	wait_for 20 no_objects
	wait_for 20 eval '[ "$(<"$CGROUPS/pay/memory.current")" -le $((4 * M)) ]'
	unload prezero
done

note 'a limit holds'
load prealloc --cgroup pay --set from_pool=true --set pool_small_mb=64 --set pool_low_percent=100
echo $((32 * M)) >"$CGROUPS/pay/memory.max"
for background in true false; do
	replace prealloc --set from_pool=true --set pool_small_mb=64 --set pool_low_percent=100 --set background=$background
	full 64 0
	vm_new m "$CGROUPS/pay"
	vm m 'create 64M; bind 1 4G 0 64M'
	wait_for 30 idle m
	assert_ge "$(fdinfo m resident)" $((16 * M)) "populated below memory.max (background=$background)"
	assert_le "$(fdinfo m resident)" $((32 * M)) "populated below memory.max (background=$background)"
	assert_eq "$(fdinfo m zeroed-pool)" "$(fdinfo m resident)" 'from the pool'
	vm_end m
	wait_for 20 no_objects
done
assert_le "$(<"$CGROUPS/pay/memory.current")" $((32 * M)) 'memory.current'
assert_match "$(<"$CGROUPS/pay/memory.events")" $'(^|\n)oom_kill 0\n' 'memory.events'
# A charge that fails gives the folio back, to the pool or to the page allocator: none is lost
unload --all
wait_for 20 pools_are "$NONE"
none_lost
