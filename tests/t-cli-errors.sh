#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 120
# gmem-policy against bad input: each mistake ends with the exit status of the man page, with a message that says
# what is wrong and what there is instead, as text on stderr or as JSON on stdout; and nothing is changed by it.
. "$(dirname "$0")/policy.sh"
unset GMEM_POLICY_PATH

# fails STATUS CODE REGEX ARG...: as text, and as JSON
fails() {
	local status=$1 code=$2 regex=$3 rc=0
	shift 3
	gmem-policy "$@" >"$TMP/out" 2>"$TMP/err" || rc=$?
	assert_eq "$rc" "$status" "exit status of: gmem-policy $*: $(cat "$TMP/out" "$TMP/err")"
	assert_eq "$(cat "$TMP/out")" '' "stdout of: gmem-policy $*"
	assert_match "$(cat "$TMP/err")" "$regex" "gmem-policy $*"
	rc=0
	gmem-policy -j "$@" >"$TMP/out" 2>"$TMP/err" || rc=$?
	assert_eq "$rc" "$status" "exit status of: gmem-policy -j $*"
	assert_eq "$(jq -r '"\(.schema) \(.error.code)"' "$TMP/out")" "1 $code" "gmem-policy -j $*: $(cat "$TMP/out")"
	assert_match "$(jq -r '.error.message' "$TMP/out")" . "the message of: gmem-policy -j $*"
}

note 'usage: 2'
assert_fails 2 gmem-policy
assert_match "$output" '^usage: gmem-policy'
assert_fails 2 gmem-policy -j
assert_eq "$(jq -r .error.code <<<"$output")" USAGE 'no command'
fails 2 USAGE "no command 'lod'" lod
fails 2 USAGE 'no option --bogus' status --bogus
fails 2 USAGE 'no option -x' -x status
fails 2 USAGE 'list has no option --all' list --all
fails 2 USAGE 'unload has no option --set' unload count --set a=b
fails 2 USAGE 'takes a value' load count --cgroup
fails 2 USAGE 'usage: gmem-policy load' load
fails 2 USAGE 'usage: gmem-policy load' load count zero_alloc
fails 2 USAGE 'usage: gmem-policy list' list all
fails 2 USAGE 'usage: gmem-policy unload' unload
fails 2 USAGE 'usage: gmem-policy unload' unload count --all
fails 2 USAGE 'usage: gmem-policy show' show
fails 2 USAGE 'number of seconds' wait count --timeout soon
fails 2 USAGE 'number of seconds' wait count --timeout -1
fails 2 USAGE 'id of a policy' replace count --expect x
fails 2 USAGE "no command 'lod'" help lod

note 'what is not there: 1'
fails 1 ENOENT 'no policy .nosuch.*There are: boot, count, fault_around, huge, huge_adaptive, prealloc, prezero, scrub, zero_alloc' load nosuch
fails 1 ENOENT 'no file ./nosuch.bpf.o' load ./nosuch.bpf.o
echo 'int main;' >"$TMP/text.bpf.o"
fails 1 EINVAL 'text.bpf.o is no BPF object' load "$TMP/text.bpf.o"
fails 1 ENOENT "no policy called 'count' is loaded" unload count
fails 1 ENOENT "no policy called 'count' is loaded" replace count
fails 1 ENOENT "no policy called 'count' is loaded" wait count
fails 1 ENOENT "no policy called 'count' is loaded" show count
fails 1 ENOENT "no policy called '../x' is loaded" unload ../x
fails 1 ESRCH 'process 1 .* has created no guest memory' show 1
fails 1 ESRCH 'process 4000000 .*has created no guest memory' show 4000000
fails 1 ENOENT 'no such cgroup' load count --cgroup /nosuch
fails 1 ENOENT 'no such cgroup' load count --cgroup /etc
fails 1 EINVAL 'not the directory of a cgroup' load count --cgroup "$CGROUPS/cgroup.procs"
fails 1 EINVAL "'bogus' is none of named, enforced, shadow" load count --flags bogus
fails 1 EINVAL "'a.b' is no name" load count --as a.b
fails 1 EINVAL 'is no name' load count --as "$(printf 'x%.0s' {1..32})"
fails 1 EINVAL "'builtin' is no name.*neither a number nor 'builtin'" load count --as builtin
fails 1 EINVAL "'42' is no name" load count --as 42
fails 1 EINVAL "'builtin' is no name.*neither a number nor 'builtin'" load "$TESTBPF/bad_name.bpf.o"

note 'tunables'
fails 1 ENOENT "policy 'prealloc' has no tunable 'bogus'" load prealloc --set bogus=1
for t in at_create at_bind at_convert background max_mb zero from_pool pool_large_mb; do
	assert_match "$(gmem-policy load prealloc --set bogus=1 2>&1 || :)" "$t +(bool|u32) +(true|false|0) +[a-z]" 'the list of tunables'
done
output=$(gmem-policy -j load prealloc --set bogus=1 || :)
assert_eq "$(jq -r '.error.tunables | map(.name) | join(" ")' <<<"$output")" \
	'at_create at_bind at_convert around_kb background max_mb zero from_pool pool_small_mb pool_large_mb pool_low_percent pool_rate_mb' 'the list of tunables'
