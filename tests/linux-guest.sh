#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A real Linux, whose memory is a guest_memfd, boots, tests its memory and switches itself off: without a policy, and under
# those that are shipped (FULL=1; else under huge, asked for by name, and prealloc). Run by host-linux-guest.sh, in a
# machine of its own.
. "$(dirname "$0")/policy.sh"

GUEST=/opt/gmem/guest
MEM=128 # MiB
CPUS=2
TIME=$((120 * ${TIME_SCALE:-1}))
[ -f "$GUEST/bzImage" ] || skip "there is no kernel for the guest in $GUEST: make kernel"

# vmm STATUS [OPTION]...: it must end with just that; what it printed is in $output
vmm() {
	local want=$1
	shift
	assert_fails "$want" gmem_vmm --kernel "$GUEST/bzImage" --initrd "$GUEST/initramfs.cpio" --mem "${MEM}M" --timeout "$TIME" "$@"
}

# boot [OPTION]...: the guest finds no fault with what it has
boot() {
	vmm 0 --cpus $CPUS --stats --cmdline 'console=ttyS0 panic=-1 quiet' "$@"
	echo "$output"
	assert_match "$output" $'(^|\n)gmem_vmm: the guest switched itself off($|\n)'
	assert_eq "$(said cpus)" $CPUS "the guest's processors"
	assert_eq "$(said errors)" 0 'words that the guest found wrong'
	assert_ge "$(said memory-kib)" $((MEM * 1024 * 3 / 4)) "the guest's memory, KiB"
	assert_le "$(said memory-kib)" $((MEM * 1024)) "the guest's memory, KiB"
	assert_ge "$(said tested-mib)" $((MEM / 2)) 'MiB that the guest tested'
}

# said KEY: the last value in words KEY=VALUE; 0 if there is none
said() { tr ' ' '\n' <<<"$output" | awk -F= -v key="$1" '$1 == key { value = $2 } END { print value == "" ? 0 : value }'; }

# What is resident is what was tested, and all of it is in folios that are told.
assert_resident() {
	local order sum=0
	assert_ge "$(said resident)" $(($(said tested-mib) * M)) 'resident bytes'
	assert_le "$(said resident)" $((MEM * M)) 'resident bytes'
	for order in {0..9}; do sum=$((sum + ($(said "order-$order") << (order + 12)))); done
	assert_eq "$sum" "$(said resident)" 'bytes in folios of all orders'
}

# ---- What cannot be started ----

refused() { # MESSAGE OPTION...
	local want=$1
	shift
	vmm 126 "$@"
	assert_match "$output" "$want" "gmem_vmm $*"
}

refused '--kernel: /nowhere: No such file' --kernel /nowhere
refused '--kernel: /tmp is not a file' --kernel /tmp
refused '--kernel: .*initramfs.cpio is not a bzImage' --kernel "$GUEST/initramfs.cpio"
head -c 600 "$GUEST/bzImage" >"$TMP/short"
refused '--kernel: .*/short is not a bzImage: it has 600 bytes' --kernel "$TMP/short"
head -c 4096 "$GUEST/bzImage" >"$TMP/head"
refused '--kernel: .*/head is damaged' --kernel "$TMP/head"
refused '--initrd: /nowhere: No such file' --initrd /nowhere
truncate -s "$((MEM - 8))M" "$TMP/large"
refused '--initrd: .*/large has 120 MiB, and there is room for' --initrd "$TMP/large"
refused '--mem: this kernel needs [0-9]+ MiB to unpack itself, and there are 32' --mem 32M
refused '--mem: 30M is too little' --mem 30M
refused '--mem: 4G is too much' --mem 4G
refused '--mem: 99999999999999999999G is too much' --mem 99999999999999999999G
refused '--mem: 33M is not a multiple of 2M' --mem 33M
refused "--mem: '' is not a size" --mem ''
refused '--cpus: 0 is too little' --cpus 0
refused '--cpus: 5 is too much' --cpus 5
refused "--cpus: '1K' is not a number" --cpus 1K
refused '--cmdline: this kernel takes [0-9]+ characters' --cmdline "$(printf '%5000d' 0)"
refused "unexpected 'more'" more
refused "--policy: no policy 'huge' is loaded that VMMs may ask for" --policy huge
refused '--policy: names have at most 31 characters' --policy "$(printf '%032d' 0)"
assert_fails 126 gmem_vmm --mem 64M
assert_match "$output" '--kernel is needed'
wait_for 20 no_objects # of those that failed on the way

# ---- Guests that do not end well ----

# Nothing runs so fast that it is done in a second, and nothing hangs.
vmm 124 --timeout 1
assert_match "$output" 'the guest ran out of time'

if [ -n "$FULL_RUN" ]; then
	# It must find what is wrong
	vmm 1 --cmdline 'console=ttyS0 panic=-1 quiet break=1'
	assert_eq "$(said errors)" 1 'words that the guest found wrong, of one bit that was flipped'
	# A kernel that panics
	vmm 125 --cmdline 'console=ttyS0 panic=-1 rdinit=/nowhere'
	assert_match "$output" 'Kernel panic'
	assert_match "$output" 'the guest asked for a reset'
fi

# ---- Without a policy ----

boot
assert_eq "$(said policy)" builtin 'the policy'
assert_resident
assert_eq "$(said order-0)" $(($(said resident) / 4096)) 'pages in folios of 4K'
assert_ge "$(said mapped)" $(($(said tested-mib) * 256)) 'pages that the guest mapped by touching them'
small_faults=$(said faults)

# ---- Under one ----

# Large folios do for 512 faults each.
large() {
	assert_ge "$(said order-9)" $(($(said tested-mib) / 2)) 'folios of 2M'
	assert_ge "$(said pages-2m)" $(($(said tested-mib) / 2)) 'mappings of 2M'
	assert_le $(($(said faults) * 10)) "$small_faults" 'faults, ten times'
}

load huge --flags named
boot --policy huge
assert_eq "$(said policy)" huge 'the policy that the VMM named'
assert_resident
large
unload huge

policies=prealloc
if [ -n "$FULL_RUN" ]; then policies=$(shipped_policies); fi
for policy in $policies; do
	load "$policy"
	boot
	assert_eq "$(said policy)" "$policy" 'the policy'
	assert_resident
	case $policy in huge | huge_adaptive) large ;; esac
	unload "$policy"
done
