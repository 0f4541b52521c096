#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 240
# Large folios: they are as large as what is asked and fits, KVM maps them at once, and what anybody reads is the
# same when part of one is punched out, is in use meanwhile, goes bad, or is made one again.
. "$(dirname "$0")/policy.sh"

trace_begin alloc fault split collapse free zero
level() { traced "fault: .* order=$1 level=$2 "; }
folios() { fdinfo "$1" "folios-order-$2"; }
folios_are() { # VM ORDER N
	local n
	n=$(folios "$1" "$2")
	assert_eq "${n/none/0}" "$3" "folios of order $2 of VM $1"
}

# ---- What fits ----

load huge --set min_mb=0
counted huge
vm_new a
vm a 'create 7M; bind 1 4G 0 7M; convert private 4G 7M; gcheck 4G 7M 0'
# Three blocks, and 1M at the end that is no block
folios_are a 9 3
folios_are a 8 1
counted huge 'blocks=3 smaller=1' 'a file of 7M'
fdinfo_is a resident=$((7 * M)) ready=$((7 * M)) fallbacks=0 clamped=0
assert_eq "$(level 9 2)" 3 'faults that mapped a block'
assert_eq "$(cat /sys/kernel/debug/kvm/"${VM_PID[a]}"-*/pages_2m)" 3 "KVM's pages_2m"
assert_eq "$(level 0 1)" 256 'faults that mapped a page'
vm a 'gfill 4G 7M 1; gcheck 4G 7M 1'
vm_end a

# Neighbours: a block in which a page is has no room for a whole one
replace huge --set min_mb=100
vm_new b
vm b "create 6M; bind 1 4G 0 6M; convert private 4G 6M; gtouch $((4 * G + 1028 * K)) 4K"
folios_are b 0 1
replace huge --set min_mb=0
vm b 'gcheck 4G 2M 0'
folios_are b 8 1
folios_are b 9 0

# An order that is asked for and does not fit is fitted; nothing clamps
unload huge
load hostile --set order=9
vm b "gtouch $((4 * G + 3 * M)) 4K; punch 4M 4K; gtouch $((4 * G + 4 * M)) 4K; punch 4100K 4K; gtouch $((4 * G + 4100 * K)) 4K"
folios_are b 9 1
fdinfo_is b fitted=1 clamped=0
unload hostile
vm_end b
load huge --set min_mb=0

# Memslots that do not begin at a block's beginning map pages, of the right memory
echo >"$TRACE/trace"
vm_new c
vm c 'create 8M; bind 1 4G 1M 4M; convert private 4G 4M; gfill 4G 4M 3; gcheck 4G 4M 3'
assert_eq "$(level 9 2)" 0 'faults that mapped a block of a slot that is not aligned with its file'
folios_are c 9 0
# The same memory, bound as it lies, and what another VM's process left is not there
vm c "unbind 1; bind 1 $((5 * G + M)) 1M 4M; convert private $((5 * G + M)) 4M; gcheck $((5 * G + M)) 4M 3"
vm_end c

# Folios of 2M that were allocated before: still by the page where frame and offset do not agree, and by the block
# where they do
echo >"$TRACE/trace"
vm_new c
vm c 'create 8M; fallocate 0 8M; bind 1 4G 1M 4M; convert private 4G 4M; gfill 4G 4M 6; gcheck 4G 4M 6'
folios_are c 9 4
assert_eq "$(level 0 1) $(level 9 2)" '1024 0' 'faults that mapped pages, and blocks'
vm c "unbind 1; bind 1 5G 0 8M; convert private 5G 8M; gcheck $((5 * G + M)) 4M 6; gcheck 5G 1M 0; gcheck $((5 * G + 5 * M)) 3M 0"
assert_eq "$(level 9 2)" 4 'faults that mapped blocks'
vm_end c

