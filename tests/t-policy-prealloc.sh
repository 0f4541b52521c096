#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 180
# Populating ahead: at creation, at a binding and at a conversion, before the call returns or by the worker,
# zeroed or not; what was populated is not faulted in again; it is fitted to the file; a punched hole stays
# empty; the end of the VM or of the policy ends it; it is paid for by the VM's cgroup, stops at its limits
# without an error, and never calls the OOM killer.
. "$(dirname "$0")/policy.sh"

# A shadow counts the allocations and faults that there are.
load count --as seen --flags shadow

populated() { # VM BYTES: resident, allocated ahead, zeroed ahead
	fdinfo_is "$1" "resident=$2" "ready=$2" "zeroed-ahead=$2" zeroed-first-use=0 zeroed-alloc=0 \
		"prealloc=$(($2 / 4096)) of $(($2 / 4096))"
}

# ---- When: each alone, and before the call returns ----

only() { # TUNABLE...: these of at_create, at_bind and at_convert; NOW unless told otherwise
	local t args=(--set background=false)
	for t in at_create at_bind at_convert; do
		if [[ " $* " == *" $t "* ]]; then args+=(--set "$t=true"); else args+=(--set "$t=false"); fi
	done
	for t; do
		if [[ $t == *=* ]]; then args+=(--set "$t"); fi
	done
	if [ "$(gmem-policy status --names | grep -cx prealloc)" != 0 ]; then
		replace prealloc "${args[@]}"
	else
		load prealloc "${args[@]}"
	fi
}

only at_create
vm_new a
counted seen
vm a 'create 4M'
populated a $((4 * M))
counted seen 'init_taken=1 alloc_prealloc=1024 prealloc_create=1' 'at_create'
vm a 'bind 1 4G 0 4M; convert private 4G 4M; gcheck 4G 4M 0'
counted seen 'prealloc_bind=1 prealloc_convert=1 convert_private=1' 'the guest reads it all: no fault finds memory missing'
fdinfo_is a zeroed-first-use=0 fitted=0 clamped=0
assert_eq "$(pol prealloc '.counters | map("\(.name)=\(.value)") | join(" ")')" 'ranges=1 pages=1024 at_limit=0' 'its own counters'

only at_bind
vm a 'create 4M; bind 2 5G 1M 2M'
populated a $((2 * M))
vm a 'convert private 5G 2M; gcheck 5G 2M 0; unbind 2'
populated a $((2 * M))
counted seen 'init_taken=1 alloc_prealloc=512 prealloc_create=1 prealloc_bind=1 prealloc_convert=1 convert_private=1' 'at_bind'

only at_convert
vm a 'close; use 0; create 4M; bind 2 5G 0 4M; convert shared 5G 4M'
fdinfo_is a resident=0
vm a "convert private $((5 * G + M)) 64K"
populated a $((64 * K))
vm a "convert private 5G 2M; convert shared 5G 1M"
fdinfo_is a resident=$((2 * M)) ready=$((2 * M)) zeroed-ahead=$((2 * M)) 'prealloc=512 of 528'
vm a "gcheck $((5 * G + M)) 1M 0"
counted seen 'init_taken=1 exit_called=1 alloc_prealloc=512 prealloc_create=1 prealloc_bind=1 prealloc_convert=2 convert_private=2 convert_shared=2 free_evict=1' 'at_convert'

# Allocated, and zeroed when it is used
only at_create zero=false
vm a 'use 0; close; create 1M; bind 3 6G 0 1M; convert private 6G 1M'
fdinfo_is a resident=$M ready=0 zeroed-ahead=0 zeroed-first-use=0 'prealloc=256 of 256'
vm a 'gcheck 6G 1M 0'
fdinfo_is a resident=$M ready=$M zeroed-ahead=0 zeroed-first-use=$M
counted seen 'init_taken=1 exit_called=1 alloc_prealloc=256 prealloc_create=1 prealloc_bind=1 prealloc_convert=1 convert_private=1 free_evict=1' 'zero=false'

only at_create max_mb=2
vm a 'close; create 4M'
populated a $((2 * M))
only at_create max_mb=3 at_bind
vm a 'bind 4 7G 2M 2M'
fdinfo_is a resident=$((3 * M))
assert_eq "$(pol prealloc '.counters[] | select(.name == "at_limit").value')" 1 'ranges cut short by max_mb'
vm_end a

# ---- By the worker ----

