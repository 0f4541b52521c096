// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * chaos: decide at random, at random moments, every field that a policy may write. For tests only.
 *
 * Of what hostile answers at random nearly all is nonsense, and clamped. This decides what can be
 * carried out, or fitted: beyond the file, larger than fits, later than a policy may ask for. With
 * nonsense=N, one of N decisions is none of that, until it is tripped.
 */
#include "gmem_policy.bpf.h"

char _license[] SEC("license") = "GPL";

TUNABLE(__u32, nodes, 1, "NUMA nodes that it chooses from");
TUNABLE(__u32, max_count, 128, "most pages populated at a time, a power of 2");
TUNABLE(__u32, max_quiet_ms, 16, "longest time that it asks to be called again after, a power of 2");
TUNABLE(bool, decline, false, "decline every fourth object");
TUNABLE(__u32, nonsense, 0, "one of so many decisions is nonsense; 0: none");

#define POOL_SMALL_MB	16
#define POOL_LARGE_MB	64

extern int gmem_pool_want(__u32 small_mb, __u32 large_mb) __weak __ksym;

COUNTER(declined, "objects that were declined");
COUNTER(populated, "decisions to populate");
COUNTER(rebuilt, "decisions to rebuild");
COUNTER(wanted, "times that it wanted pools of another size");
COUNTER(mad, "decisions that were nonsense");

static __u64 random64(void)
{
	return (__u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32();
}

static bool one_in(__u32 n)
{
	return n && !(bpf_get_prandom_u32() % n);
}

static bool lose_it(void)
{
	if (!one_in(nonsense))
		return false;
	COUNT(mad);
	return true;
}

/* Written at every other call, so that it is kept from one op to another as well. */
#define CONFUSE_COOKIE(ctx)				\
	do {						\
		if (one_in(2))				\
			(ctx)->obj.cookie = random64();	\
	} while (0)

/* Not always when an object comes: when it is in use as well. */
static __always_inline void want_pools(__u32 one_of)
{
	__u32 r = bpf_get_prandom_u32();

	if (!gmem_pool_want || !one_in(one_of))
		return;
	gmem_pool_want(r % (POOL_SMALL_MB + 1), (r >> 16) % (POOL_LARGE_MB + 1));
	COUNT(wanted);
}

GMEM_INIT(ctx)
{
	CONFUSE_COOKIE(ctx);
	want_pools(2);
	if (!decline || !one_in(4))
		return 0;
	COUNT(declined);
	return -1;
}

GMEM_EXIT(ctx)
{
	CONFUSE_COOKIE(ctx);
}

GMEM_OP(alloc, ctx)
{
	CONFUSE_COOKIE(ctx);
	if (one_in(8))
		return;
	if (one_in(2))
		ctx->order = bpf_get_prandom_u32() % (GMEM_BLOCK_ORDER + 1);
	else
		ctx->order = ctx->max_order;
	if (one_in(2))
		ctx->zero = one_in(2) ? GMEM_ZERO_ALLOC : GMEM_ZERO_POOL;
	if (nodes && one_in(2))
		ctx->node = bpf_get_prandom_u32() % nodes;
	if (!lose_it())
		return;
	ctx->order = random64();
	ctx->node = random64();
	ctx->zero = random64();
}

GMEM_OP(prealloc, ctx)
{
	__u64 pages = ctx->obj.size >> GMEM_PAGE_SHIFT;

	CONFUSE_COOKIE(ctx);
	if (!pages || !one_in(8))
		return;
	ctx->how = bpf_get_prandom_u32() % 3;
	/* One of 8 begins behind the end. */
	ctx->from = random64() % (pages + pages / 8 + 1);
	ctx->count = bpf_get_prandom_u32() & (max_count - 1);
	ctx->map = one_in(2);
	COUNT(populated);
	if (!lose_it())
		return;
	ctx->how = random64();
	ctx->from = random64();
	ctx->count = random64();
	ctx->map = random64();
}

GMEM_OP(convert, ctx)
{
	CONFUSE_COOKIE(ctx);
	if (one_in(8))
		return;
	ctx->how = bpf_get_prandom_u32() % 3;
	ctx->quiet_ms = bpf_get_prandom_u32() & (max_quiet_ms - 1);
	if (one_in(64))
		ctx->quiet_ms = GMEM_QUIET_MS_MAX + 1;
	ctx->max_holes = bpf_get_prandom_u32() % (GMEM_BLOCK_PAGES + 2);
	if (one_in(2)) {
		ctx->rebuild = 1;
		COUNT(rebuilt);
	}
	if (!lose_it())
		return;
	ctx->how = random64();
	ctx->quiet_ms = random64();
	ctx->rebuild = random64();
	ctx->max_holes = random64();
}

GMEM_OP(free, ctx)
{
	CONFUSE_COOKIE(ctx);
	want_pools(32);
	if (!one_in(3))
		ctx->mode = one_in(2) ? GMEM_FREE_SCRUB : GMEM_FREE_RECYCLE;
	if (lose_it())
		ctx->mode = random64();
}

GMEM_POLICY(chaos, "decide everything at random, for tests",
	    GMEM_USE(init), GMEM_USE(exit), GMEM_USE(alloc), GMEM_USE(prealloc), GMEM_USE(convert),
	    GMEM_USE(free), .flags = GMEM_POLICY_LARGE);