# Shared memory that is aligned otherwise than the guest's address and the file: private memory is mapped by the block,
# and what is shared by the page, the right one, though the host has huge pages there
thp=/sys/kernel/mm/transparent_hugepage/enabled
cleanup "echo '$(sed 's/.*\[\(.*\)\].*/\1/' $thp)' >$thp"
echo always >$thp
echo >"$TRACE/trace"
vm_new c
vm c "create 8M; bind 1 4G 0 8M 4K; convert private 4G 8M; gfill 4G 8M 6; gcheck 4G 8M 6"
assert_eq "$(level 9 2)" 4 'faults that mapped blocks of a slot whose shared memory is not aligned'
vm c "convert shared 4G 8M; gfill 4G 8M 7; gcheck 4G 8M 7"
for at in 0 $((2 * M - 4 * K)) $((2 * M)) $((5 * M)); do
	vm c "gwrite $((4 * G + at)) $((at + 1)); sread $((4 * G + at))"
	assert_eq "$reply" "$(printf 'value=0x%x' $((at + 1)))" "shared memory at $at, as the host reads what the guest wrote"
done
vm c 'convert private 4G 8M; gcheck 4G 8M 6'
vm_end c

# small_mb, also where a folio would begin before it
replace huge --set min_mb=0 --set small_mb=3
vm_new d
vm d 'create 8M; bind 1 4G 0 8M; convert private 4G 8M; gcheck 4G 8M 0'
folios_are d 0 768
folios_are d 8 1
folios_are d 9 2
vm_end d
replace huge --set min_mb=0

# Memory that user space maps, too; no more of it than the mapping covers
vm_new e
vm e 'vmtype=default; create 8M mmap shared; mmap; bind 1 4G 0 8M; hfill 0 8M 0x77; gread 4G'
folios_are e 9 4
vm e 'hcheck 0 8M 0x77; punch 1M 64K; hcheck 0 1M 0x77; checkzero 1M 64K; hcheck 1088K 960K 0x77'
assert_eq "$(fdinfo e resident)" $((8 * M)) 'what was punched was touched again'
vm_end e

# A plain mmap() is where a folio can be mapped at once: four faults of the host, and some of the program's own
faults() { cut -d' ' -f10 "/proc/${VM_PID[$1]}/stat"; }
vm_new e
vm e 'vmtype=default; create 8M mmap shared; mmap; hread 0'
before=$(faults e)
vm e 'hfill 0 8M 0x77'
assert_le $(($(faults e) - before)) 64 'faults of the host that map 8M'
folios_are e 9 4
vm_end e

if [ -d /sys/devices/system/node/node1 ]; then
	# One folio is on the nodes of one mempolicy
	vm_new n
	vm n 'vmtype=default; create 4M mmap shared; mmap; mbind 0 1M 0; mbind 1M 1M 1; hfill 0 4M 5; node 0'
	assert_match "$reply" '0$' 'the node of the first page'
	vm n 'node 1M'
	assert_match "$reply" '1$' 'the node of the page at 1M'
	folios_are n 8 2
	folios_are n 9 1
	vm_end n
fi

# ---- Punching part of one ----

echo >"$TRACE/trace"
vm_new p
vm p 'create 16M; bind 1 4G 0 16M; convert private 4G 16M; gfill 4G 16M 9; punch 1052K 8K'
assert_traced 'split: .* index=263 order=9 why=punch ret=0' 1 'splits at the beginning of the hole'
assert_traced 'split: .* index=265 ' 1 'splits at its end'
fdinfo_is p splits=2 splits-failed=0 resident=$((16 * M - 8 * K))
vm p "gcheck 4G 1052K 9; gcheck $((4 * G + 1052 * K)) 8K 0; gcheck $((4 * G + 1060 * K)) $((16 * M - 1060 * K)) 9"
# A hole from one block into another; whole blocks are not split
vm p 'punch 3M 6M'
fdinfo_is p splits=4 resident=$((10 * M))
vm p "gcheck 4G 1052K 9; gcheck $((4 * G + 3 * M)) 6M 0; gcheck $((4 * G + 9 * M)) 7M 9"
# What is empty as a whole becomes large again at once
folios_are p 9 5
vm_end p

