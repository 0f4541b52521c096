// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * prezero: memory that was zeroed before anybody waited for it.
 *
 * Zeroing is nearly all of what a fault for 2M costs, and a tenth of one for 4K. This policy keeps
 * zeroed memory ready on each node, filled by a thread of the kernel in idle time, and serves
 * allocations from there.
 *
 * Tunables
 *	large		whole blocks of 2M where they fit, else single pages; no: single pages only,
 *			and then finding out what fits costs nothing (default: yes)
 *	recycle		what a VM frees goes back into the pools, to be zeroed in the background,
 *			and not to the page allocator (default: no)
 *	pool_large_mb	zeroed blocks that are kept ready on each node, MiB (default: 256)
 *	pool_small_mb	zeroed single pages, MiB (default: 32)
 *	pool_low_percent  fill up again below this part of that (default: 75)
 *	pool_rate_mb	fill at most so many MiB/s on a node (default: 0, no limit)
 *
 * Limits
 *	Memory in pools is not free memory: it is there for guests only, until memory is short. The
 *	kernel's parameter gmem_pool.max_percent bounds it. VMs that need more in a short time than
 *	the pools hold have the rest zeroed while they wait, which is counted ("misses"). Memory
 *	that is interleaved over nodes never comes from pools. With recycle, data of a VM that is
 *	gone stays in memory until the thread has zeroed it; nobody can read it there. Where data
 *	must be gone when the VM is, use scrub.
 */
#include "gmem_policy.bpf.h"

char _license[] SEC("license") = "GPL";

TUNABLE(bool, large, true, "whole blocks of 2M where they fit; false: single pages only");
TUNABLE(bool, recycle, false, "what is freed goes back into the pools, to be zeroed there");

COUNTER(blocks, "allocations of a whole block");
COUNTER(pages, "allocations of a single page");

GMEM_OP(alloc, ctx)
{
	ctx->zero = GMEM_ZERO_POOL;
	if (large && ctx->max_order >= GMEM_BLOCK_ORDER) {
		ctx->order = GMEM_BLOCK_ORDER;
		COUNT(blocks);
	} else {
		COUNT(pages);
	}
}

GMEM_OP(free, ctx)
{
	if (recycle)
		ctx->mode = GMEM_FREE_RECYCLE;
}

GMEM_POLICY(prezero, "memory that was zeroed in idle time", GMEM_USE(alloc), GMEM_USE(free),
	    GMEM_POOLS(32, 256), .flags = GMEM_POLICY_LARGE);
