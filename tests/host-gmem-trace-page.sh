#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The page of gmem-trace report in a browser: it is whole, every drawing has its data, and the console is empty.
# Pictures of it are left in build/logs: light, dark, and on a phone, where it is no wider than the screen.
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
# picture NAME ARG...
picture() {
	local png=$BUILD/logs/gmem-trace-page$1.png
	shift
	rm -f "$png"
	browser --hide-scrollbars --screenshot="$png" "$@"
	[ -s "$png" ] || die "no picture: $png"
}
dark=--blink-settings=preferredColorScheme=0
picture '' --window-size=1100,1800
picture -dark --window-size=1100,1800 $dark
picture -phone --window-size=390,1800
if cmp -s "$BUILD/logs/gmem-trace-page.png" "$BUILD/logs/gmem-trace-page-dark.png"; then die "dark is as light"; fi

# What the page is like there is told by a script, in a frame as wide as a phone: windows are not that narrow
cat >"$tmp/phone.html" <<'END'
<!DOCTYPE html><title></title><iframe id="f" src="page.html" width="390" height="800"></iframe><script>
onload = () => {
	const root = document.getElementById('f').contentDocument.documentElement;
	document.title = `wide ${root.scrollWidth} dark ${getComputedStyle(root).getPropertyValue('--bg').trim()}`;
}</script>
END
told() { # ARG...
	timeout 120 chromium --headless --no-sandbox --disable-gpu --user-data-dir="$tmp/profile" --allow-file-access-from-files \
		--dump-dom "$@" "file://$tmp/phone.html" 2>/dev/null | sed -n 's/.*<title>\(wide [0-9]* dark [^<]*\)<.*/\1/p'
}
light=$(told)
[[ $light =~ ^wide\ ([0-9]+)\ dark\ . ]] || die "the page in a frame tells nothing: $light"
[ "${BASH_REMATCH[1]}" -le 390 ] || die "on a phone, the page is ${BASH_REMATCH[1]} wide"
[ "$(told $dark)" != "$light" ] || die "the background is the same in the dark: $light"
