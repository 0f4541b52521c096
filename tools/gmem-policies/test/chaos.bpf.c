// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * chaos: decide at random, but never nonsense, so that it is not tripped. For tests only: hostile's
 * random answers are all clamped; these are all carried out.
 */
#include "gmem_policy.bpf.h"

char _license[] SEC("license") = "GPL";

TUNABLE(__u32, nodes, 1, "NUMA nodes that it chooses from");
TUNABLE(__u32, max_count, 128, "most pages populated at a time, a power of 2");
TUNABLE(bool, decline, false, "decline every fourth object");

COUNTER(declined, "objects that were declined");
COUNTER(populated, "decisions to populate");

GMEM_INIT(ctx)
{
	if (!decline || bpf_get_prandom_u32() & 3)
		return 0;
	COUNT(declined);
	return -1;
}

GMEM_OP(alloc, ctx)
{
	__u32 r = bpf_get_prandom_u32();

	ctx->obj.cookie = r;
	ctx->order = (r & 0xff) % 10;
	ctx->zero = r >> 8 & 1;
	if (nodes && r >> 9 & 1)
		ctx->node = (r >> 16) % nodes;
}

GMEM_OP(prealloc, ctx)
{
	__u64 pages = ctx->obj.size >> GMEM_PAGE_SHIFT;
	__u32 r = bpf_get_prandom_u32();

	if (!pages || r & 7)
		return;
	ctx->how = (r >> 8) % 3;
	ctx->from = bpf_get_prandom_u32() % pages;
	ctx->count = r >> 16 & (max_count - 1);
	COUNT(populated);
}

GMEM_OP(convert, ctx)
{
	__u32 r = bpf_get_prandom_u32();

	ctx->how = (r & 0xff) % 3;
	ctx->quiet_ms = r >> 8 & 15;
	ctx->rebuild = r >> 12 & 1;
	ctx->max_holes = r >> 16 & (GMEM_BLOCK_PAGES - 1);
}

GMEM_OP(free, ctx)
{
	ctx->mode = bpf_get_prandom_u32() & 1;
}

GMEM_POLICY(chaos, "decide at random, and nothing nonsensical, for tests",
	    GMEM_USE(init), GMEM_USE(alloc), GMEM_USE(prealloc), GMEM_USE(convert), GMEM_USE(free),
	    .flags = GMEM_POLICY_LARGE);
