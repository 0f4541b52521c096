#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests that no time is left for are skipped, say so, and are counted, each of them: what CI relies on where the host is slow.
set -euo pipefail
. "$(dirname "$0")/../scripts/lib.sh"
cd "$TOP"

all=$(tests/run --list | wc -l)
out=$(SECONDS_LEFT=0 FULL='' tests/run)
late=$(grep -cE '^ok [0-9]+ - .* # SKIP no time is left$' <<<"$out" || :)
full=$(grep -cE '^ok [0-9]+ - .* # SKIP only with FULL=1$' <<<"$out" || :)
if [ "$late" -lt 50 ] || [ $((late + full)) != "$all" ] ||
	[ "$(tail -n 1 <<<"$out")" != "0 passed, 0 failed, $all skipped" ]; then
	die "of $all tests, none of which had time: $out"
fi

# T: if it were taken, not all tests would begin.
rc=0
out=$(UNTIL=tomorrow T='^none$' scripts/test 2>&1) || rc=$?
if [ $rc != 1 ] || ! [[ $out == *"UNTIL is 'tomorrow', and must be a number of seconds"* ]]; then
	die "UNTIL=tomorrow: exit $rc: $out"
fi
