// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Wants a pool to be filled below more than all of it: refused with EINVAL. */
#include "gmem_policy.bpf.h"

char _license[] SEC("license") = "GPL";

GMEM_OP(alloc, ctx)
{
}

GMEM_POLICY(bad_pool, "a low watermark above the high one", GMEM_USE(alloc),
	    .pool_small_mb = 1, .pool_low_percent = 101);
