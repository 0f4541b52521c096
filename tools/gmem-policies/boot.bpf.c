// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * boot: have VMs start fast.
 *
 * What a VM waits for while it boots is memory: a fault for each page, and the zeroing of all of
 * it. This policy puts together what helps: blocks of 2M, taken from pools that were filled in idle
 * time, and populated by a worker ahead of where the guest is. When memory is bound, the worker
 * begins at its start, where kernels are loaded and unpack; when the guest still is faster, or
 * elsewhere, the worker goes on behind the block that was missing.
 *
 * Tunables
 *	first_mb	populate so much of what a memslot is bound to, MiB (default: 512)
 *	next_mb		populate so much behind a block that the guest missed, MiB (default: 16)
 *	max_mb		the budget of each object: populate no further once it has so much memory,
 *			MiB (default: 0, no limit)
 *	recycle		what a VM frees goes back into the pools, for VMs that come and go
 *			(default: no)
 *	pool_large_mb	zeroed blocks that are kept ready on each node, MiB (default: 1024)
 *	pool_small_mb	zeroed single pages, MiB (default: 16)
 *	pool_low_percent, pool_rate_mb	as in prezero
 *
 * Limits
 *	What is populated may never be used by the guest: first_mb and next_mb should be below what
 *	guests touch while they boot, and 0 where much of what is bound stays shared, or memory is
 *	sold twice. Memory is charged to the VM's memory cgroup, and population stops without an
 *	error when that is nearly full. When more VMs boot at a time than pools hold memory for,
 *	they zero while they wait, as under huge.
 */
#include "gmem_policy.bpf.h"

char _license[] SEC("license") = "GPL";

TUNABLE(__u32, first_mb, 512, "populate so much of what a memslot is bound to, MiB");
TUNABLE(__u32, next_mb, 16, "populate so much behind a block that the guest missed, MiB");
TUNABLE(__u32, max_mb, 0, "populate no further once an object has so many MiB; 0: no limit");
TUNABLE(bool, recycle, false, "what is freed goes back into the pools, to be zeroed there");

COUNTER(blocks, "allocations of a whole block");
COUNTER(pages, "allocations of a single page");
COUNTER(ahead, "ranges that were asked to be populated ahead");
COUNTER(at_limit, "ranges cut short or left out because of max_mb");

GMEM_OP(alloc, ctx)
{
	ctx->zero = GMEM_ZERO_POOL;
	if (ctx->max_order >= GMEM_BLOCK_ORDER) {
		ctx->order = GMEM_BLOCK_ORDER;
		COUNT(blocks);
	} else {
		COUNT(pages);
	}
}

/* What max_mb leaves of @count pages. */
static __u64 within_limit(const struct gmem_info *obj, __u64 count)
{
	__u64 fits = gmem_pages_below(obj, max_mb);

	if (count <= fits)
		return count;
	COUNT(at_limit);
	return fits;
}

GMEM_OP(prealloc, ctx)
{
	__u64 block = ctx->start >> GMEM_BLOCK_ORDER, from, count;

	if (ctx->why == GMEM_WHY_BIND) {
		from = ctx->start;
		count = GMEM_MB_PAGES(first_mb);
		if (count > ctx->nr)
			count = ctx->nr;
	} else if (ctx->why == GMEM_WHY_GUEST_FAULT && ctx->obj.cookie != block + 1) {
		/* Not again for each of the pages of a block that is not had as one. */
		ctx->obj.cookie = block + 1;
		from = (block + 1) << GMEM_BLOCK_ORDER;
		count = GMEM_MB_PAGES(next_mb);
	} else {
		return;
	}

	count = within_limit(&ctx->obj, count);
	if (!count || from >= ctx->obj.size >> GMEM_PAGE_SHIFT)
		return;
	ctx->how = GMEM_HOW_BACKGROUND;
	ctx->from = from;
	ctx->count = count;
	COUNT(ahead);
}

GMEM_OP(free, ctx)
{
	if (recycle)
		ctx->mode = GMEM_FREE_RECYCLE;
}

GMEM_POLICY(boot, "have VMs start fast: 2M, zeroed in idle time, populated ahead",
	    GMEM_USE(alloc), GMEM_USE(prealloc), GMEM_USE(free), GMEM_POOLS(16, 1024),
	    .flags = GMEM_POLICY_LARGE);
