// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * hostile: decide whatever the test says, however absurd. For tests only.
 *
 * Every field that a policy may write is a tunable, whose default is the built-in answer; those
 * that have none are written when their *_set is true. With random, all of them get random bits
 * instead.
 */
#include "gmem_policy.bpf.h"

char _license[] SEC("license") = "GPL";

enum hostile_only {
	ONLY_ALL,
	ONLY_INIT,
	ONLY_ALLOC,
	ONLY_PREALLOC,
	ONLY_CONVERT,
	ONLY_FREE,
};

TUNABLE(enum hostile_only, only_op, ONLY_ALL, "the op that misbehaves");
TUNABLE(bool, random, false, "random bits in every field");
TUNABLE(__s32, init_ret, 0, "what init returns");
TUNABLE(bool, cookie_set, false, "every op writes the cookie");
TUNABLE(__u64, cookie, 0, "the cookie that it writes");
TUNABLE(__u32, order, 0, "alloc: order");
TUNABLE(__s32, node, GMEM_NO_NODE, "alloc: node");
TUNABLE(__u32, zero, GMEM_ZERO_FIRST_USE, "alloc: zero");
TUNABLE(__u32, how, GMEM_HOW_NONE, "prealloc: how");
TUNABLE(bool, from_set, false, "prealloc: write from");
TUNABLE(__u64, from, 0, "prealloc: from");
TUNABLE(__u64, count, 0, "prealloc: count");
TUNABLE(__u32, convert_how, GMEM_HOW_NONE, "convert: how");
TUNABLE(__u32, quiet_ms, 0, "convert: quiet_ms");
TUNABLE(__u32, mute, 0, "convert: mute");
TUNABLE(__u32, map, 0, "prealloc: map");
TUNABLE(__u32, rebuild, 0, "convert: rebuild");
TUNABLE(__u32, max_holes, 0, "convert: max_holes");
TUNABLE(__u32, mode, GMEM_FREE_GIVE_BACK, "free: mode");

COUNTER(calls, "calls of all ops");
COUNTER(misdeeds, "calls that were answered as told");

static bool misbehave(enum hostile_only op)
{
	COUNT(calls);
	if (only_op != ONLY_ALL && only_op != op)
		return false;
	COUNT(misdeeds);
	return true;
}

static __u64 random64(void)
{
	return (__u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32();
}

#define BITS(value)		(random ? random64() : (__u64)(value))
#define WRITE_COOKIE(ctx)			\
	do {					\
		if (random || cookie_set)	\
			(ctx)->obj.cookie = BITS(cookie);	\
	} while (0)

GMEM_INIT(ctx)
{
	if (!misbehave(ONLY_INIT))
		return 0;
	WRITE_COOKIE(ctx);
	/*
	 * An object that is declined is not asked about again, and random would soon have none
	 * left.
	 */
	return random ? 0 : init_ret;
}

GMEM_EXIT(ctx)
{
	if (misbehave(ONLY_INIT))
		WRITE_COOKIE(ctx);
}

GMEM_OP(alloc, ctx)
{
	if (!misbehave(ONLY_ALLOC))
		return;
	WRITE_COOKIE(ctx);
	ctx->order = BITS(order);
	ctx->node = BITS(node);
	ctx->zero = BITS(zero);
}

GMEM_OP(prealloc, ctx)
{
	if (!misbehave(ONLY_PREALLOC))
		return;
	WRITE_COOKIE(ctx);
	ctx->how = BITS(how);
	if (random || from_set)
		ctx->from = BITS(from);
	ctx->count = BITS(count);
	ctx->map = BITS(map);
}

GMEM_OP(convert, ctx)
{
	if (!misbehave(ONLY_CONVERT))
		return;
	WRITE_COOKIE(ctx);
	ctx->how = BITS(convert_how);
	ctx->quiet_ms = BITS(quiet_ms);
	ctx->rebuild = BITS(rebuild);
	ctx->max_holes = BITS(max_holes);
	ctx->mute = BITS(mute);
}

GMEM_OP(free, ctx)
{
	if (!misbehave(ONLY_FREE))
		return;
	WRITE_COOKIE(ctx);
	ctx->mode = BITS(mode);
}

GMEM_POLICY(hostile, "decide nonsense, for tests",
	    GMEM_USE(init), GMEM_USE(exit), GMEM_USE(alloc), GMEM_USE(prealloc), GMEM_USE(convert),
	    GMEM_USE(free), GMEM_POOLS(0, 0), .flags = GMEM_POLICY_LARGE);
