#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 300
# A policy with pools is loaded and unloaded a hundred times, some of them while the pools are being filled and while
# a VM takes from them: no memory, no program, map or link stays. (The threads do, asleep.)
. "$(dirname "$0")/policy.sh"

OBJ=/opt/gmem/lib/gmem/policies/prezero.bpf.o

sum() { js "[.pools[].$1] | add"; }

# By bpftool, which is faster. With "filled", not before there is something in each pool that the VM can take.
cycle() {
	local taken
	quietly bpftool struct_ops register "$OBJ" /sys/fs/bpf/cycle
	if [ "${1:-}" = filled ]; then
		wait_for 20 pools_are '.order == 0 or .ready > 0'
		taken=$(sum taken)
	fi
	vm a 'punch 0 64M; gtouch 4G 64M 64K'
	if [ "${1:-}" = filled ]; then assert_ge $(($(sum taken) - taken)) 1 "folios taken in cycle ${i:-}"; fi
	quietly bpftool link detach pinned /sys/fs/bpf/cycle/prezero
	rm -r /sys/fs/bpf/cycle
}
nothing_left() { no_policies && pools_are "$NONE"; }
cleanup 'rm -rf /sys/fs/bpf/cycle'

vm_new a
vm a 'create 64M; bind 1 4G 0 64M; convert private 4G 64M'
for i in 1 2 3; do cycle filled; done
wait_for 20 nothing_left
vm a 'punch 0 64M'
census=$(bpf_census | sort) before=$(free_mb)
for ((i = 0; i < 100; i++)); do
	if ((i % 10)); then cycle; else cycle filled; fi
done
wait_for 20 nothing_left
vm a 'gcheck 4G 64M 0; punch 0 64M'
assert_eq "$(bpf_census | sort)" "$census" 'what BPF has in the kernel'
assert_ge "$(sum filled)" 100 'folios that were filled, for this test to prove something'
assert_ge "$(sum taken)" 100 'folios that were taken'
none_lost
assert_ge "$(free_mb)" $((before - 12)) 'MiB of free memory'