# Something holds a reference to the folio: the hole is zeroed now, and freed when that is gone
vm_new r
vm r 'vmtype=default; create 4M mmap shared; mmap; bind 1 4G 0 4M; hfill 0 4M 0x99; pin 64K; punch 1M 128K; punch 1536K 64K'
fdinfo_is r resident=$((4 * M))
assert_match "$(fdinfo r splits-failed)" '^[1-9]' 'splits that failed'
vm r 'checkzero 1M 128K; hcheck 0 1M 0x99; hcheck 1152K 384K 0x99; hcheck 1600K 448K 0x99; hwrite 1540K 0x42; unpin'
# One hole was only read since, and goes; the other was written into, and stays
resident_is() { [ "$(fdinfo "$1" resident)" = "$2" ]; }
wait_for 30 resident_is r $((4 * M - 128 * K))
vm r 'hread 1540K'
assert_match "$reply" '0x42|66' 'what was written into the hole before it could be freed'
vm r 'checkzero 1M 128K; hcheck 0 1M 0x99; hcheck 1152K 384K 0x99; hcheck 1600K 448K 0x99; checkzero 1536K 4K'
vm_end r

# Page by page, from both ends: one range waits, however many holes it is made of. What is allocated again before it is
# freed stays, and no more than that.
vm_new t
vm t 'vmtype=default; create 4M mmap shared; mmap; hfill 0 4M 0x99; pin 64K'
pages=()
for ((i = 0; i < 128; i++)); do pages+=("punch $((1024 + 4 * i))K 4K" "punch $((2044 - 4 * i))K 4K"); done
vm t "$(printf '%s;' "${pages[@]}") fallocate 1280K 4K; fallocate 1536K 64K"
fdinfo_is t resident=$((4 * M))
holes_are() { [ "$(fdinfo "$1" resident) $(fdinfo "$1" holes-dropped)" = "$2" ]; }
vm t 'hcheck 0 1M 0x99; hcheck 2M 2M 0x99; unpin'
wait_for 30 holes_are t "$((3 * M + 68 * K)) 0"
vm t 'hcheck 0 1M 0x99; checkzero 1M 1M; hcheck 2M 2M 0x99'
vm_end t

# More holes than can wait
vm_new u
vm u 'vmtype=default; create 4M mmap shared; mmap; hfill 0 4M 0x99; pin 64K'
pages=()
for ((i = 0; i < 70; i++)); do pages+=("punch $((1024 + 8 * i))K 4K"); done
vm u "$(printf '%s;' "${pages[@]}") unpin"
fdinfo_is u holes-dropped=6
assert_eq "$(obj u .holes_dropped)" 6 'pages of holes that were dropped, in show -j'
assert_match "$(gmem-policy show "${VM_PID[u]}")" '0 pages not scrubbed, 6 of holes not freed' 'show'
vm_end u

# One that is being freed while its worker still waits
vm_new s
vm s 'vmtype=default; create 4M mmap shared; mmap; hfill 0 4M 0x99; pin 64K; punch 1M 128K'
vm_kill s

unload huge

# Scrubbed on its way out: what is split off, and nothing beside it
load hostile --set order=9 --set mode=1
vm_new s
vm s 'create 8M; bind 1 4G 0 8M; convert private 4G 8M; gfill 4G 8M 4; punch 1052K 4M'
fdinfo_is s zeroed-free=$((4 * M)) scrub-failed=0 resident=$((4 * M)) splits=2
vm s "gcheck 4G 1052K 4; gcheck $((4 * G + 1052 * K)) 4M 0; gcheck $((4 * G + 5148 * K)) $((8 * M - 5148 * K)) 4"
vm_end s
unload hostile

# ---- A page that goes bad ----

