#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 180
# CPUs come and go, all of a node's at last, while its pool is filled: the thread goes on elsewhere, and nothing is lost.
. "$(dirname "$0")/policy.sh"

[ -w /sys/devices/system/cpu/cpu1/online ] || skip 'CPUs of this machine cannot be taken offline'
[ -d /sys/devices/system/node/node1 ] || skip 'this machine has one NUMA node'

cpus=$(cd /sys/devices/system/node/node1 && ls -d cpu[0-9]*)
cleanup "for cpu in $(echo "$cpus" | tr '\n' ' '); do echo 1 >/sys/devices/system/cpu/\$cpu/online; done"
filling() { [ "$(pool 1 9 .filled)" -gt "$1" ]; }
goes_on() {
	local filled
	filled=$(pool 1 9 .filled)
	wait_for 10 filling "$filled"
}

# A block a second: long enough for all of this
load prezero --set pool_large_mb=400 --set pool_small_mb=0 --set pool_rate_mb=2
goes_on
for cpu in $cpus; do
	note "$cpu goes"
	echo 0 >"/sys/devices/system/cpu/$cpu/online"
	goes_on
done
assert_eq "$(</sys/devices/system/node/node1/cpulist)" '' 'CPUs of node 1'
vm_new a
vm a 'create 8M; bind 1 4G 0 8M; convert private 4G 8M; gcheck 4G 8M 0'
for cpu in $cpus; do
	echo 1 >"/sys/devices/system/cpu/$cpu/online"
done
goes_on
pools_are '.high == 0 or .ready < .high' || die 'full before the end, so this test proves nothing'
replace prezero --set pool_large_mb=96 --set pool_small_mb=0
full 0 96
vm a 'gcheck 4G 8M 0'
vm_end a
unload prezero
wait_for 20 pools_are "$NONE"
none_lost
