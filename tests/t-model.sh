#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 900
# Random operations on guest memory, each byte compared with a model of it (gmem_model): no stale byte, no lost
# byte, no leak, in both kinds of VM, by one vCPU and by several in the same 2M, with no policy, under each
# policy that is shipped, and while policies come and go (invariants 1 to 4).
#   t-model.sh [OPERATIONS [SEED]]     in all (100000; on the debug kernel 10000); else seeds are new each time
. "$(dirname "$0")/policy.sh"

total=${1:-$((100000 / (${TIME_SCALE:-1} > 1 ? 10 : 1)))}
seed=${2:-$((RANDOM * 32768 + RANDOM))}
mapfile -t policies < <(shipped_policies)

# MODE VCPUS SIZE: one vCPU reaches each page of the file, several get into each other's way in a smaller one.
shapes=('private 1 32M' 'shared 1 32980K' 'private 2 20M' 'shared 4 20564K')

# What splits and rebuilds folios has half of the operations: as many as all others, without a policy and in turns.
others=0 large=0
for policy in "${policies[@]}"; do
	if [[ $policy == huge* ]]; then large=$((large + 1)); else others=$((others + 1)); fi
done
others=$((others + 2))
weight=$(((others + large - 1) / large))
runs=$((${#shapes[@]} * (others + large * weight)))
ops=$(((total + runs - 1) / runs))
args=()
# KASAN keeps what is freed for a while, up to 1/32 of the memory.
if [ "${TIME_SCALE:-1}" -gt 1 ]; then args+=(--leak-bound 128M); fi

# model POLICY [WEIGHT]: on all shapes. What it prints is in $TMP/model, too.
model() {
	local name=$1 n=$((ops * ${2:-1})) shape mode vcpus size
	: >"$TMP/model"
	for shape in "${shapes[@]}"; do
		read -r mode vcpus size <<<"$shape"
		note "policy: $name"
		gmem_model --mode "$mode" --vcpus "$vcpus" --size "$size" --ops "$n" --seed "$seed" \
			"${args[@]}" | tee -a "$TMP/model"
		[ "${PIPESTATUS[0]}" = 0 ] || die 'gmem_model failed'
		seed=$((seed + 1))
	done
}

# take load|replace POLICY: with what it does not do by itself
take() {
	local set=()
	if [ "$2" = fault_around ]; then set=(--set map=true); fi
	"$1" "$2" "${set[@]}"
}

# It notices: a page that is lost, and a byte that should not be there.
for breakage in lost stale; do
	assert_fails 1 gmem_model --size 4M --ops 400 --seed 5 --break $breakage
	assert_match "$output" "FAIL: seed 5, .*page [0-9]+, byte [0-9]+: " "what it says of a $breakage byte"
done

model none

for policy in "${policies[@]}"; do
	take load "$policy"
	if [[ $policy == huge* ]]; then model "$policy" $weight; else model "$policy"; fi
	# Which of the shapes has whole blocks to itself is up to chance; that none has, is not.
	if [[ $policy == huge* ]]; then
		assert_match "$(grep 'orders of folios' "$TMP/model")" ' 9($|[^0-9])' "orders of folios under $policy"
	fi
	assert_eq "$(pol "$policy" '"\(.state) \(.clamps)"')" 'active 0' "policy $policy, and what of it was clamped"
	wait_for 20 no_objects
	unload "$policy"
done

# Each comes, is replaced by itself, and goes, in turns. Loading takes as much of the machine as the test does.
swap_policies() {
	local policy
	while [ ! -e "$TMP/stop" ]; do
		for policy in "${policies[@]}"; do
			take load "$policy"
			sleep 0.5
			take replace "$policy"
			sleep 0.5
			unload "$policy"
			echo "$policy" >>"$TMP/swaps"
		done
	done
}
swap_policies &
swapper=$!
cleanup "touch '$TMP/stop'; wait $swapper 2>/dev/null"
model 'all, in turns'
touch "$TMP/stop"
wait $swapper || die 'loading, replacing and unloading policies'
assert_ge "$(wc -l <"$TMP/swaps")" ${#policies[@]} 'policies that came and went'
wait_for 20 nothing_there
