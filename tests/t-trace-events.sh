#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 180
# The tracepoints are there with the fields that are promised, fire when something happens that they are for,
# and only then, and their fields are true. A VM does known operations one by one; after each, all events that
# it caused are compared, in order, with what they must be. (Those of policies: t-trace-policy.sh.)
. "$(dirname "$0")/lib.sh"

EVENTS=/sys/kernel/tracing/events/kvm_gmem
[ -d $EVENTS ] || die "this kernel has no kvm_gmem tracepoints"

# ---- Names and fields are an interface ----

wanted_fields() {
	cat <<-END
		kvm_gmem_alloc: u64 id, u32 tgid, u64 index, u64 gfn, u32 why, u32 asked, u32 fitted, u32 order, s32 node, u32 zero, int ret, u64 ns
		kvm_gmem_bind: u64 id, u32 tgid, u32 slot, u64 gfn, u64 index, u64 nr
		kvm_gmem_collapse: u64 id, u32 tgid, u64 index, u32 order, u64 holes, u32 why, int ret, u64 ns
		kvm_gmem_convert_begin: u64 id, u32 tgid, u64 gfn, u64 nr, u64 attributes, u64 wait_ns
		kvm_gmem_convert_end: u64 id, u32 tgid, u64 gfn, u64 nr, u64 attributes, bool changed, int ret, u64 zap_ns, u64 ns
		kvm_gmem_convert_request: u64 id, u32 tgid, u32 vcpu, u64 gfn, u64 nr, bool to_private, bool hypercall
		kvm_gmem_create: u64 id, u32 tgid, u64 size, u64 flags
		kvm_gmem_error: u64 id, u32 tgid, u64 index, u64 nr, int ret, u64 ns
		kvm_gmem_fallocate: u64 id, u32 tgid, u64 index, u64 nr, int ret, u64 ns
		kvm_gmem_fault: u64 id, u32 tgid, u32 vcpu, u64 gfn, u64 index, u32 order, u32 level, bool allocated, bool private, bool prefetch, int ret, u64 ns
		kvm_gmem_free: u64 id, u32 tgid, u64 index, u64 nr, u32 why, u32 mode, u64 pages, u64 failed, u64 ns
		kvm_gmem_invalidate: u64 id, u32 tgid, u64 index, u64 nr, int ret, u64 ns
		kvm_gmem_policy_attach: u64 id, u32 tgid, string name, u64 policy, u64 cgroup_id, u32 flags, u32 uid, string comm, u64 tag
		kvm_gmem_policy_decision: u64 id, u32 tgid, string name, u32 op, u32 why, u64 index, u64 nr, u64 a, u64 b, bool fitted, bool clamped, bool shadow
		kvm_gmem_policy_detach: u64 id, u32 tgid, string name, u64 policy, string reason
		kvm_gmem_policy_trip: u64 id, u32 tgid, string name, u64 policy, string reason
		kvm_gmem_pool: int node, u32 order, u32 action, u64 nr, u64 ready, u64 ns
		kvm_gmem_prealloc: u64 id, u32 tgid, u64 index, u64 nr, u32 why, bool background, u64 done, int ret, u64 ns
		kvm_gmem_punch_hole: u64 id, u32 tgid, u64 index, u64 nr, int ret, u64 ns
		kvm_gmem_release: u64 id, u32 tgid
		kvm_gmem_split: u64 id, u32 tgid, u64 index, u32 order, u32 why, int ret, u64 ns
		kvm_gmem_unbind: u64 id, u32 tgid, u32 slot, u64 gfn, u64 index, u64 nr
		kvm_gmem_zero: u64 id, u32 tgid, u64 index, u64 nr, u32 when, u64 ns
	END
}

actual_fields() {
	local format
	for format in "$EVENTS"/*/format; do
		sed -n -e 's/^name: \(.*\)/\1:/p' -e '/common_/d' \
			-e 's/__data_loc char\[\]/string/' -e 's/^\tfield:\(.*\) \([a-z_]*\);.*/\1 \2,/p' "$format" |
			tr '\n' ' ' | sed 's/, $/\n/'
	done
}

