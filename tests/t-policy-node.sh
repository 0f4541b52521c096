#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 60
# The node that a policy chooses: memory comes from there, unless the VMM has bound it elsewhere with mbind(), or
# the VM's cpuset does not allow it, which is fitted and no nonsense. Background work keeps to the cpuset, too.
. "$(dirname "$0")/policy.sh"

[ -d /sys/devices/system/node/node1 ] || skip 'this machine has one NUMA node'

on_node() { # VM OFFSET NODE WHAT
	vm "$1" "node $2"
	assert_eq "${reply#* }" "node=$3" "$4"
}

load hostile --set node=1
vm_new a
vm a 'vmtype=default; create 4M mmap shared; mmap; mbind 1M 1M 0; hwrite 0 1; hwrite 1M 1; fallocate 2M 4K; hread 2M'
on_node a 0 1 'where the policy wants it'
on_node a 2M 1 'where the policy wants it (fallocate)'
on_node a 1M 0 'where mbind() wants it'
fdinfo_is a fitted=0 clamped=0
replace hostile --set node=0
vm a 'mbind 3M 1M 1; hwrite 4K 1; hwrite 3M 1'
on_node a 4K 0 'where the new policy wants it'
on_node a 3M 1 'where mbind() wants it'
vm_end a

# The cpuset of the VM
cgroup near cpuset.mems=0
replace hostile --set node=1 --set how=2 --set from_set=true --set from=256 --set count=64
vm_new c "$CGROUPS/near"
vm c 'vmtype=default; create 4M mmap shared'
wait_for 20 fdinfo_at_least c resident $((256 * K))
vm c 'mmap; hwrite 0 1; hread 1M; hread 1276K'
on_node c 0 0 'in the cpuset'
on_node c 1M 0 'in the cpuset, in the background'
on_node c 1276K 0 'in the cpuset, in the background'
assert_ge "$(fdinfo c fitted)" 65 'decisions that were fitted to the cpuset'
fdinfo_is c clamped=0
