#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# gmem-trace report lives with whatever it is given: recordings that were cut, changed and put together wrongly, by
# the hundred thousand, read by a build with the sanitizers of addresses and of undefined behaviour.
#   FILES=N SEED=N
set -euo pipefail
. "$(dirname "$0")/sanitized.sh"
build_sanitized fuzz-report

# Sanitizers write to a file: the standard error output is full of what is wrong with the recordings.
export ASAN_OPTIONS=log_path=$tmp/asan:detect_leaks=1 UBSAN_OPTIONS=log_path=$tmp/ubsan:print_stacktrace=1
rc=0
"$out/fuzz-report" "$tmp" "${FILES:-100000}" "${SEED:-20261120}" || rc=$?
if [ $rc != 0 ]; then
	cat "$tmp"/asan* "$tmp"/ubsan* 2>/dev/null || :
	die "fuzz-report ended with $rc"
fi
echo "${FILES:-100000} recordings, no crash"
