#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# How gmem-trace joins conversions with what asked for them, by its BPF programs themselves, in user space: no conversion
# is joined with a request for other memory, or made later; no phase ends before it begins; phases add up. And
# how it joins faults with what zeroed their memory. Threads do what they do in an order that is random. By a build with
# sanitizers.
#   STEPS=N SEED=N
set -euo pipefail
. "$(dirname "$0")/sanitized.sh"
build_sanitized joins-model

seed=${SEED:-20261128}
for i in 0 1 2 3; do
	"$out/joins-model" "${STEPS:-1000000}" $((seed + 2 * i)) || die "it was: joins-model ${STEPS:-1000000} $((seed + 2 * i))"
done
