// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * mixed: each decision is a random one of those that its tunables give weight to. For tests only:
 * with one weight of a kind it is a mode, with several a mix of them. Pools are small, so that they
 * run empty, and as large as VMs happen to make them.
 *
 * With combine=true it is the object that has a mode: one of the 27 combinations of when memory is
 * zeroed, what becomes of it when it is freed, and how large folios are; each in its turn. So one
 * run has them all, side by side, and what one frees another gets.
 */
#include "gmem_policy.bpf.h"

char _license[] SEC("license") = "GPL";

#define POOL_SMALL_MB	16
#define POOL_LARGE_MB	64

TUNABLE(__u32, first_use, 1, "weight of zeroing at first use");
TUNABLE(__u32, at_alloc, 1, "weight of zeroing at allocation");
TUNABLE(__u32, from_pool, 1, "weight of memory from pools");
TUNABLE(__u32, give_back, 1, "weight of giving freed memory back as it is");
TUNABLE(__u32, scrub, 1, "weight of zeroing it first");
TUNABLE(__u32, recycle, 1, "weight of recycling it");
TUNABLE(__u32, small, 1, "weight of single pages");
TUNABLE(__u32, large, 1, "weight of the order of a block");
TUNABLE(__u32, any, 1, "weight of any order");
TUNABLE(bool, combine, false, "give each object a combination, and do not look at the weights");
TUNABLE(bool, ahead, true, "now and then, populate any part of the file");
TUNABLE(bool, resize, true, "give the pools another size when a VM comes");

extern int gmem_pool_want(__u32 small_mb, __u32 large_mb) __weak __ksym;

COUNTER(resized, "times that the pools were given another size");
COUNTER(populated, "decisions to populate");

#define COMBINATIONS	27

/* What the objects of each combination were asked; for tests, which read the map. */
__u64 objects[COMBINATIONS];
__u64 allocs[COMBINATIONS];
__u64 frees[COMBINATIONS];

/* Whose turn it is */
__u32 next;

/* The cookie of an object with combine=true is the number of its combination, plus 1. */
static __always_inline __u32 combination(const struct gmem_info *obj)
{
	__u64 i = obj->cookie - 1;

	return i < COMBINATIONS ? i : 0;
}

/* 0, 1 or 2, by their weights; 0 if there is none. */
static __always_inline __u32 choose(__u32 a, __u32 b, __u32 c)
{
	__u32 sum = a + b + c, r;

	if (!sum)
		return 0;
	r = bpf_get_prandom_u32() % sum;
	return r < a ? 0 : r < a + b ? 1 : 2;
}

GMEM_INIT(ctx)
{
	__u32 r = bpf_get_prandom_u32();

	if (resize && gmem_pool_want) {
		gmem_pool_want(r % (POOL_SMALL_MB + 1), (r >> 16) % (POOL_LARGE_MB + 1));
		COUNT(resized);
	}
	if (combine) {
		r = __sync_fetch_and_add(&next, 1) % COMBINATIONS;
		COUNT(objects[r]);
		ctx->obj.cookie = r + 1;
	}
	return 0;
}

GMEM_OP(alloc, ctx)
{
	__u32 i = combination(&ctx->obj), order;

	if (combine) {
		COUNT(allocs[i]);
		order = i / 9;
		ctx->zero = i % 3;
	} else {
		order = choose(small, large, any);
		ctx->zero = choose(first_use, at_alloc, from_pool);
	}
	if (order == 1)
		ctx->order = GMEM_BLOCK_ORDER;
	else if (order == 2)
		ctx->order = bpf_get_prandom_u32() % (GMEM_BLOCK_ORDER + 1);
}

GMEM_OP(prealloc, ctx)
{
	__u64 pages = ctx->obj.size >> GMEM_PAGE_SHIFT;
	__u32 r = bpf_get_prandom_u32();

	if (!ahead || !pages || r & 7)
		return;
	ctx->how = (r >> 8) % 3;
	ctx->from = bpf_get_prandom_u32() % pages;
	ctx->count = r >> 16 & 127;
	ctx->map = r >> 3 & 1;
	COUNT(populated);
}

GMEM_OP(convert, ctx)
{
	__u32 r = bpf_get_prandom_u32();

	if (!ahead)
		return;
	ctx->how = (r & 0xff) % 3;
	ctx->quiet_ms = r >> 8 & 15;
	ctx->rebuild = r >> 12 & 1;
	ctx->max_holes = r >> 16 & (GMEM_BLOCK_PAGES - 1);
}

GMEM_OP(free, ctx)
{
	__u32 i = combination(&ctx->obj);

	if (combine) {
		COUNT(frees[i]);
		ctx->mode = i / 3 % 3;
	} else {
		ctx->mode = choose(give_back, scrub, recycle);
	}
}

GMEM_POLICY(mixed, "decide at random, by weights, for tests",
	    GMEM_USE(init), GMEM_USE(alloc), GMEM_USE(prealloc), GMEM_USE(convert), GMEM_USE(free),
	    .flags = GMEM_POLICY_LARGE,
	    .pool_small_mb = POOL_SMALL_MB,
	    .pool_large_mb = POOL_LARGE_MB);