diff <(wanted_fields) <(actual_fields) || die "events and fields (<) are not what is promised (>)"
note "all events have their fields"

# ---- A buffer of our own, and a VM that is told what to do ----

TRACE=/sys/kernel/tracing/instances/t-trace-events
mkdir $TRACE
cleanup "echo 0 >$TRACE/events/enable; rmdir $TRACE"
echo mono >$TRACE/trace_clock
echo 4096 >$TRACE/buffer_size_kb
echo 1 >$TRACE/events/kvm_gmem/enable

TMP=$(mktemp -d)
cleanup "rm -rf $TMP"
OUT='' IN='' VM='' ID=''

vm_start() {
	local in_pipe=$TMP/in out_pipe=$TMP/out
	mkfifo "$in_pipe" "$out_pipe"
	"$SELFTESTS/gmem_vm" <"$in_pipe" >"$out_pipe" 2>"$TMP/err" &
	VM=$!
	# shellcheck disable=SC2064 # now
	cleanup "kill -9 $VM 2>/dev/null; wait $VM 2>/dev/null"
	exec {IN}>"$in_pipe" {OUT}<"$out_pipe"
	rm "$in_pipe" "$out_pipe"
	ID=
}

vm_end() {
	exec {IN}>&- {OUT}<&-
	wait "$VM" || :
}

# Its answer, without the lines of fdinfo; those are in $TMP/fdinfo
answer=
tell() {
	printf '%s\n' "$1" >&"$IN"
	: >"$TMP/fdinfo"
	while :; do
		read -r -t $((30 * ${TIME_SCALE:-1})) answer <&"$OUT" || die "no answer to '$1': $(cat "$TMP/err")"
		case $answer in
		'| '*) echo "${answer#| }" >>"$TMP/fdinfo" ;;
		*) break ;;
		esac
	done
}

# Events of this VM so far, with what is known by name: ID and PID; a time that is not 0 is T, a node N. Without
# other programs: they take long to start where processors are emulated.
events() {
	local lines line id rest
	mapfile -t lines <$TRACE/trace
	for line in "${lines[@]}"; do
		[[ $line =~ kvm_gmem_([a-z_]+:)\ id=([0-9]+)\ tgid=$VM(\ .*)?$ ]] || continue
		line=${BASH_REMATCH[1]} id=id=${BASH_REMATCH[2]} rest=${BASH_REMATCH[3]}
		if [ "$id" = "id=$ID" ]; then id=ID; fi
		if [[ $rest =~ ^(.*\ wait_ns=)[0-9]+$ ]]; then rest=${BASH_REMATCH[1]}T; fi
		if [[ $rest =~ ^(.*\ ns=)[1-9][0-9]*$ ]]; then rest=${BASH_REMATCH[1]}T; fi
		if [[ $rest =~ ^(.*\ zap_ns=)[1-9][0-9]*(.*)$ ]]; then rest=${BASH_REMATCH[1]}T${BASH_REMATCH[2]}; fi
		if [[ $rest =~ ^(.*\ node=)[0-9]+(.*)$ ]]; then rest=${BASH_REMATCH[1]}N${BASH_REMATCH[2]}; fi
		printf '%s %s PID%s\n' "$line" "$id" "$rest"
	done
}

# after COMMAND ANSWER: the events are those of the standard input
after() {
	local want got
	want=$(cat)
	echo >"$TRACE/trace"
	tell "$1"
	# shellcheck disable=SC2053 # a pattern
	[[ $answer == $2 ]] || die "'$1': '$answer'"
	got=$(events)
	if [ "$got" != "$want" ]; then
		diff <(echo "$want") <(echo "$got") | sed -n 's/^</wanted:/p; s/^>/got:   /p' || :
		die "events of '$1'"
	fi
}

none() { after "$1" "${2:-ok *}" </dev/null; }

# ---- Private memory of a software-protected VM ----

vm_start
echo >$TRACE/trace
tell 'create 4M'
tell fdinfo
ID=$(sed -n 's/^gmem-id:[[:space:]]*//p' "$TMP/fdinfo")
assert_match "$ID" '^[1-9][0-9]*$' "gmem-id in fdinfo"
assert_eq "$(events)" "create: ID PID size=4194304 flags=0x0" "events of create"

