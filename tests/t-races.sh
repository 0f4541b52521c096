#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 1200
# vCPUs use memory while what is beside it, in the same 2M, is punched out and converted (gmem_races): without a
# policy, with folios of 2M, and with such that are split and rebuilt.
#   t-races.sh [SECONDS]     for each of three (7; with FULL=1 300)
# policy.sh has a FULL of its own
default=7
if [ -n "${FULL:-}" ]; then default=300; fi
seconds=${1:-$default}
. "$(dirname "$0")/policy.sh"

races() { # WHAT
	note "$1"
	gmem_races --seconds "$seconds" | tee "$TMP/races"
	[ "${PIPESTATUS[0]}" = 0 ] || die "gmem_races, $1"
}

number() { grep -oE "(^| )$1=[0-9]+" "$TMP/races" | grep -oE '[0-9]+$'; }

races 'without a policy'
assert_eq "$(number splits)" 0 'folios that were split without a policy'
load huge --set min_mb=0
races 'under huge'
# Else it is no race for a whole block
assert_ge "$(number splits)" "$(number rounds)" 'folios that were split'
unload huge
load huge_adaptive --set min_mb=0 --set quiet_ms=1 --set often=1000
races 'under huge_adaptive'
assert_ge "$(number splits)" "$(number rounds)" 'folios that were split'
unload huge_adaptive
wait_for 20 nothing_there
