# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# For tests in bash, run in the booted machine: . "$(dirname "$0")/lib.sh"
# Any command that fails unasked fails the test; what cleanup was told is undone at the end, last first.
set -eEuo pipefail

SELFTESTS=/opt/gmem/selftests
export SELFTESTS
_cleanup=() _shell=$BASHPID

cleanup() { _cleanup+=("$*"); }

_at_exit() {
	local rc=$? i
	# A subshell that is killed before it has come to forget our traps must not undo what is ours.
	if [ "$BASHPID" != "$_shell" ]; then exit "$rc"; fi
	set +e
	trap - ERR
	for ((i = ${#_cleanup[@]} - 1; i >= 0; i--)); do
		eval "${_cleanup[i]}"
	done
	exit "$rc"
}
trap _at_exit EXIT
trap 'echo "failed: ${BASH_SOURCE[0]##*/}:$LINENO: $BASH_COMMAND" >&2' ERR

die() {
	echo "FAIL: $*" >&2
	exit 1
}

skip() {
	echo "SKIP: $*"
	exit 4
}

note() { echo "# $*"; }

# assert_eq GOT WANTED WHAT
assert_eq() { [ "$1" = "$2" ] || die "${3:-values differ}: got '$1', wanted '$2'"; }
# assert_ge GOT LEAST WHAT
assert_ge() { [ "$1" -ge "$2" ] || die "${3:-too small}: got $1, wanted at least $2"; }
# assert_le GOT MOST WHAT
assert_le() { [ "$1" -le "$2" ] || die "${3:-too large}: got $1, wanted at most $2"; }
# assert_match TEXT REGEX WHAT
assert_match() { [[ $1 =~ $2 ]] || die "${3:-no match}: '$1' is not like '$2'"; }
assert_no_match() { [[ ! $1 =~ $2 ]] || die "${3:-match}: '$1' is like '$2'"; }

# assert_fails STATUS CMD...: it must end with just that status. Its output is in $output.
assert_fails() {
	local want=$1 rc=0
	shift
	output=$("$@" 2>&1) || rc=$?
	[ "$rc" = "$want" ] || die "'$*' ended with $rc, wanted $want: $output"
}

# What a test that waited in vain has to show
in_vain() { :; }
# wait_for SECONDS CMD...: until it succeeds
wait_for() {
	local i ticks=$(($1 * ${TIME_SCALE:-1} * 10))
	shift
	for ((i = 0; i < ticks; i++)); do
		if "$@" >/dev/null 2>&1; then return 0; fi
		sleep 0.1
	done
	die "waited in vain for: $* $(in_vain 2>&1)"
}

# A line in the kernel's log that fails a run (scripts/scan-log) and that this test provokes on purpose.
expect_splat() { echo "gmem-test: expect $1" >/dev/kmsg; }
allow_splat() { echo "gmem-test: allow $1" >/dev/kmsg; }
splat_end() { echo "gmem-test: expect-end" >/dev/kmsg; }

# A program of this test is going to set how allocations fail (gmem_failing.h): leave that as it was. Skips the test on
# a kernel that has no such thing.
keep_failing_knobs() {
	local f
	for f in /sys/kernel/debug/{failslab,fail_page_alloc}/{ignore-gfp-wait,verbose} \
		/sys/kernel/debug/fail_page_alloc/{min-order,ignore-gfp-highmem}; do
		[ -e "$f" ] || skip 'allocations cannot be made to fail (FAILSLAB, FAIL_PAGE_ALLOC, FAULT_INJECTION_DEBUG_FS)'
		cleanup "echo $(cat "$f") >$f"
	done
}

# new_cgroup NAME: make it (with our controllers), print its path; removed at the end by the caller's cleanup
new_cgroup() {
	mkdir -p "/sys/fs/cgroup/$1"
	echo "/sys/fs/cgroup/$1"
}

# in_cgroup PATH CMD...
in_cgroup() {
	local path=$1
	shift
	(
		echo "$BASHPID" >"$path/cgroup.procs"
		exec "$@"
	)
}
