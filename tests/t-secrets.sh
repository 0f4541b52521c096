#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 900
# No VM ever reads what another wrote, or what it has given away itself (invariant 1): many VMs that write secrets
# everywhere, die, are killed, convert and punch (gmem_secrets), under every combination of when memory is zeroed,
# what happens to it when it is freed, and how large folios are (test/mixed.bpf.c), under mixes of these, under each
# policy that is shipped, and while policies come and go.
#   t-secrets.sh [OPERATIONS [SEED]]     in all (6000; with FULL=1 100000); else seeds are new each time
. "$(dirname "$0")/policy.sh"

total=${1:-6000}
if [ -z "${1:-}" ] && [ -n "${FULL:-}" ]; then total=100000; fi
seed=${2:-$((RANDOM * 32768 + RANDOM))}
mapfile -t policies < <(shipped_policies)

zeroes=(first_use at_alloc from_pool)
frees=(give_back scrub recycle)
orders=(small large any)
# Half of it for the combinations, the other half for what cannot be divided so.
combination=$((total / 2 / (${#zeroes[@]} * ${#frees[@]} * ${#orders[@]})))
rest=$((total / 2 / (${#policies[@]} + 4)))

# secrets WHAT OPERATIONS: what it prints is in $TMP/secrets, too.
secrets() {
	note "$1"
	gmem_secrets --ops "$2" --seed "$seed" | tee "$TMP/secrets"
	[ "${PIPESTATUS[0]}" = 0 ] || die "gmem_secrets failed: $1"
	seed=$((seed + 1))
}

# sum KEY: of what the last run says was zeroed or recycled
sum() { grep -oE "(^|[ ;])$1=[0-9]+" "$TMP/secrets" | grep -oE '[0-9]+$'; }

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

load mixed
for zero in "${zeroes[@]}"; do
	for free in "${frees[@]}"; do
		for order in "${orders[@]}"; do
			# shellcheck disable=SC2046 # words
			replace mixed $(weights "$all" "$zero" "$free" "$order")
			secrets "$zero, $free, $order" "$combination"
			[ "$zero" != from_pool ] || assert_ge "$(sum pool)" 1 'KiB that came from pools'
			[ "$zero" != at_alloc ] || assert_ge "$(sum alloc)" 1 'KiB that were zeroed at allocation'
			[ "$free" != scrub ] || assert_ge "$(sum free)" 1 'KiB that were scrubbed'
			[ "$free" != recycle ] || assert_ge "$(sum recycled)" 1 'pages that were recycled'
			[ "$order" != large ] || assert_ge "$(sum 2M)" 1 'folios of 2M'
		done
	done
done

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
