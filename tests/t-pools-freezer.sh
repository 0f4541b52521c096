#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 120
# The freezer (of suspend) stops the thread of a pool and the worker that populates ahead in the middle of their work,
# and they go on afterwards.
. "$(dirname "$0")/policy.sh"

[ -w /sys/power/pm_test ] || skip 'this kernel does not suspend: no CONFIG_SUSPEND and CONFIG_PM_DEBUG'

load boot --set pool_large_mb=96 --set pool_small_mb=0 --set pool_rate_mb=4
vm_new a
vm a 'create 512M; bind 1 4G 0 512M'
echo freezer >/sys/power/pm_test
cleanup 'echo none >/sys/power/pm_test'
for i in 1 2; do
	filled=$(js '[.pools[].filled] | add')
	echo freeze >/sys/power/state
	wait_for 20 eval "[ \"\$(js '[.pools[].filled] | add')\" -gt $filled ]"
done
replace boot --set pool_large_mb=96 --set pool_small_mb=0
full 0 96
vm a 'convert private 4G 512M; gcheck 4G 32M 0'
vm_end a
unload boot
wait_for 20 pools_are "$NONE"
