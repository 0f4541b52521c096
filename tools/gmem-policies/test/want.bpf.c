// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * want: say at run time what is to be in pools: when an object comes, and when one goes. For tests
 * only.
 */
#include "gmem_policy.bpf.h"

char _license[] SEC("license") = "GPL";

TUNABLE(__u32, small_mb, 0, "with an object: single pages, MiB");
TUNABLE(__u32, large_mb, 0, "with an object: blocks, MiB");

COUNTER(asked, "times that it was asked for");
COUNTER(refused, "times that this was refused");

static void ask(__u32 small, __u32 large)
{
	COUNT(asked);
	if (gmem_pool_want(small, large))
		COUNT(refused);
}

GMEM_INIT(ctx)
{
	ask(small_mb, large_mb);
	return 0;
}

GMEM_EXIT(ctx)
{
	ask(0, 0);
}

GMEM_OP(alloc, ctx)
{
	ctx->zero = GMEM_ZERO_POOL;
}

GMEM_POLICY(want, "say at run time what is to be in pools, for tests", GMEM_USE(init),
	    GMEM_USE(exit), GMEM_USE(alloc), GMEM_POOLS(0, 0));
