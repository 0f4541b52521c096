// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * huge: the largest folios that fit.
 *
 * A guest touches its memory a page at a time, and each first touch is a fault. With 2M folios one
 * fault does for 512 of them, the guest's TLB holds more, and the page tables of the VM are
 * smaller. This policy takes what the kernel says fits: 2M where a whole block is free, less where
 * it is not.
 *
 * Tunables
 *	min_mb		only guest memory of at least so many MiB (default: 16)
 *	small_mb	leave the first so many MiB small (default: 0). A guest's firmware and boot
 *			code convert a page here and there in them
 *	zero		zero it when it is allocated; no: when it is first mapped (default: no)
 *
 * Limits
 *	A block that is converted in part is split when the VMM punches out what became shared, and
 *	stays small until all of it is punched out and touched again. Where guests convert memory in
 *	small pieces all the time, use huge_adaptive. A page that is touched costs the memory and
 *	the zeroing of its whole block.
 */
#include "gmem_policy.bpf.h"

char _license[] SEC("license") = "GPL";

TUNABLE(__u32, min_mb, 16, "only guest memory of at least so many MiB");
TUNABLE(__u32, small_mb, 0, "leave the first so many MiB small");
TUNABLE(bool, zero, false, "zero it when it is allocated; false: when it is first mapped");

COUNTER(blocks, "allocations of a whole block");
COUNTER(smaller, "allocations of less, because that is what fitted");
COUNTER(left_small, "allocations left small because of min_mb or small_mb");

/*
 * The largest order up to @order of a folio around @index that does not begin before @from. A loop
 * whose end the verifier sees.
 */
static __u32 order_from(__u64 index, __u32 order, __u64 from)
{
	int i;

	for (i = 0; i < GMEM_BLOCK_ORDER; i++) {
		if (order && (index >> order << order) < from)
			order--;
	}
	return order;
}

GMEM_OP(alloc, ctx)
{
	__u64 small_pages = GMEM_MB_PAGES(small_mb);

	if (zero)
		ctx->zero = GMEM_ZERO_ALLOC;
	if (ctx->obj.size < (__u64)min_mb << 20 || ctx->index < small_pages) {
		COUNT(left_small);
		return;
	}

	ctx->order = order_from(ctx->index, ctx->max_order, small_pages);
	if (ctx->order >= GMEM_BLOCK_ORDER)
		COUNT(blocks);
	else
		COUNT(smaller);
}

GMEM_POLICY(huge, "the largest folios that fit", GMEM_USE(alloc),
	    .flags = GMEM_POLICY_LARGE);
