#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 300
# gmem_bench measures what it says, of each kind; how much it is, is for make bench. FULL=1: what takes long, too.
. "$(dirname "$0")/lib.sh"

# measure LEAST-STEPS OPTION...: so many steps, all of which took time; but in the background there may be nothing to do
measure() {
	local least=$1
	shift
	note "gmem_bench $*"
	"$SELFTESTS/gmem_bench" --json --rounds 2 "$@" >/tmp/bench.json
	assert_ge "$(jq '.steps | length' /tmp/bench.json)" "$least" "steps of $*"
	assert_eq "$(jq -r '[.steps | to_entries[] | select(.value.ns <= 0 or .value.units <= 0) | .key] - ["fill_background"] | join(" ")' /tmp/bench.json)" '' \
		"steps of $* that took no time"
}

measure 15 --pages 600 pages
assert_ge "$(jq .steps.touch.faults /tmp/bench.json)" 2 'stage-2 faults'
measure 4 create
measure 4 --wall create
measure 12 parallel
measure 1 bounce_fixed
if [ -n "${FULL:-}" ]; then
	measure 12 --wall --all parallel
	measure 1 bounce
	measure 4 --pages 512 fill
	measure 11 conversions
	measure 35 sizes
	if command -v gmem-policy >/dev/null; then
		measure 6 policy
		measure 2 pool
		assert_eq "$(gmem-policy status -j | jq '.policies | length')" 0 'policies that are left'
	fi
fi
assert_fails 2 "$SELFTESTS/gmem_bench" nothing
assert_match "$output" "what is 'nothing'"
assert_fails 2 "$SELFTESTS/gmem_bench" --rounds 1