after 'bind 1 4G 1M 2M' 'ok *' <<END
bind: ID PID slot=1 gfn=0x100000 index=256 nr=512
END
after 'bind 2 4296M 0 1M' 'ok *' <<END
bind: ID PID slot=2 gfn=0x10c800 index=0 nr=256
END
after 'convert private 4G 2M' 'ok *' <<END
convert_begin: ID PID gfn=0x100000 nr=512 attributes=0x8 wait_ns=T
convert_end: ID PID gfn=0x100000 nr=512 attributes=0x8 changed=1 ret=0 zap_ns=T ns=T
END
after 'convert private 4G 1M' 'ok *' <<END
convert_begin: ID PID gfn=0x100000 nr=256 attributes=0x8 wait_ns=T
convert_end: ID PID gfn=0x100000 nr=256 attributes=0x8 changed=0 ret=0 zap_ns=0 ns=T
END
note "bindings and conversions"

after 'gread 4G' 'ok gread value=0x0' <<END
alloc: ID PID index=256 gfn=0x100000 why=guest_fault asked=0 fitted=0 order=0 node=N zero=first_use ret=0 ns=T
zero: ID PID index=256 nr=1 when=first_use ns=T
fault: ID PID vcpu=0 gfn=0x100000 index=256 order=0 level=1 allocated=1 private=1 prefetch=0 ret=5 ns=T
END
times=$(sed -nE 's/.*kvm_gmem_(alloc|zero|fault):.* ns=([0-9]+)$/\2/p' $TRACE/trace | tr '\n' ' ')
read -r alloc_ns zero_ns fault_ns <<<"$times"
assert_ge "$fault_ns" "$((alloc_ns + zero_ns))" "time of the fault, with the allocation and the zeroing in it"
none 'gwrite 4G 42'
after 'gwrite 0x100010000 1' 'ok *' <<END
alloc: ID PID index=272 gfn=0x100010 why=guest_fault asked=0 fitted=0 order=0 node=N zero=first_use ret=0 ns=T
zero: ID PID index=272 nr=1 when=first_use ns=T
fault: ID PID vcpu=0 gfn=0x100010 index=272 order=0 level=1 allocated=1 private=1 prefetch=0 ret=5 ns=T
END
after 'prefault 0x100020000 8K' 'ok prefault left=0' <<END
alloc: ID PID index=288 gfn=0x100020 why=guest_fault asked=0 fitted=0 order=0 node=N zero=first_use ret=0 ns=T
zero: ID PID index=288 nr=1 when=first_use ns=T
fault: ID PID vcpu=0 gfn=0x100020 index=288 order=0 level=1 allocated=1 private=1 prefetch=1 ret=5 ns=T
alloc: ID PID index=289 gfn=0x100021 why=guest_fault asked=0 fitted=0 order=0 node=N zero=first_use ret=0 ns=T
zero: ID PID index=289 nr=1 when=first_use ns=T
fault: ID PID vcpu=0 gfn=0x100021 index=289 order=0 level=1 allocated=1 private=1 prefetch=1 ret=5 ns=T
END
none 'gtouch 0x100020000 8K'
# 6 is RET_PF_SPURIOUS: it was mapped already.
after 'prefault 0x100020000 4K' 'ok prefault left=0' <<END
fault: ID PID vcpu=0 gfn=0x100020 index=288 order=0 level=1 allocated=0 private=1 prefetch=1 ret=6 ns=T
END
note "faults"

