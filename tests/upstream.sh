#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Run one of upstream's selftests, and see that it did what it was asked: they end with 0 after a usage
# error, and leave parts out in silence.   upstream.sh TEST [ARG]...
. "$(dirname "$0")/lib.sh"

name=$1
shift
rc=0
out=$("$SELFTESTS/$name" "$@" 2>&1) || rc=$?
printf '%s\n' "$out"
if [ $rc = 4 ]; then
	# Nothing that these need is missing here: a skip says that the machine is broken.
	die "$name skipped itself: $(grep -i skip <<<"$out" | head -n 1)"
fi
[ $rc = 0 ] || die "$name: exit $rc"

has() { grep -qE -- "$1" <<<"$out" || die "$name ended with 0, but did not print '$1'"; }
hasnt() { ! grep -qiE -- "$1" <<<"$out" || die "$name ended with 0, but printed '$1'"; }

hasnt '^usage:'
hasnt 'skip'
has '^Random seed: ' # it is one of the library's tests, and it got as far as main()
case $name in
guest_memfd_test)
	# mbind and where pages are allocated are tested on two nodes only
	[ -d /sys/devices/system/node/node1 ] || die "one NUMA node: half of the test was left out"
	;;
set_memory_region_test)
	has 'Testing ADD of KVM_MEM_GUEST_MEMFD memory regions'
	has 'Testing ADD of overlapping KVM_MEM_GUEST_MEMFD memory regions'
	for quirk in enabled disabled; do
		has "Testing MOVE of in-use region, ${1:-10} loops, slot zap quirk $quirk"
		has "Testing DELETE of in-use region, ${1:-10} loops, slot zap quirk $quirk"
	done
	;;
esac
