// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * prealloc: populate guest memory before the guest touches it.
 *
 * A guest that boots, or that converts memory to private, faults once per page, and each fault
 * allocates and zeroes. This policy populates whole ranges instead: when the file is created, when
 * a memslot is bound to it, when a range becomes private, or around a page that is missing; at once
 * (what led to it takes that much longer) or by a worker of the kernel beside the running guest.
 *
 * Tunables
 *	at_create	populate when the file is created: all of it (default: no)
 *	at_bind		populate what a memslot is bound to (default: yes)
 *	at_convert	populate what becomes private (default: yes)
 *	around_kb	populate the aligned window of so many KiB, a power of 2, around a page that
 *			the guest misses (default: 0, not)
 *	background	let a worker do it; no: before the ioctl or the fault returns (default: yes)
 *	max_mb		the budget of each object: populate no further once it has so much memory
 *			(default: 0, no limit)
 *	zero		zero it as well; no: only allocate, and zero at first use (default: yes)
 *	from_pool	take what is populated from pools of zeroed memory, as far as they go
 *			(default: no). They are to be given a size then
 *	pool_small_mb	zeroed single pages that are kept ready on each node, MiB (default: 0)
 *	pool_large_mb, pool_low_percent, pool_rate_mb	as in prezero. This policy takes single
 *			pages only
 *
 * Limits
 *	Memory populated for a range that stays shared is memory used twice: where the guest shares
 *	much, leave at_create and at_bind off. Memory is charged to the VM's memory cgroup, and
 *	population stops without an error at memory.high, at memory.max and when the host is short.
 *	Memory that the VMM binds page by page with mbind() afterwards is already placed.
 */
#include "gmem_policy.bpf.h"

char _license[] SEC("license") = "GPL";

TUNABLE(bool, at_create, false, "populate the whole file when it is created");
TUNABLE(bool, at_bind, true, "populate what a memslot is bound to");
TUNABLE(bool, at_convert, true, "populate what becomes private");
TUNABLE(__u32, around_kb, 0, "populate the window of so many KiB around a page that is missing");
TUNABLE(bool, background, true, "by a worker; false: before the ioctl or the fault returns");
TUNABLE(__u32, max_mb, 0, "no further once an object has so many MiB; 0: no limit");
TUNABLE(bool, zero, true, "zero it too; false: only allocate");
TUNABLE(bool, from_pool, false, "take it from pools of zeroed memory");

COUNTER(ranges, "ranges that were asked to be populated");
COUNTER(pages, "pages in them");
COUNTER(at_limit, "ranges cut short or left out because of max_mb");

static bool wanted(__u32 why)
{
	switch (why) {
	case GMEM_WHY_CREATE:
		return at_create;
	case GMEM_WHY_BIND:
		return at_bind;
	case GMEM_WHY_CONVERT:
		return at_convert;
	case GMEM_WHY_GUEST_FAULT:
		return around_kb;
	default:
		return false;
	}
}

GMEM_OP(prealloc, ctx)
{
	__u64 from = ctx->start, count = ctx->nr, fits;

	if (!wanted(ctx->why))
		return;

	if (ctx->why == GMEM_WHY_GUEST_FAULT) {
		count = (__u64)around_kb >> (GMEM_PAGE_SHIFT - 10);
		/* One page is what the fault gets anyway. */
		if (count < 2)
			return;
		from &= ~(count - 1);
	}

	fits = gmem_pages_below(&ctx->obj, max_mb);
	if (count > fits) {
		count = fits;
		COUNT(at_limit);
	}
	if (!count)
		return;

	ctx->how = background ? GMEM_HOW_BACKGROUND : GMEM_HOW_NOW;
	ctx->from = from;
	ctx->count = count;
	COUNT(ranges);
	COUNT_ADD(pages, count);
}

GMEM_OP(alloc, ctx)
{
	if (ctx->why != GMEM_WHY_PREALLOC)
		return;
	if (from_pool)
		ctx->zero = GMEM_ZERO_POOL;
	else if (zero)
		ctx->zero = GMEM_ZERO_ALLOC;
}

GMEM_POLICY(prealloc, "populate memory before the guest touches it", GMEM_USE(prealloc),
	    GMEM_USE(alloc), GMEM_POOLS(0, 0));
