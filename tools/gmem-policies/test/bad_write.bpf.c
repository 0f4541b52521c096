// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Writes what a policy is only told: refused by the verifier. */
#include "gmem_policy.bpf.h"

char _license[] SEC("license") = "GPL";

GMEM_OP(alloc, ctx)
{
	ctx->obj.size = 0;
}

GMEM_POLICY(bad_write, "a write to what is read-only", GMEM_USE(alloc));
