// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Has an op that may sleep: refused by the verifier. */
#include "gmem_policy.bpf.h"

char _license[] SEC("license") = "GPL";

__GMEM_OP(void, alloc, gmem_alloc_ctx, ".s", ctx)
{
}

GMEM_POLICY(sleepable, "an op that may sleep", GMEM_USE(alloc));
