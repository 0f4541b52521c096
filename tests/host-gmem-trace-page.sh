#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The page of gmem-trace report in a browser: it is whole, every drawing has its data, and the console is empty.
# A picture of it is left in build/logs.
set -euo pipefail
. "$(dirname "$0")/../scripts/lib.sh"
cd "$TOP"

if ! command -v chromium >/dev/null; then
	echo "SKIP: no chromium"
	exit 4
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# A recording of a VM that converts, from the booted machine
# shellcheck disable=SC2016
record='
gmem-trace record /run/results/page.gmt 2>/tmp/err &
for i in $(seq 300); do grep -q ^Tracing /tmp/err && break; sleep 0.1; done
# Memory is looked at every second: the VMs stay for some of them
/opt/gmem/selftests/gmem_workload -v 2 -c 2 -e both -n 20 --hold 5 >/dev/null || exit 1
kill -INT $!
wait $!'
scripts/boot --log "$BUILD/logs/console-page.log" --results "$tmp" -- bash -c "$record"
"$BUILD/tools/gmem-trace/gmem-trace" report --output "$tmp/page.html" "$tmp/page.gmt"

# What the browser has made of it, and what it has to say
browser() {
	timeout 120 chromium --headless --no-sandbox --disable-gpu --user-data-dir="$tmp/profile" --enable-logging=stderr "$@" \
		"file://$tmp/page.html" 2>"$tmp/console"
}
browser --dump-dom >"$tmp/dom"
if grep -E 'CONSOLE' "$tmp/console"; then die "the console is not empty"; fi
for id in phases timeline latency faults zeroing memory; do
	shapes=$(sed -n "/<section id=\"$id\">/,/<\/section>/p" "$tmp/dom" | grep -cE '<(rect|polyline) ') || :
	[ "$shapes" -ge 5 ] || die "the drawing '$id' has $shapes shapes"
done
[ "$(grep -c '</html>' "$tmp/dom")" = 1 ] || die "the page is not whole"
browser --window-size=1100,1800 --hide-scrollbars --screenshot="$BUILD/logs/gmem-trace-page.png"
[ -s "$BUILD/logs/gmem-trace-page.png" ] || die "no picture"