load huge --set min_mb=0
allow_splat 'Memory failure|recovery action|Sending SIGBUS|hardware memory (corruption|error)'
vm_new h
vm h 'vmtype=default; create 4M mmap shared; mmap; bind 1 4G 0 4M; hfill 0 4M 0x11'
vm_fails h EBUSY 'madvise hwpoison 1M' # guest_memfd leaves it to the VMM what to do
vm h 'hcheck 0 1M 0x11; hcheck 1028K 1020K 0x11; hcheck 2M 2M 0x11'
vm_fails h EHWPOISON "gread $((4 * G + M))"
vm_fails h EHWPOISON 'hread 1M'
vm h 'munmap; mmap; hcheck 1028K 1020K 0x11'
vm_fails h EHWPOISON 'hread 1M'
vm_end h

# In a folio that cannot be split, because something refers to another page of it: the guest, which has all of it
# mapped, meets an error at the bad page, and goes on beside it. So does the host, whether it had all of it mapped or maps
# it now.
vm_new i
vm i "vmtype=default; create 4M mmap shared; mmap; bind 1 4G 0 4M; hfill 0 4M 0x11; gread $((4 * G + M)); pin 64K"
echo >"$TRACE/trace"
_vm_do i 'madvise hwpoison 1M' || :
vm_fails i EHWPOISON "gread $((4 * G + M))"
vm i "gread $((4 * G + M + 4 * K))"
assert_match "$reply" '(0x| |=)(11|17)$' 'memory beside the bad page'
assert_traced 'fault: .* index=257 order=0 level=1 .* ret=5' 1 'faults beside the bad page that mapped it small'
for how in 'hread 0' 'munmap; mmap'; do
	vm i "$how; hcheck 0 1M 0x11"
	vm_fails i EHWPOISON 'hread 1M'
	vm i "hcheck 1028K 1020K 0x11; hwrite 1028K 0x11; hcheck 2M 2M 0x11"
done
vm i "unpin; gread $((4 * G + 2 * M))"
vm_end i
unload huge

# Scrubbed when its file ends: all of it but the bad page, which nobody has to be told of. The same of a single one.
for order in 9 0; do
	load hostile --set order=$order --set mode=1
	vm_new k
	vm k "vmtype=default; create 4M mmap shared; mmap; bind 1 4G 0 4M; hfill 0 4M 0x11; gread $((4 * G + M))"
	if [ $order = 9 ]; then vm k 'pin 64K'; fi
	_vm_do k 'madvise hwpoison 1M' || :
	if [ $order = 9 ]; then vm k 'unpin'; fi
	echo >"$TRACE/trace"
	vm_end k
	wait_for 20 no_objects
	assert_traced 'free: .* why=evict mode=scrub pages=1024 failed=0' 1 "frees of folios of order $order, one of which is bad"
	assert_traced 'zero: .* nr=1023 ' 1 'pages zeroed on their way out'
	unload hostile
done
splat_end

# ---- Smaller ones, when large ones cannot be had ----

