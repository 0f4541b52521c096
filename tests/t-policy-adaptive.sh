#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 480
# Bounce buffers: 64 of 4K to 256K, clustered in 16M of a VM of 256M, converted to shared (and punched out) and back.
# Under huge_adaptive the blocks that they are in stay small while that lasts, all other memory stays in folios of
# 2M, and when the buffers have moved elsewhere the memory that they leave comes back into folios of 2M.
. "$(dirname "$0")/policy.sh"

SIZE=$((256 * M)) BLOCKS=128 BUFFERS=64
huge_blocks() { # VM
	local n
	n=$(fdinfo "$1" folios-order-9)
	echo "${n/none/0}"
}
enough_huge() { [ "$(huge_blocks "$1")" -ge "$2" ]; }

# One buffer in each 256K from OFFSET on, of sizes that a generator of our own gives: the same in each round
bounce() { # VM OFFSET ROUNDS
	local i gpa len state=12345
	for ((i = 0; i < BUFFERS; i++)); do
		state=$(((state * 1103515245 + 12345) & 0x7fffffff))
		len=$((4 * K * (1 + (state >> 16) % 64)))
		gpa=$((4 * G + $2 + i * 256 * K))
		vm "$1" "repeat $3 convert shared $gpa $len, punch $((gpa - 4 * G)) $len, convert private $gpa $len, gtouch $gpa $len"
	done
}

# While it lasts: nothing is quiet for as long as that
load huge_adaptive --set quiet_ms=600000
vm_new a
vm a "create $SIZE; bind 1 4G 0 $SIZE; convert private 4G $SIZE; gtouch 4G $SIZE 4K 7"
assert_eq "$(huge_blocks a)" $BLOCKS 'blocks of 2M that were touched'
bounce a 0 3
assert_eq "$(huge_blocks a)" $((BLOCKS - 8)) 'blocks of 2M, without the 8 that hold the buffers'
splits=$(fdinfo a splits)
bounce a 0 2
assert_eq "$(fdinfo a splits)" "$splits" 'splits, once the blocks are known to be busy'
fdinfo_is a rebuilds=0

# The buffers move, and the last conversions where they were are long ago
replace huge_adaptive --set quiet_ms=1000
bounce a 0 1
bounce a $((64 * M)) 3
wait_for 60 enough_huge a $((BLOCKS - 8))
# And all is quiet
wait_for 60 enough_huge a $BLOCKS
# A conversion of a whole block breaks none, and does not have what was broken before it forgotten
gpa=$((4 * G + 128 * M))
vm a "convert shared $gpa 64K; punch 128M 64K; convert private $gpa 2M"
assert_le "$(huge_blocks a)" $((BLOCKS - 1)) 'blocks of 2M, without the one that was broken'
wait_for 60 enough_huge a $BLOCKS
vm a "gtouch $gpa 2M"
fdinfo_is a resident=$SIZE ready=$SIZE clamped=0
assert_ge "$(fdinfo a rebuilds)" 16 'blocks that were made one folio again'
assert_eq "$(obj a .quiet_joined)" 0 'ranges that there was no room to remember by themselves'
vm a "gread $((4 * G + 60 * M))"
assert_match "$reply" '(0x| |=)7$' 'memory beside the buffers'
vm_end a
unload huge_adaptive

# break_block VM BLOCK: often enough to be kept small
break_block() {
	local gpa=$((4 * G + $2 * 2 * M + 64 * K))
	vm "$1" "convert shared $gpa 64K; punch $((gpa - 4 * G)) 64K; convert private $gpa 64K"
	vm "$1" "convert shared $gpa 64K; convert private $gpa 64K; gtouch $gpa 64K"
}
cgroup guests
whole_vm() { # VM
	vm_new "$1" "$CGROUPS/guests"
	vm "$1" "create $SIZE; bind 1 4G 0 $SIZE; convert private 4G $SIZE; gtouch 4G $SIZE 4K 7"
	assert_eq "$(huge_blocks "$1")" $BLOCKS 'blocks of 2M that were touched'
}

note 'more blocks than ranges that can wait: none is lost'
load huge_adaptive --set quiet_ms=20000
whole_vm b
for ((i = 0; i < 80; i += 2)); do break_block b $i; done
assert_ge "$(obj b .quiet_joined)" 8 'ranges that wait together with another one'
assert_match "$(gmem-policy show "${VM_PID[b]}")" 'quiet ranges wait with another' 'show'
assert_le "$(huge_blocks b)" $((BLOCKS - 40)) 'blocks of 2M, without the broken ones'
wait_for 90 enough_huge b $BLOCKS

note 'a conversion of whole blocks, of which one in the middle was broken'
break_block b 65
vm b "convert shared $((4 * G + 128 * M)) 6M; convert private $((4 * G + 128 * M)) 6M"
assert_eq "$(huge_blocks b)" $((BLOCKS - 1)) 'blocks of 2M, without the broken one'
wait_for 60 enough_huge b $BLOCKS

note 'while another policy decides'
break_block b 7
load count --cgroup guests --flags enforced
policy_becomes b count enforced
sleep 22
unload count
policy_becomes b huge_adaptive global
vm b "punch 14M 2M; gtouch $((4 * G + 14 * M)) 2M"
assert_eq "$(huge_blocks b)" $BLOCKS 'blocks of 2M, with one that was busy before another policy came'
vm_end b
unload huge_adaptive

note 'a wish that there is no memory to note'
keep_failing_knobs
echo 0 >/sys/kernel/debug/failslab/verbose
echo N >/sys/kernel/debug/failslab/ignore-gfp-wait
early=0
for ((nth = 1; nth <= 16; nth++)); do
	load huge_adaptive --set quiet_ms=600000
	vm_new c
	vm c 'create 16M; bind 1 4G 0 16M; convert private 4G 16M; gtouch 4G 16M 4K'
	fail=/proc/${VM_PID[c]}/task/${VM_PID[c]}/fail-nth
	echo $nth >"$fail"
	_vm_do c "convert shared $((4 * G + 64 * K)) 64K" || assert_match "$line" ' ENOMEM ' 'a conversion without memory'
	left=$(<"$fail")
	echo 0 >"$fail"
	asked=$(pol huge_adaptive '.counters[] | select(.name == "broken").value')
	told=$(pol huge_adaptive '.counters[] | select(.name == "quiet").value')
	assert_le "$told" "$asked" 'calls before the time has come'
	early=$((early + told))
	vm_end c
	unload huge_adaptive
	[ "$left" = 0 ] || break
done
assert_eq "$early" 1 "wishes that could not be noted, and so were answered at once, of $nth allocations"
