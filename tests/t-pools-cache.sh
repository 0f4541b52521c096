#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 300
# On a host whose page cache has all memory, pools are filled in its place: kswapd makes some. They stay while page cache
# comes and goes, and a process that needs memory gets it. Only with FULL=1, blocks: how long it takes until there are some in
# the place of cache is up to what lies where.
# policy.sh has a FULL of its own
blocks=${FULL:-}
. "$(dirname "$0")/policy.sh"

cache_mb() { awk '/^(Inactive|Active)\(file\)/ { kib += $2 } END { print int(kib / 1024) }' /proc/meminfo; }
read_disk() { dd if=/dev/vda of=/dev/null bs=1M skip="$1" count="$2" 2>/dev/null; }

# What pieces of memory are left makes the kernel keep up to three times as much free, at times: the hog could not have it.
knob /proc/sys/vm/watermark_boost_factor 0
# The disk is larger than what is left
leave_mb 900
# Twice: kswapd may be far ahead for a while, if there was not enough in one piece.
for skip in 0 700 0 700; do read_disk $skip 700; done
kills=$(event oom_kill)
free=$(free_mb) cache=$(cache_mb)
note "$free MiB free, $cache MiB of page cache"
# For a pool on each of two nodes: more than is free
want=$(((free / 2 + 2) & ~1))
if [ $want -lt 64 ]; then want=64; fi
assert_ge "$cache" $((4 * want)) "MiB of page cache, for pools of $want MiB each"

note 'single pages'
load prezero --set pool_large_mb=0 --set pool_small_mb=$want
full $want 0 90
note "$(free_mb) MiB free, $(cache_mb) MiB of page cache"

note 'page cache that comes and goes'
for skip in 0 700 1400; do read_disk $skip 600; done
full $want 0 90

note 'a memory hog'
hog=$(($(free_mb) + $(cache_mb) + 48))
dd if=/dev/zero of=/dev/null bs="${hog}M" count=1 iflag=fullblock 2>"$TMP/dd" || die "the hog of $hog MiB: $(cat "$TMP/dd")"
assert_match "$(cat "$TMP/dd")" '1\+0 records out' "the hog of $hog MiB"
assert_eq "$(event oom_kill)" "$kills" 'processes killed for memory'

if [ -n "$blocks" ]; then
	note 'blocks'
	for skip in 0 700; do read_disk $skip 700; done
	replace prezero --set pool_large_mb=64 --set pool_small_mb=16
	full 16 64 600
fi
unload prezero
wait_for 20 pools_are "$NONE"
none_lost
