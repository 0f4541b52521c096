#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 180
# What a VM frees goes back into the pool: to be zeroed there, before anybody gets it. Whoever reads it next, guest or
# host, reads zeroes. What something else refers to, and what does not fit, is given back.
. "$(dirname "$0")/policy.sh"

[ -d /sys/devices/system/node/node1 ] || skip 'this machine has one NUMA node'

sum() { js "[.pools[].$1] | add"; }
node_vm() { # NAME: on node 0
	vm_new "$1"
	taskset -cp "$(</sys/devices/system/node/node0/cpulist)" "${VM_PID[$1]}" >/dev/null
}

trace_begin pool free zero
tag=0
for large in true false; do
	note "large=$large"
	if [ $large = true ]; then order=9 in_small=0 in_large=32; else order=0 in_small=32 in_large=0; fi
	bytes=$((4096 << order))
	# It is not filled again before it is nearly empty: there is room for what comes back
	load prezero --set large=$large --set recycle=true --set pool_low_percent=5 --set pool_small_mb=$in_small \
		--set pool_large_mb=$in_large
	full $in_small $in_large
	filled=$(sum filled)

	node_vm a
	vm a "create 16M; bind 1 4G 0 16M; convert private 4G 16M"
	for how in punch end kill; do
		tag=$((tag + 1))
		vm a "gfill 4G 16M $tag; gcheck 4G 16M $tag"
		fdinfo_is a resident=$((16 * M)) pool-misses=0
		assert_eq "$(pool 0 $order .ready)" $((16 * M)) 'ready while the VM has the rest'
		recycled=$(pool 0 $order .recycled)
		echo >"$TRACE/trace"
		case $how in
		punch)
			vm a 'punch 0 16M'
			fdinfo_is a recycled=4096 scrub-failed=0 resident=0 zeroed-free=0
			;;
		end) vm_end a ;;
		kill) vm_kill a ;;
		esac
		if [ $how != punch ]; then wait_for 20 no_objects; fi
		wait_for 30 pools_are "$FULL"
		assert_eq $((($(pool 0 $order .recycled) - recycled) * bytes)) $((16 * M)) "bytes recycled ($how)"
		assert_eq "$(sum filled)" "$filled" 'filled from free memory'
		assert_traced "pool: node=0 order=$order action=recycle " $((16 * M / bytes)) 'recycled'
		assert_traced 'free: .* mode=recycle pages=4096 failed=0' 1 'frees'
		assert_traced 'zero: ' 0 'nothing is zeroed while memory is freed'

		# All of the pool, and so all of what came back, goes to the next: a guest, or a host mapping
		node_vm s
		vm s 'vmtype=default; create 32M mmap shared; mmap; checkzero 0 32M'
		fdinfo_is s zeroed-pool=$((32 * M)) pool-misses=0
		vm s "hfill 0 32M 0x5ec7e7$tag"
		vm_end s
		wait_for 20 eval "[ \"\$(js '.objects | length')\" -le 1 ]"
		wait_for 30 pools_are "$FULL"
		if [ $how != punch ]; then
			node_vm a
			vm a "create 16M; bind 1 4G 0 16M; convert private 4G 16M"
		fi
		vm a "gcheck 4G 16M 0"
		fdinfo_is a zeroed-pool=$((16 * M * (1 + (tag % 3 == 1)))) zeroed-alloc=0 zeroed-first-use=0
		vm a 'punch 0 16M'
		wait_for 30 pools_are "$FULL"
		filled=$(sum filled)
	done
	vm_end a
	wait_for 20 no_objects
	unload prezero
done

note 'what does not fit is given back'
load prezero --set recycle=true --set pool_large_mb=8 --set pool_small_mb=0
full 0 8
node_vm a
vm a 'create 16M; bind 1 4G 0 16M; convert private 4G 16M; gfill 4G 16M 9'
wait_for 30 pools_are "$FULL"
recycled=$(sum recycled)
vm a 'punch 0 16M'
assert_eq "$(sum recycled)" "$recycled" 'recycled into a pool that is full'
fdinfo_is a recycled=0 scrub-failed=0 resident=0
vm a 'gcheck 4G 16M 0'
vm_end a

note 'what something else refers to is given back'
replace prezero --set recycle=true --set pool_large_mb=0 --set pool_small_mb=8 --set large=false --set pool_low_percent=5
full 8 0
node_vm s
vm s 'vmtype=default; create 4M mmap shared; mmap; hfill 0 4M 0x77'
vm s 'pin 64K; punch 0 128K'
fdinfo_is s recycled=31 scrub-failed=1
vm s 'unpin; checkzero 0 128K'

note 'what has gone bad is not recycled'
allow_splat 'Memory failure|recovery action|Sending SIGBUS|hardware memory (corruption|error)'
vm s 'hfill 256K 128K 0x78'
vm_fails s EBUSY 'madvise hwpoison 320K' # guest_memfd leaves it to the VMM what to do
recycled=$(sum recycled)
vm s 'punch 256K 128K'
fdinfo_is s recycled=62 scrub-failed=1
assert_eq $(($(sum recycled) - recycled)) 31 'pages recycled, of 32 of which one is bad'
# By a guest: the host's mapping goes on to say of the bad page that it is bad
vm s "bind 1 4G 0 4M; gcheck $((4 * G + 256 * K)) 128K 0"
splat_end
vm_end s

note 'nobody wants it any more'
vm_new s
vm s 'create 4M; fallocate 0 4M'
unload prezero
vm s 'punch 0 4M'
fdinfo_is s recycled=0 policy=builtin
wait_for 20 pools_are "$NONE"
none_lost
