// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * count: change nothing, and count what could be decided.
 *
 * An example to copy: it has every op, and says in which cases each is called. Loaded, it answers
 * how often a VM allocates, converts and frees, and why. All its decisions are the built-in ones.
 *
 * Tunables
 *	min_mb	only objects of at least so many MiB; smaller ones are declined, and go to the next
 *		policy in scope (default: 0, all)
 *
 * Limits
 *	Its counts begin when it is loaded, and are those of all objects under it together. Calls of
 *	exit do not match those of init while objects are under it.
 */
#include "gmem_policy.bpf.h"

char _license[] SEC("license") = "GPL";

TUNABLE(__u32, min_mb, 0, "decline objects smaller than so many MiB");

COUNTER(init_taken, "objects that came under the policy");
COUNTER(init_declined, "objects that were too small");
COUNTER(exit_called, "objects that left it");
COUNTER(alloc_guest_fault, "allocations for a guest's access");
COUNTER(alloc_host_fault, "allocations for an access through mmap()");
COUNTER(alloc_fallocate, "allocations for fallocate()");
COUNTER(alloc_populate, "allocations for the guest's initial memory");
COUNTER(alloc_prealloc, "allocations that a policy asked for ahead");
COUNTER(prealloc_create, "offers to populate at creation");
COUNTER(prealloc_bind, "offers to populate when a memslot is bound");
COUNTER(prealloc_convert, "offers to populate what became private");
COUNTER(prealloc_fault, "offers to populate around a fault");
COUNTER(convert_private, "ranges that became private");
COUNTER(convert_shared, "ranges that became shared");
COUNTER(convert_quiet, "ranges that stayed as they were for long");
COUNTER(free_punch, "ranges punched out");
COUNTER(free_evict, "objects freed");
COUNTER(other, "calls for a reason that this policy does not know");

GMEM_INIT(ctx)
{
	if (ctx->obj.size >> 20 < min_mb) {
		COUNT(init_declined);
		return -1;
	}
	COUNT(init_taken);
	return 0;
}

GMEM_EXIT(ctx)
{
	COUNT(exit_called);
}

GMEM_OP(alloc, ctx)
{
	switch (ctx->why) {
	case GMEM_WHY_GUEST_FAULT:
		COUNT(alloc_guest_fault);
		break;
	case GMEM_WHY_HOST_FAULT:
		COUNT(alloc_host_fault);
		break;
	case GMEM_WHY_FALLOCATE:
		COUNT(alloc_fallocate);
		break;
	case GMEM_WHY_POPULATE:
		COUNT(alloc_populate);
		break;
	case GMEM_WHY_PREALLOC:
		COUNT(alloc_prealloc);
		break;
	default:
		COUNT(other);
	}
}

GMEM_OP(prealloc, ctx)
{
	switch (ctx->why) {
	case GMEM_WHY_CREATE:
		COUNT(prealloc_create);
		break;
	case GMEM_WHY_BIND:
		COUNT(prealloc_bind);
		break;
	case GMEM_WHY_CONVERT:
		COUNT(prealloc_convert);
		break;
	case GMEM_WHY_GUEST_FAULT:
	case GMEM_WHY_HOST_FAULT:
		COUNT(prealloc_fault);
		break;
	default:
		COUNT(other);
	}
}

GMEM_OP(convert, ctx)
{
	if (ctx->why == GMEM_WHY_QUIET)
		COUNT(convert_quiet);
	else if (ctx->to_private)
		COUNT(convert_private);
	else
		COUNT(convert_shared);
}

GMEM_OP(free, ctx)
{
	switch (ctx->why) {
	case GMEM_WHY_PUNCH:
		COUNT(free_punch);
		break;
	case GMEM_WHY_EVICT:
		COUNT(free_evict);
		break;
	default:
		COUNT(other);
	}
}

GMEM_POLICY(count, "change nothing, count every decision by its reason",
	    GMEM_USE(init), GMEM_USE(exit), GMEM_USE(alloc), GMEM_USE(prealloc), GMEM_USE(convert),
	    GMEM_USE(free));
