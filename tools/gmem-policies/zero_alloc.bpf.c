// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * zero_alloc: zero memory when it is allocated.
 *
 * Without a policy, memory is zeroed when it is first mapped. Memory that is allocated long before
 * it is used (fallocate() by the VMM, population ahead by a policy) is then zeroed inside the
 * guest's first access, one page per fault. This policy has it zeroed where it is allocated, so
 * that those faults only map it. A fault that finds no memory allocates and zeroes in one go either
 * way, and gains nothing.
 *
 * Tunables
 *	faults	also decide for memory that a fault allocates (default: yes)
 *	max_mb	leave objects that have more memory than this to the kernel (default: 0, no limit)
 *
 * Limits
 *	fallocate() of much memory takes as long as clearing it does. Memory that the VMM itself
 *	writes before the guest runs (SEV-SNP launch update, TDX initial region) is never touched:
 *	zeroing it would be lost.
 */
#include "gmem_policy.bpf.h"

char _license[] SEC("license") = "GPL";

TUNABLE(bool, faults, true, "also zero what a fault allocates");
TUNABLE(__u32, max_mb, 0, "leave objects above so many MiB resident to the kernel; 0: no limit");

COUNTER(zeroed_early, "allocations zeroed at once");
COUNTER(left_alone, "allocations left to the kernel");

static bool wanted(const struct gmem_alloc_ctx *ctx)
{
	if (max_mb && ctx->obj.resident >> 20 >= max_mb)
		return false;

	switch (ctx->why) {
	case GMEM_WHY_GUEST_FAULT:
	case GMEM_WHY_HOST_FAULT:
		return faults;
	case GMEM_WHY_POPULATE:
		return false;
	default:
		return true;
	}
}

GMEM_OP(alloc, ctx)
{
	if (!wanted(ctx)) {
		COUNT(left_alone);
		return;
	}
	ctx->zero = GMEM_ZERO_ALLOC;
	COUNT(zeroed_early);
}

GMEM_POLICY(zero_alloc, "zero memory when it is allocated, not when it is first used",
	    GMEM_USE(alloc));
