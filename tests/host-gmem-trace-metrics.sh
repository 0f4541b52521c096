#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# What gmem-trace export counts while VMs come, work, go and come back at random, against a model of it: no counter
# ever decreases, the host's are exact, labels are bounded. By a build with sanitizers.
#   STEPS=N SEED=N
set -euo pipefail
. "$(dirname "$0")/sanitized.sh"
build_sanitized metrics-model

seed=${SEED:-20261121}
# Labels for all, for some, for one
for vms in '' 3 1; do
	# shellcheck disable=SC2086 # one argument, or none
	"$out/metrics-model" "${STEPS:-5000}" "$seed" $vms || die "it was: metrics-model ${STEPS:-5000} $seed $vms"
done
