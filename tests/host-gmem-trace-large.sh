#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# A recording of 1,000,000 events: gmem-trace report reads it in little memory, whatever it makes of it, and its page
# is small enough for a browser. Each kind of report takes less than 5 s of CPU time, and the page opens in less than 2 s.
#   EVENTS=N
set -euo pipefail
. "$(dirname "$0")/../scripts/lib.sh"
cd "$TOP"

gmem_trace=$BUILD/tools/gmem-trace/gmem-trace
[ -x "$gmem_trace" ] || die "there are no tools yet: make tools"
events=${EVENTS:-1000000}
# KiB of address space, libraries included: less than the events would take in memory
memory=131072
page=$((4 << 20))
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

make -C tools/gmem-trace "OUTPUT=$BUILD/tools/gmem-trace/" "KERNEL_TREE=$BUILD/linux" \
	"LIBBPF_INCLUDE=$BUILD/tools/bpftool/libbpf/include" make-recording

# timed WHAT CMD...: it takes less than 5 s of CPU time. Others may have the machine meanwhile: that is not counted.
timed() {
	local what=$1 TIMEFORMAT='%U %S'
	shift
	{ time "$@" 2>"$tmp/said"; } 2>"$tmp/time" || die "$what: $(cat "$tmp/said")"
	awk -v what="$what" '{ printf "%s: %.2f s\n", what, $1 + $2; exit $1 + $2 >= 5 }' "$tmp/time" >&2 || die "$what takes too long"
}

report() { ( ulimit -v $memory && "$gmem_trace" report "$@" ); }

# How long a browser takes from the page's beginning until all of it has its place: less than 2 s, the best of three
# times, since others may have the machine. It is told by a copy of the page that has a script, which the page has not.
# shellcheck disable=SC2016
script='<script>onload = () => {
	document.body.getBoundingClientRect();
	document.title = `opened in ${Math.round(performance.now())} ms`;
}</script></body>'
open_page() {
	local text
	text=$(<"$tmp/page.html")
	printf '%s\n' "${text/<\/body>/"$script"}" >"$tmp/timed.html"
	for _ in 1 2 3; do
		timeout 120 chromium --headless --no-sandbox --disable-gpu --user-data-dir="$tmp/profile" --enable-logging=stderr \
			--dump-dom "file://$tmp/timed.html" >"$tmp/dom" 2>"$tmp/console"
		if grep CONSOLE "$tmp/console"; then die "the console is not empty"; fi
		grep -o 'opened in [0-9]* ms' "$tmp/dom" || die "the page has not been loaded"
		if [ "$(sed -n 's/.*opened in \([0-9]*\) ms.*/\1/p' "$tmp/dom")" -lt 2000 ]; then return; fi
	done
	die "the page takes too long to open"
}

# Few VMs, many vCPUs, and more of both than a page has room for
for vms in 2 100; do
	"$BUILD/tools/gmem-trace/make-recording" "$tmp/a.gmt" "$events" $vms 8 1
	echo "$events events of $vms VMs, $(stat -c %s "$tmp/a.gmt") bytes"
	timed page report --output "$tmp/page.html" "$tmp/a.gmt"
	timed text report --text "$tmp/a.gmt" >"$tmp/text"
	timed drawing report --svg "$tmp/a.gmt" >"$tmp/svg"
	timed perfetto report --perfetto "$tmp/a.gmt" >"$tmp/perfetto"

	size=$(stat -c %s "$tmp/page.html")
	echo "page: $size bytes"
	[ "$size" -le $page ] || die "the page has $size bytes, more than $page"
	grep -q ": $events events of " "$tmp/page.html" || die "the page does not know of $events events"
	lost='lost: 100 events dropped, 20 of VMs too many, 3 of threads, 4 of series too many; 5 VMs not known; not shown: '
	if [ "$vms" -le 64 ]; then lost+='0 events of VMs and 0 conv'; else lost+='[1-9][0-9]* events of VMs and [0-9]* conv'; fi
	grep -q "class=\"warn\">$lost" "$tmp/page.html" || die "the page does not tell what was lost, and what there was no room for"
	for file in text svg perfetto; do grep -q "$lost" "$tmp/$file" || die "$file does not tell what was lost"; done
	if command -v chromium >/dev/null; then
		open_page
	else
		echo "no chromium: the page was not opened"
	fi
done
