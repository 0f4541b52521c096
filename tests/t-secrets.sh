#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 900
# No VM ever reads what another wrote, or what it has given away itself (invariant 1): many VMs that write secrets
# everywhere, die, are killed, convert and punch (gmem_secrets), under every combination of when memory is zeroed,
# what happens to it when it is freed, and how large folios are (test/mixed.bpf.c), under mixes of these, under each
# policy that is shipped, and while policies come and go.
#   t-secrets.sh [OPERATIONS [SEED]]     in all (100000; on the debug kernel a tenth); else seeds are new each time
. "$(dirname "$0")/policy.sh"

total=${1:-$((100000 / (${TIME_SCALE:-1} > 1 ? 10 : 1)))}
seed=${2:-$((RANDOM * 32768 + RANDOM))}
mapfile -t policies < <(shipped_policies)

zeroes=(first_use at_alloc from_pool)
frees=(give_back scrub recycle)
orders=(small large any)
# Most of it for the combinations, all in one run; the rest, rounded up, for what cannot be divided so.
combined=$((total * 3 / 5))
runs=$((${#policies[@]} + 4))
rest=$(((total - combined + runs - 1) / runs))
did=0 blocks=0

cgroup secrets

# secrets WHAT OPERATIONS: what it prints is in $TMP/secrets, too.
secrets() {
	note "$1"
	in_cgroup "$CGROUPS/secrets" gmem_secrets --ops "$2" --seed "$seed" --workers 3 | tee "$TMP/secrets"
	[ "${PIPESTATUS[0]}" = 0 ] || die "gmem_secrets failed: $1"
	seed=$((seed + 1))
	did=$((did + $(said 's/^([0-9]+) operations of .*/\1/')))
	blocks=$((blocks + $(said 's/^([0-9]+) operations on whole blocks.*/\1/')))
}

# said SUBSTITUTION: a number in what the last run printed
said() { sed -nE "$1p" "$TMP/secrets"; }

# sum KEY: of what the last run says was zeroed or recycled
sum() { grep -oE "(^|[ ;])$1=[0-9]+" "$TMP/secrets" | grep -oE '[0-9]+$'; }

# least WHAT: how much any combination had of it (test/mixed.bpf.c)
least() {
	bpftool -j map dump name mixed.bss |
		jq "[.[].formatted.value[\".bss\"][].$1 // empty] | flatten | if length == 27 then min else -1 end"
}

# weights OF... ONE...: those of OF that are given, and no other
weights() {
	local of=$1 one args=()
	shift
	for one in $of; do
		if [[ " $* " == *" $one "* ]]; then args+=(--set "$one=1"); else args+=(--set "$one=0"); fi
	done
	echo "${args[*]}"
}

all="${zeroes[*]} ${frees[*]} ${orders[*]}"

# It notices.
assert_fails 1 gmem_secrets --ops 400 --seed 5 --leak
assert_match "$output" 'FAIL: seed 5, VM [0-9]+ .* reads 0x[0-9a-f]+: the [0-9]+\. secret of VM [0-9]+' 'what it says of a secret'

secrets 'no policy' "$rest"

# All combinations, side by side and one after the other. Now and then another policy takes over what runs, and gives it
# back, each file to a combination that it did not have before.
take_over() {
	local policy
	while [ ! -e "$TMP/stop" ]; do
		sleep $((1 + RANDOM % 5)).$((RANDOM % 10))
		policy=${policies[RANDOM % ${#policies[@]}]}
		load "$policy" --cgroup "$CGROUPS/secrets"
		sleep 0.$((RANDOM % 10))
		unload "$policy"
		echo "$policy" >>"$TMP/takeovers"
	done
}
load mixed --set combine=true
trace_begin pool
# Not each folio that is taken
echo 'action == 3' >"$TRACE/events/kvm_gmem/kvm_gmem_pool/filter"
take_over &
taker=$!
cleanup "touch '$TMP/stop'; wait $taker 2>/dev/null"
began=$SECONDS
secrets 'each combination' "$combined"
touch "$TMP/stop"
wait $taker || die 'policies that take over'
rm "$TMP/stop"
assert_ge "$(wc -l <"$TMP/takeovers")" 2 'policies that took over'
note "least of a combination: objects $(least objects), allocations $(least allocs), frees $(least frees)"
assert_ge "$(least objects)" $((combined / 2000)) 'objects of each combination'
assert_ge "$(least allocs)" $((combined / 1000)) 'allocations of each combination'
assert_ge "$(least frees)" $((combined / 1000)) 'frees of each combination'
assert_ge "$(sum pool)" "$combined" 'KiB that came from pools'
assert_ge "$(sum alloc)" "$combined" 'KiB that were zeroed at allocation'
assert_ge "$(sum free)" "$combined" 'KiB that were scrubbed'
assert_ge "$(sum recycled)" $((combined / 20)) 'pages that were recycled'
assert_ge "$(sum 2M)" $((combined / 500)) 'folios of 2M'
# The first time comes after 20 seconds, which a fast machine does not need.
if [ $((SECONDS - began)) -gt 25 ]; then
	assert_ge "$(said 's/.*; caches shrunk ([0-9]+) times/\1/')" 1 'times that pools were to be shrunk'
	assert_ge "$(traced 'pool: .* action=shrink nr=[1-9]')" 1 'times that pools gave something back'
fi
trace_begin
wait_for 20 no_objects

replace mixed
secrets 'all mixed' "$rest"
assert_eq "$(pol mixed '"\(.state) \(.clamps)"')" 'active 0' 'the policy, and what of it was clamped'
wait_for 20 no_objects
unload mixed

for policy in "${policies[@]}"; do
	load "$policy"
	secrets "$policy" "$rest"
	wait_for 20 no_objects
	unload "$policy"
done

# While policies come and go, and are replaced by one that decides otherwise
pick() { shuf -e -n "$((1 + RANDOM % $#))" "$@" | tr '\n' ' '; }
swap_policies() {
	local policy
	while [ ! -e "$TMP/stop" ]; do
		policy=$(shuf -e -n 1 mixed mixed "${policies[@]}")
		load "$policy"
		sleep 0.$((RANDOM % 10))
		if [ "$policy" = mixed ]; then
			# shellcheck disable=SC2046 # words
			replace mixed $(weights "$all" $(pick "${zeroes[@]}") $(pick "${frees[@]}") $(pick "${orders[@]}"))
			sleep 0.$((RANDOM % 10))
		fi
		unload "$policy"
		echo "$policy" >>"$TMP/swaps"
	done
}
swap_policies &
swapper=$!
cleanup "touch '$TMP/stop'; wait $swapper 2>/dev/null"
secrets 'policies that come and go' "$((2 * rest))"
touch "$TMP/stop"
wait $swapper || die 'loading, replacing and unloading policies'
assert_ge "$(wc -l <"$TMP/swaps")" 2 'policies that came and went'
wait_for 20 nothing_there
note "$did operations, $blocks of them on whole blocks of 2M"
assert_ge "$did" "$total" 'operations in all'
assert_ge "$blocks" $((total / 50)) 'of them on whole blocks of 2M'