fail=/sys/kernel/debug/fail_page_alloc
if [ -d "$fail" ]; then
	load huge --set min_mb=0
	vm_new f
	# A vCPU's first run needs memory of its own
	vm f "create 8M; bind 1 4G 0 8M; convert private 4G 8M; gtouch $((4 * G + 6 * M)) 4K"
	echo 1 >"$fail/min-order"
	echo 0 >"$fail/ignore-gfp-highmem"
	echo N >"$fail/ignore-gfp-wait" 2>/dev/null || echo 0 >"$fail/ignore-gfp-wait"
	echo Y >"$fail/task-filter"
	echo 0 >"$fail/verbose"
	cleanup "echo 0 >$fail/probability; echo 1 >$fail/min-order; echo N >$fail/task-filter"
	for t in /proc/"${VM_PID[f]}"/task/*; do echo 1 >"$t/make-it-fail"; done
	echo -1 >"$fail/times"
	echo 100 >"$fail/probability"
	vm f 'gfill 4G 4M 6'
	echo 0 >"$fail/probability"
	folios_are f 0 1024
	assert_match "$(fdinfo f fallbacks)" '^[1-9]' 'fallbacks'
	assert_traced 'alloc: .* asked=9 fitted=9 order=0 .* ret=0' 2 'blocks of which a page came'
	vm f "gfill $((4 * G + 4 * M)) 4M 6; gcheck 4G 8M 6"
	folios_are f 9 2
	vm_end f
	unload huge
fi

# ---- Rebuilding ----

echo >"$TRACE/trace"
# However slow the machine is, a block becomes quiet after the last of its conversions here and not between them
slow='--set min_mb=0 --set quiet_ms=600000 --set often=1 --set busy_order=0'
fast='--set min_mb=0 --set quiet_ms=300 --set often=1 --set busy_order=0'
# shellcheck disable=SC2086 # words
load huge_adaptive $slow
vm_new q
vm q 'create 16M; bind 1 4G 0 16M; convert private 4G 16M; gfill 4G 16M 8'
folios_are q 9 8
vm q "convert shared $((4 * G + 4 * M + 64 * K)) 64K; punch 4160K 64K"
folios_are q 9 7
vm q "convert private $((4 * G + 4 * M + 64 * K)) 60K; gfill $((4 * G + 4 * M + 64 * K)) 32K 8"
# shellcheck disable=SC2086
replace huge_adaptive $fast
vm q "convert private $((4 * G + 4 * M + 124 * K)) 4K"
# Half of the hole is there again: 32K of the block are not
rebuilt() { [ "$(fdinfo "$1" rebuilds)" = "$2" ]; }
wait_for 30 rebuilt q 1
assert_traced 'collapse: .* index=1024 order=9 holes=8 why=quiet ret=0' 1 'rebuilds'
folios_are q 9 8
fdinfo_is q resident=$((16 * M)) ready=$((16 * M))
echo >"$TRACE/trace"
vm q "gcheck 4G $((4 * M + 96 * K)) 8; gcheck $((4 * G + 4 * M + 96 * K)) 32K 0; gcheck $((4 * G + 4 * M + 128 * K)) 8M 8"
assert_eq "$(traced 'fault: .*index=1024 order=9 level=2')" 1 'faults that mapped the rebuilt block'

# A hole that is shared is not filled: the block stays as it is
# shellcheck disable=SC2086
replace huge_adaptive $slow
vm q "convert shared $((4 * G + 8 * M)) 64K; punch 8M 64K"
# shellcheck disable=SC2086
replace huge_adaptive $fast
vm q "convert shared $((4 * G + 9 * M)) 4K"
failed_rebuild() { [ "$(fdinfo "$1" rebuilds-failed)" -ge "$2" ]; }
wait_for 30 failed_rebuild q 1
assert_traced 'collapse: .* index=2048 order=9 holes=0 why=quiet ret=-61' 1 'rebuilds that would fill shared memory'
fdinfo_is q rebuilds=1 resident=$((16 * M - 64 * K))

# While blocks are converted, they are kept small
replace huge_adaptive --set min_mb=0 --set quiet_ms=60000 --set often=1
vm q "convert private $((4 * G + 8 * M)) 64K; convert shared $((4 * G + 12 * M)) 64K"
vm q "convert private $((4 * G + 12 * M)) 64K; punch 12M 2M; gtouch $((4 * G + 13 * M)) 64K"
assert_eq "$(pol huge_adaptive '.counters[] | select(.name == "kept_small").value')" 1 'allocations kept small'
assert_traced 'alloc: .* index=3328 .* asked=6 fitted=6 order=6 ' 1 'a folio in a block that is kept small'

# Rebuilding ends with the policy, and with the VM
replace huge_adaptive --set min_mb=0 --set quiet_ms=100 --set often=1
vm q "convert shared $((4 * G + 2 * M)) 4K; convert private $((4 * G + 2 * M)) 4K"
unload huge_adaptive
vm q 'gcheck 4G 2M 8'
vm_kill q
