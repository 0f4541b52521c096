// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * census: keep book of what a policy may rely on, over all the policies that are made of this
 * object: each is given another number (instance), and they share two pinned maps. For tests only.
 *
 * An object is a member of an instance from a successful init to the one exit that it gets; no
 * other op is called for it before or after, and its cookie is what the instance wrote and nobody
 * else's.
 */
#include "gmem_policy.bpf.h"

char _license[] SEC("license") = "GPL";

enum census_count {
	CENSUS_INIT,
	CENSUS_EXIT,
	CENSUS_CALLS,		/* of the other ops */
	CENSUS_INIT_TWICE,	/* from here on: errors */
	CENSUS_EXIT_ALONE,
	CENSUS_NOT_MEMBER,
	CENSUS_COOKIE,
	CENSUS_MAX,
};

TUNABLE(__u64, instance, 1, "number of this policy, not 0");
TUNABLE(bool, zero_early, false, "alloc: zero at allocation");
TUNABLE(enum gmem_how, how, GMEM_HOW_NONE, "prealloc: populate the range that it is about");
TUNABLE(enum gmem_free_mode, mode, GMEM_FREE_GIVE_BACK, "free: mode");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CENSUS_MAX);
	__type(key, __u32);
	__type(value, __u64);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} census_counts SEC(".maps");

struct member {
	__u64 id;
	__u64 instance;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct member);
	__type(value, __u64);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} census_members SEC(".maps");

static void count(__u32 what)
{
	__u64 *n = bpf_map_lookup_elem(&census_counts, &what);

	if (n)
		__sync_fetch_and_add(n, 1);
}

static void op(const struct gmem_info *obj)
{
	struct member member = { .id = obj->id, .instance = instance };

	count(CENSUS_CALLS);
	if (!bpf_map_lookup_elem(&census_members, &member))
		count(CENSUS_NOT_MEMBER);
	if (obj->cookie != instance)
		count(CENSUS_COOKIE);
}

GMEM_INIT(ctx)
{
	struct member member = { .id = ctx->obj.id, .instance = instance };

	count(CENSUS_INIT);
	if (bpf_map_update_elem(&census_members, &member, &member.id, BPF_NOEXIST))
		count(CENSUS_INIT_TWICE);
	if (ctx->obj.cookie)
		count(CENSUS_COOKIE);
	ctx->obj.cookie = instance;
	return 0;
}

GMEM_EXIT(ctx)
{
	struct member member = { .id = ctx->obj.id, .instance = instance };

	count(CENSUS_EXIT);
	if (bpf_map_delete_elem(&census_members, &member))
		count(CENSUS_EXIT_ALONE);
	if (ctx->obj.cookie != instance)
		count(CENSUS_COOKIE);
}

GMEM_OP(alloc, ctx)
{
	op(&ctx->obj);
	if (zero_early)
		ctx->zero = GMEM_ZERO_ALLOC;
}

GMEM_OP(prealloc, ctx)
{
	op(&ctx->obj);
	ctx->how = how;
	if (how)
		ctx->count = ctx->nr;
}

GMEM_OP(convert, ctx)
{
	op(&ctx->obj);
	ctx->quiet_ms = 20;
}

GMEM_OP(free, ctx)
{
	op(&ctx->obj);
	ctx->mode = mode;
}

GMEM_POLICY(census, "keep book of inits, exits and calls, for tests",
	    GMEM_USE(init), GMEM_USE(exit), GMEM_USE(alloc), GMEM_USE(prealloc), GMEM_USE(convert),
	    GMEM_USE(free));