after 'fallocate 1536K 8K' 'ok *' <<END
alloc: ID PID index=384 gfn=0xffffffffffffffff why=fallocate asked=0 fitted=0 order=0 node=N zero=first_use ret=0 ns=T
alloc: ID PID index=385 gfn=0xffffffffffffffff why=fallocate asked=0 fitted=0 order=0 node=N zero=first_use ret=0 ns=T
fallocate: ID PID index=384 nr=2 ret=0 ns=T
END
after 'fallocate 1536K 8K' 'ok *' <<END
fallocate: ID PID index=384 nr=2 ret=0 ns=T
END
after 'gread 0x100080000' 'ok *' <<END
zero: ID PID index=384 nr=1 when=first_use ns=T
fault: ID PID vcpu=0 gfn=0x100080 index=384 order=0 level=1 allocated=0 private=1 prefetch=0 ret=5 ns=T
END
none 'fallocate 4M 4K' 'err 22 EINVAL *'
after 'punch 1M 256K' 'ok *' <<END
invalidate: ID PID index=256 nr=64 ret=1 ns=T
free: ID PID index=256 nr=64 why=punch mode=give_back pages=4 failed=0 ns=T
punch_hole: ID PID index=256 nr=64 ret=0 ns=T
END
after 'punch 1M 256K' 'ok *' <<END
invalidate: ID PID index=256 nr=64 ret=0 ns=T
free: ID PID index=256 nr=64 why=punch mode=give_back pages=0 failed=0 ns=T
punch_hole: ID PID index=256 nr=64 ret=0 ns=T
END
# The last megabyte is bound nowhere: there is nobody to invalidate.
after 'punch 3M 4K' 'ok *' <<END
free: ID PID index=768 nr=1 why=punch mode=give_back pages=0 failed=0 ns=T
punch_hole: ID PID index=768 nr=1 ret=0 ns=T
END
note "fallocate and punch"

# ---- Requests of the guest ----