only at_create background=true
vm_new b
vm b 'create 16M'
wait_for 60 fdinfo_at_least b ready $((16 * M))
wait_for 20 idle b
populated b $((16 * M))
only at_convert background=true
vm b 'close; create 16M; bind 1 4G 0 16M; convert private 4G 8M'
wait_for 60 fdinfo_at_least b ready $((8 * M))
wait_for 20 idle b
populated b $((8 * M))
counted seen
vm b 'gcheck 4G 8M 0'
counted seen '' 'the guest reads what the worker populated'
assert_eq "$(obj b '.ahead | "\(.asked_pages) \(.done_pages) \(.background_total)"')" '2048 2048 0' 'status'
vm_end b
unload prealloc

# ---- What reaches past the file is fitted; nonsense is not carried out ----

load hostile --set how=1 --set from_set=true --set from=1000 --set count=100
vm_new f
vm f 'create 4M'
fdinfo_is f resident=$((24 * 4 * K)) fitted=1 clamped=0 'prealloc=24 of 24'
replace hostile --set how=1 --set from_set=true --set from=1024 --set count=1
vm f 'create 4M'
fdinfo_is f resident=0 fitted=1 clamped=0 'prealloc=0 of 0'
replace hostile --set how=1 --set count=0x7ffffffffffff
vm f 'create 4M'
fdinfo_is f resident=$((4 * M)) fitted=1 clamped=0
replace hostile --set how=2 --set from_set=true --set from=0x7fffffffffffffff --set count=1
vm f 'create 4M'
fdinfo_is f resident=0 clamped=1 fitted=0
vm_end f

# A fault waits for at most GMEM_FAULT_NOW_PAGES: more is the worker's
replace hostile --set how=1 --set only_op=prealloc --set from_set=true --set from=0 --set count=0
trace_begin prealloc
vm_new f
vm f 'create 8M; bind 1 4G 0 8M; convert private 4G 8M'
fdinfo_is f resident=0
replace hostile --set how=1 --set from_set=true --set from=100 --set count=512
vm f 'gread 4G'
fdinfo_is f resident=$((513 * 4 * K))
assert_traced 'index=100 nr=512 why=guest_fault background=0 done=512 ret=0' 1 'populated in the fault'
replace hostile --set how=1 --set from_set=true --set from=700 --set count=513
vm f "gread $((4 * G + 4 * K))"
wait_for 20 fdinfo_at_least f resident $((1027 * 4 * K))
wait_for 20 traced_at_least 'index=700 nr=513 why=guest_fault background=1 done=513 ret=0' 1
vm_end f
# and one by the host, which has mmap_lock, always is
replace hostile --set how=1 --set from_set=true --set from=100 --set count=3
vm_new f
vm f 'vmtype=default; create 8M mmap shared'
fdinfo_is f resident=$((3 * 4 * K))
vm f 'mmap; hwrite 0 1; checkzero 400K 12K'
wait_for 20 traced_at_least 'index=100 nr=3 why=host_fault background=1 done=0 ret=0' 1
vm_end f
unload hostile

# ---- A hole that is punched while the worker is on its way stays empty ----

SIZE=$((1536 * M)) HOLE=$((1024 * M)) LEN=$((2 * M))
load prealloc --set at_convert=false
vm_new h
counted seen
vm h "create $SIZE; bind 1 4G 0 $SIZE; convert private $((4 * G + HOLE)) $LEN; punch $HOLE $LEN; punch 0 4M"
assert_le "$(fdinfo h resident)" $((SIZE - 1)) 'populated at the time of the punch, for this test to prove something'
counted seen
# What is before the hole goes on; what is behind is left to faults
wait_for 120 fdinfo_at_least h resident $((64 * M))
vm h "punch 64M $((SIZE - 64 * M))"
wait_for 20 idle h
assert_le "$(fdinfo h resident)" $((64 * M)) 'what is there after all behind 64M was punched'
counted seen
vm h "gcheck $((4 * G + HOLE)) $LEN 0"
counted seen 'alloc_guest_fault=512 prealloc_fault=512' 'every page of the hole has to be allocated'

# ---- A signal to the VMM ends what it waits for, and fails nothing ----

interrupted() { # TUNABLE WHY COMMAND: while it populates, and must succeed
	local line done_
	replace prealloc --set at_bind=false --set at_convert=false --set "$1=true" --set background=false
	echo >"$TRACE/trace"
	printf '%s\n' "$3" >&"${VM_IN[s]}"
	wait_for 60 eval '[ "$(obj s .resident)" -gt 0 ]'
	kill -USR1 "${VM_PID[s]}"
	read -r -t $((60 * ${TIME_SCALE:-1})) line <&"${VM_OUT[s]}" || die "VM s: no answer to '$3'"
	assert_match "$line" "^ok ${3%% *}" "'$3', with a signal"
	assert_traced "prealloc: .* why=$2 .*ret=" 1 'populated'
	assert_traced "prealloc: .* index=0 nr=$((SIZE / 4096)) why=$2 background=0 done=[0-9]+ ret=-4" 1 'interrupted'
	done_=$(sed -nE "s/.* why=$2 .*done=([0-9]+) .*/\1/p" "$TRACE/trace")
	assert_ge "$done_" 1 'pages before the signal'
	assert_le "$done_" $((SIZE / 4096 - 1)) 'pages before the signal'
	assert_eq "$(obj s .resident)" $((done_ * 4096)) 'resident after the signal'
}

