#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 240
# kswapd also reclaims where there is enough memory, but in small pieces. It leaves pools alone then.
. "$(dirname "$0")/policy.sh"

[ -d /sys/devices/system/node/node1 ] || skip 'this machine has one NUMA node'

# Who asks for a piece of 2M when there is none any more wakes it, and does not wait for it.
kswapd_ran() {
	dd if=/dev/zero bs=2M count=4 >>"$TMP/huge/zeroes" 2>/dev/null
	[ "$(event pageoutrun)" -gt "$kicks" ]
}

# Nothing is put together meanwhile
knob /proc/sys/vm/compaction_proactiveness 0
# Free half of what is filled, in pieces: of each 2M on a node, 1M
leave_mb 300
for ((at = 0; at < filled_mb; at += 4)); do fallocate -p -o ${at}M -l 2M "$TMP/fill/zeroes"; done
mkdir "$TMP/huge"
mount -t tmpfs -o huge=always,size=100%,mpol=interleave huge "$TMP/huge"
cleanup "umount -l '$TMP/huge'"
defrag=/sys/kernel/mm/transparent_hugepage/defrag
cleanup "echo '$(sed 's/.*\[\(.*\)\].*/\1/' $defrag)' >$defrag"
echo defer >$defrag
note "$(free_mb) MiB free: $(tr -s ' \n' ' ;' </proc/buddyinfo)"

trace_begin pool
load prezero --set pool_large_mb=0 --set pool_small_mb=128
full 128 0
kicks=$(event pageoutrun)
wait_for 60 kswapd_ran
# Time for what it began
sleep 2
note "kswapd ran $(($(event pageoutrun) - kicks)) times"
assert_eq "$(traced 'action=shrink')" 0 'times that pools gave something back, while there was enough memory'
pools_are "$FULL" || die "pools are not full any more: $(js .pools)"
unload prezero
wait_for 20 pools_are "$NONE"
none_lost