after 'gconvert shared 0x100080000 8K' 'ok *' <<END
convert_request: ID PID vcpu=0 gfn=0x100080 nr=2 to_private=0 hypercall=1
convert_begin: ID PID gfn=0x100080 nr=2 attributes=0x0 wait_ns=T
convert_end: ID PID gfn=0x100080 nr=2 attributes=0x0 changed=1 ret=0 zap_ns=T ns=T
END
none 'gread 0x100080000'
after 'gconvert private 0x100080000 4K' 'ok *' <<END
convert_request: ID PID vcpu=0 gfn=0x100080 nr=1 to_private=1 hypercall=1
convert_begin: ID PID gfn=0x100080 nr=1 attributes=0x8 wait_ns=T
convert_end: ID PID gfn=0x100080 nr=1 attributes=0x8 changed=1 ret=0 zap_ns=T ns=T
END
# Private memory that guest_memfd does not serve: in another memslot, in none.
tell 'plain 3 5G 2M'
for gpa in 5G:0x140000 8G:0x200000; do
	gfn=${gpa#*:} gpa=${gpa%:*}
	after "convert private $gpa 4K" 'ok *' <<-END
		convert_begin: id=0 PID gfn=$gfn nr=1 attributes=0x8 wait_ns=T
		convert_end: id=0 PID gfn=$gfn nr=1 attributes=0x8 changed=1 ret=0 zap_ns=T ns=T
	END
	after "gread $gpa" 'err 14 EFAULT gread exit=memory_fault *' <<-END
		convert_request: id=0 PID vcpu=0 gfn=$gfn nr=1 to_private=1 hypercall=0
	END
done
note "requests"

# ---- An allocation that fails ----

FAIL=/sys/kernel/debug/fail_page_alloc
if [ -d $FAIL ]; then
	cleanup "echo 0 >$FAIL/probability; echo N >$FAIL/task-filter"
	for setting in task-filter=Y ignore-gfp-highmem=N ignore-gfp-wait=N min-order=0 interval=0 space=0 verbose=0 \
		times=1 probability=100; do
		echo "${setting#*=}" >"$FAIL/${setting%%=*}"
	done
	allow_splat 'page allocation failure|Call Trace'
	echo 1 >"/proc/$VM/make-it-fail"
	after 'fallocate 2560K 8K' 'err 12 ENOMEM *' <<-END
		alloc: ID PID index=640 gfn=0xffffffffffffffff why=fallocate asked=0 fitted=0 order=0 node=-1 zero=first_use ret=-12 ns=T
		fallocate: ID PID index=640 nr=2 ret=-12 ns=T
	END
	echo 0 >"/proc/$VM/make-it-fail"
	echo 0 >$FAIL/probability
	splat_end
	note "an allocation that fails"
fi

# ---- The end of it ----

after 'unbind 2' 'ok *' <<END
unbind: ID PID slot=2 gfn=0x10c800 index=0 nr=256
END
# Two pages are left; all bindings go at once, over all indices that there can be.
after 'close' 'ok *' <<END
invalidate: ID PID index=0 nr=18446744073709551615 ret=0 ns=T
release: ID PID
free: ID PID index=0 nr=1024 why=evict mode=give_back pages=2 failed=0 ns=T
END
after 'gread 4G' 'err 14 EFAULT *' <<END
fault: id=0 PID vcpu=0 gfn=0x100000 index=256 order=0 level=1 allocated=0 private=1 prefetch=0 ret=-14 ns=T
convert_request: id=0 PID vcpu=0 gfn=0x100000 nr=1 to_private=1 hypercall=0
END
vm_end
first=$ID
note "unbind, release, evict"

# ---- Memory that is shared with the host ----

vm_start
echo >$TRACE/trace
tell 'vmtype default'
tell 'create 2M mmap shared'
tell fdinfo
ID=$(sed -n 's/^gmem-id:[[:space:]]*//p' "$TMP/fdinfo")
[ "$ID" -gt "$first" ] || die "the id of a new object is $ID, that of an older one $first"
assert_eq "$(events)" "create: ID PID size=2097152 flags=0x3" "events of create"
none 'mmap'
after 'hwrite 8K 7' 'ok *' <<END
alloc: ID PID index=2 gfn=0xffffffffffffffff why=host_fault asked=0 fitted=0 order=0 node=N zero=first_use ret=0 ns=T
zero: ID PID index=2 nr=1 when=first_use ns=T
END
none 'hread 8K' 'ok hread value=0x7'
after 'bind 1 4G 0 2M' 'ok *' <<END
bind: ID PID slot=1 gfn=0x100000 index=0 nr=512
END
after 'gread 0x100002000' 'ok gread value=0x7' <<END
fault: ID PID vcpu=0 gfn=0x100002 index=2 order=0 level=1 allocated=0 private=0 prefetch=0 ret=5 ns=T
END
after 'gread 0x100003000' 'ok gread value=0x0' <<END
alloc: ID PID index=3 gfn=0x100003 why=guest_fault asked=0 fitted=0 order=0 node=N zero=first_use ret=0 ns=T
zero: ID PID index=3 nr=1 when=first_use ns=T
fault: ID PID vcpu=0 gfn=0x100003 index=3 order=0 level=1 allocated=1 private=0 prefetch=0 ret=5 ns=T
END
# guest_memfd leaves what to do about it to the VMM, which the caller is told as EBUSY. The exit that the guest's
# access leads to is no request for a conversion.
after 'madvise hwpoison 8K' 'err 16 EBUSY *' <<END
invalidate: ID PID index=2 nr=1 ret=1 ns=T
error: ID PID index=2 nr=1 ret=0 ns=0
END
after 'gread 0x100002000' 'err 133 EHWPOISON *' <<END
fault: ID PID vcpu=0 gfn=0x100002 index=2 order=0 level=1 allocated=0 private=0 prefetch=0 ret=-133 ns=T
END
vm_end
note "shared memory, and memory that is bad"

# ---- What was enabled late has no duration to tell; what is disabled tells nothing ----

vm_start
echo 0 >$TRACE/events/enable
tell 'create 4M'
tell 'bind 1 4G 0 4M'
tell fdinfo
ID=$(sed -n 's/^gmem-id:[[:space:]]*//p' "$TMP/fdinfo")
none 'convert private 4G 4M'
echo 1 >$TRACE/events/kvm_gmem/kvm_gmem_convert_end/enable
after 'convert shared 4G 4M' 'ok *' <<END
convert_end: ID PID gfn=0x100000 nr=1024 attributes=0x0 changed=1 ret=0 zap_ns=T ns=T
END
vm_end

assert_eq "$(cat $TRACE/per_cpu/cpu*/stats | awk '/^(overrun|dropped events):/ { n += $NF } END { print n + 0 }')" 0 \
	"events lost"