vm_new s
interrupted at_create create "create $SIZE"
vm_end s
replace prealloc --set at_bind=false --set at_convert=false
vm_new s
vm s "create $SIZE"
interrupted at_bind bind "bind 1 4G 0 $SIZE"
# and it goes on as if nothing had been
vm s "convert private 4G 4M; gcheck 4G 4M 0"
vm_end s
replace prealloc --set at_convert=false

# What becomes shared meanwhile is not wanted any more
vm_new c
vm c "create $SIZE; convert private 4G $SIZE; bind 1 4G 0 $SIZE; convert shared 4G $SIZE"
wait_for 20 idle c
assert_le "$(fdinfo c resident)" $((SIZE - 1)) 'populated when it became shared'
vm_end c

# ---- The end of the VM, and of a file, ends it; nothing holds the memory or the module ----

for how in close kill; do
	vm_new k
	vm k "create $SIZE; bind 1 4G 0 $SIZE"
	wait_for 60 fdinfo_at_least k resident 1
	assert_le "$(fdinfo k resident)" $((SIZE - 1)) "populated before the $how, for this test to prove something"
	if [ $how = close ]; then
		vm k close
		wait_for 60 eval '[ -z "$(js ".objects[] | select(.tgid == ${VM_PID[k]})")" ]'
		vm_end k
	else
		vm_kill k
	fi
done
vm_end h
wait_for 60 no_objects
kvm_reload

# ---- So does the end of the policy ----

vm_new r
vm r "create $SIZE; bind 1 4G 0 $SIZE"
wait_for 60 fdinfo_at_least r resident 1
unload prealloc
wait_for 20 idle r
got=$(fdinfo r resident)
assert_le "$got" $((SIZE - 1)) 'populated before the policy was unloaded'
policy_is r builtin builtin
vm r "convert private 4G 4M; gcheck 4G 4M 0"
vm_end r

# ---- Who pays, and the limits ----

cgroup pay "memory.max=$((256 * M))"
for background in false true; do
	load prealloc --set at_create=true --set background=$background
	vm_new m "$CGROUPS/pay"
	vm m 'pid'
	base=$(<"$CGROUPS/pay/memory.current")
	vm m 'create 32M; bind 1 4G 0 32M; convert private 4G 32M; gfill 4G 32M 7'
	wait_for 60 fdinfo_at_least m ready $((32 * M))
	now=$(<"$CGROUPS/pay/memory.current")
	assert_ge $((now - base)) $((32 * M)) 'charged to the cgroup of the VM'
	assert_le $((now - base)) $((48 * M)) 'charged to the cgroup of the VM'

	# memory.max: what does not fit is not there, and nobody is killed
	echo $((now + 16 * M)) >"$CGROUPS/pay/memory.max"
	vm m 'create 64M'
	wait_for 20 idle m
	got=$(fdinfo m resident)
	assert_ge "$got" $((8 * M)) 'populated below memory.max'
	assert_le "$got" $((24 * M)) 'populated below memory.max'
	assert_le "$(<"$CGROUPS/pay/memory.current")" $((now + 16 * M)) 'memory.current'
	# Nor does it take away what the VM has, or fail it
	vm m 'gcheck 4G 32M 7; close'
	wait_for 20 eval '[ "$(js ".objects | map(select(.tgid == ${VM_PID[m]})) | length")" = 1 ]'
	echo $((256 * M)) >"$CGROUPS/pay/memory.max"

	# memory.high: stops there, and does not go above for what can wait
	now=$(<"$CGROUPS/pay/memory.current")
	echo $((now + 16 * M)) >"$CGROUPS/pay/memory.high"
	vm m 'create 64M'
	wait_for 20 idle m
	got=$(fdinfo m resident)
	assert_ge "$got" $((8 * M)) 'populated below memory.high'
	assert_le "$got" $((24 * M)) 'populated below memory.high'
	echo max >"$CGROUPS/pay/memory.high"
	vm_end m
	unload prealloc
done
assert_match "$(<"$CGROUPS/pay/memory.events")" $'(^|\n)oom_kill 0\n' 'memory.events'
assert_match "$(<"$CGROUPS/pay/memory.events")" $'(^|\n)oom 0\n' 'memory.events'
wait_for 60 no_objects
assert_le "$(<"$CGROUPS/pay/memory.current")" $((16 * M)) 'charged when all is gone'