assert_eq "$(jq -c '.error.tunables[] | select(.name == "max_mb") | [.type, .default, (.meaning | length > 5)]' <<<"$output")" \
	'["u32",0,true]' 'a tunable'
fails 1 EINVAL 'max_mb=abc: it is a number' load prealloc --set max_mb=abc
fails 1 EINVAL 'max_mb=12x: it is a number' load prealloc --set max_mb=12x
fails 1 EINVAL 'max_mb=: it is a number' load prealloc --set max_mb=
fails 1 EINVAL 'max_mb=-1: it is from 0 to 4294967295' load prealloc --set max_mb=-1
fails 1 EINVAL 'max_mb=4294967296: it is from 0 to 4294967295' load prealloc --set max_mb=4294967296
fails 1 EINVAL 'max_mb=99999999999999999999: it is from 0' load prealloc --set max_mb=99999999999999999999
fails 1 EINVAL 'at_bind=maybe: it is true or false' load prealloc --set at_bind=maybe
fails 1 EINVAL 'max_mb: it is written NAME=VALUE' load prealloc --set max_mb
fails 1 EINVAL '=1: it is written NAME=VALUE' load prealloc --set =1
fails 1 EINVAL 'bogus.*it is one of none\|now\|background' load "$TESTBPF/census.bpf.o" --set how=bogus
fails 1 EINVAL 'node=2147483648: it is from -2147483648 to 2147483647' load "$TESTBPF/hostile.bpf.o" --set node=2147483648
fails 1 ENOENT 'no tunable' replace prealloc --set bogus=1
fails 1 EINVAL 'pool_low_percent=101: it is from 0 to 100' load prezero --set pool_low_percent=101
fails 1 EINVAL 'pool_large_mb=x: it is a number' load prezero --set pool_large_mb=x
fails 1 EINVAL 'pool_large_mb=4294967296: it is from 0 to 4294967295' load prezero --set pool_large_mb=4294967296
fails 1 ENOENT "'scrub' has no tunable 'pool_large_mb'" load scrub --set pool_large_mb=1
fails 1 EINVAL "name .'bad_pool'.*none.*or pool_low_percent .101" load "$TESTBPF/bad_pool.bpf.o"
mkdir "$TMP/empty"
GMEM_POLICY_PATH=$TMP/empty fails 1 ENOENT 'GMEM_POLICY_PATH says where to look' load count

note 'without privileges'
nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
assert_fails 1 nobody gmem-policy status
assert_match "$output" '[Rr]un it as root' 'status'
assert_fails 1 nobody gmem-policy load count
assert_match "$output" '[Rr]un it as root|not permitted' 'load'
assert_fails 1 nobody gmem-policy check
assert_match "$output" 'NO +privileges +missing: CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN' 'check'
# What is needed is the same for everybody
needed() { jq -c '[.checks[] | select(.needed).feature]'; }
assert_eq "$(nobody gmem-policy check -j | needed || :)" "$(gmem-policy check -j | needed)" 'what is needed'
nobody gmem-policy list >/dev/null

note 'unload: a pin that stays, and others beside it'
load count
load prealloc --as other --flags shadow
mount --bind "$PINS/count" "$PINS/count"
cleanup "umount '$PINS/count' 2>/dev/null"
assert_fails 1 gmem-policy -j unload --all
assert_eq "$(jq -c '[.error.code, .error.failed, (.error.unloaded | map(.name))]' <<<"$output")" \
	'["EBUSY",["count"],["count","other"]]' 'unload --all, with a pin that cannot be removed'
assert_match "$(jq -r .error.message <<<"$output")" "'count' is detached, but its pin $PINS/count cannot be removed" 'unload --all'
assert_eq "$(gmem-policy status --names)" '' 'what is loaded then'
umount "$PINS/count"
unload count
load count
mount --bind "$PINS/count" "$PINS/count"
assert_fails 1 gmem-policy unload count
assert_match "$output" "unloaded 'count' .*gmem-policy: 'count' is detached, but" 'unload, with a pin that cannot be removed'
umount "$PINS/count"
unload count

note 'load: attached, and cannot be shown'
keep_failing_knobs
echo N >/sys/kernel/debug/failslab/ignore-gfp-wait
echo 0 >/sys/kernel/debug/failslab/verbose
told=0
for ((n = 1; ; n++)); do
	rc=0
	output=$(gmem_failcmd $n iter_create -- gmem-policy -j load count 2>/dev/null) || rc=$?
	if [[ $output == *'there was none' ]]; then break; fi
	if [ $rc != 0 ]; then
		assert_eq "$rc $(sed '$d' <<<"$output" | jq -r .error.loaded)" '1 count' 'load, of what it cannot show'
		told=$((told + 1))
	fi
	assert_eq "$(gmem-policy status --names)" count 'what is loaded'
	unload count
done
assert_ge $told 1 'loads that could not be shown'
unload count

# Nothing came of all this
assert_eq "$(gmem-policy status -j | jq -c '[.schema, .policies, .objects]')" '[1,[],[]]' 'status with nothing loaded'
assert_eq "$(ls "$PINS" 2>/dev/null)" '' 'pins'
