#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 240
# kswapd also reclaims where there is enough memory, but in small pieces. It leaves pools alone then.
. "$(dirname "$0")/policy.sh"

[ -d /sys/devices/system/node/node1 ] || skip 'this machine has one NUMA node'

events() { awk -v what="$1" '$1 == what { print $2 }' /proc/vmstat; }
# Whoever allocates wakes it
kswapd_ran() {
	local node
	for node in 0 1; do taskset -c "$(<"/sys/devices/system/node/node$node/cpulist")" ls -R /sys/class >/dev/null; done
	[ "$(events pageoutrun)" -gt "$kicks" ]
}

# Nothing is put together meanwhile
PROACTIVE=/proc/sys/vm/compaction_proactiveness
cleanup "echo $(<$PROACTIVE) >$PROACTIVE"
echo 0 >$PROACTIVE

# Fill all but a little, and free half of it, in pieces: of each 2M on a node, 1M
mkdir "$TMP/fill"
mount -t tmpfs -o size=100%,mpol=interleave fill "$TMP/fill"
cleanup "umount -l '$TMP/fill'"
mb=$((($(free_mb) - 300) & ~3))
dd if=/dev/zero of="$TMP/fill/zeroes" bs=1M count=$mb 2>/dev/null
for ((at = 0; at < mb; at += 4)); do fallocate -p -o ${at}M -l 2M "$TMP/fill/zeroes"; done
kicks=$(events pageoutrun)
note "$(free_mb) MiB free: $(tr -s ' \n' ' ;' </proc/buddyinfo)"

# More pages than there are in large pieces: the others are taken out of smaller ones, of memory that could be moved. The
# kernel raises the watermarks of the zone then, and has kswapd reclaim up to them.
trace_begin pool
load prezero --set pool_large_mb=0 --set pool_small_mb=320
full 320 0
wait_for 60 kswapd_ran
# Time for what it began
sleep 2
note "kswapd ran $(($(events pageoutrun) - kicks)) times"
assert_eq "$(traced 'action=shrink')" 0 'times that pools gave something back, while there was enough memory'
pools_are "$FULL" || die "pools are not full any more: $(js .pools)"
unload prezero
wait_for 20 pools_are "$NONE"
none_lost
