#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 180
# Memory attributes are stored by range, and nobody can tell by anything but the time and memory that it takes, and
# that clearing the attributes of the middle of a range can be refused for want of memory:
# guests against a model with a flag for each page, conversions whose allocations fail, vCPUs that read
# meanwhile, and what is charged to the memory cgroup.   SEED=N tests/t-attrs.sh runs a seed that failed again.
. "$(dirname "$0")/lib.sh"

attrs=("$SELFTESTS/gmem_attrs" ${SEED:+--seed "$SEED"})
n=$((1600 / ${TIME_SCALE:-1}))

keep_failing_knobs
"${attrs[@]}" --count "$n" random
"${attrs[@]}" --count "$n" failures
"${attrs[@]}" --count $((n / 16)) race

cgroup=$(new_cgroup attrs)
cleanup "rmdir $cgroup"
in_cgroup "$cgroup" "${attrs[@]}" memory
