#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 240
# kswapd also reclaims where there is enough memory, but in small pieces. It leaves pools alone then.
. "$(dirname "$0")/policy.sh"

[ -d /sys/devices/system/node/node1 ] || skip 'this machine has one NUMA node'

# Whoever allocates wakes it
kswapd_ran() {
	local node
	for node in 0 1; do taskset -c "$(<"/sys/devices/system/node/node$node/cpulist")" ls -R /sys/class >/dev/null; done
	[ "$(event pageoutrun)" -gt "$kicks" ]
}

# Nothing is put together meanwhile
knob /proc/sys/vm/compaction_proactiveness 0
# Free half of what is filled, in pieces: of each 2M on a node, 1M
leave_mb 300
for ((at = 0; at < filled_mb; at += 4)); do fallocate -p -o ${at}M -l 2M "$TMP/fill/zeroes"; done
kicks=$(event pageoutrun)
note "$(free_mb) MiB free: $(tr -s ' \n' ' ;' </proc/buddyinfo)"

# More pages than there are in large pieces: the others are taken out of smaller ones, of memory that could be moved. The
# kernel raises the watermarks of the zone then, and has kswapd reclaim up to them.
trace_begin pool
load prezero --set pool_large_mb=0 --set pool_small_mb=320
full 320 0
wait_for 60 kswapd_ran
# Time for what it began
sleep 2
note "kswapd ran $(($(event pageoutrun) - kicks)) times"
assert_eq "$(traced 'action=shrink')" 0 'times that pools gave something back, while there was enough memory'
pools_are "$FULL" || die "pools are not full any more: $(js .pools)"
unload prezero
wait_for 20 pools_are "$NONE"
none_lost
