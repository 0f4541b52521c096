// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * prealloc: populate guest memory before the guest touches it.
 *
 * A guest that boots, or that converts memory to private, faults once per page, and each fault
 * allocates and zeroes. This policy populates whole ranges instead: when the file is created, when
 * a memslot is bound to it, or when a range becomes private; at once (the ioctl takes that much
 * longer) or by a worker of the kernel beside the running guest.
 *
 * Tunables
 *	at_create	populate when the file is created: all of it (default: no)
 *	at_bind		populate what a memslot is bound to (default: yes)
 *	at_convert	populate what becomes private (default: yes)
 *	background	let a worker do it; no: before the ioctl returns (default: yes)
 *	max_mb		populate no further once an object has so much memory (default: 0, no limit)
 *	zero		zero it as well; no: only allocate, and zero at first use (default: yes)
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
TUNABLE(bool, background, true, "by a worker; false: before the ioctl returns");
TUNABLE(__u32, max_mb, 0, "no further once an object has so many MiB; 0: no limit");
TUNABLE(bool, zero, true, "zero it too; false: only allocate");

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
	default:
		return false;
	}
}

GMEM_OP(prealloc, ctx)
{
	__u64 limit = (__u64)max_mb << 20;
	__u64 count = ctx->nr, left;

	if (!wanted(ctx->why))
		return;

	if (limit) {
		left = ctx->obj.resident < limit ?
		       (limit - ctx->obj.resident) >> GMEM_PAGE_SHIFT : 0;
		if (count > left) {
			count = left;
			COUNT(at_limit);
		}
	}
	if (!count)
		return;

	ctx->how = background ? GMEM_HOW_BACKGROUND : GMEM_HOW_NOW;
	ctx->count = count;
	COUNT(ranges);
	COUNT_ADD(pages, count);
}

GMEM_OP(alloc, ctx)
{
	if (zero && ctx->why == GMEM_WHY_PREALLOC)
		ctx->zero = GMEM_ZERO_ALLOC;
}

GMEM_POLICY(prealloc, "populate memory before the guest touches it", GMEM_USE(prealloc),
	    GMEM_USE(alloc));
