/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a guest memory policy needs, so that it can be short. A whole policy:
 *
 *	#include "gmem_policy.bpf.h"
 *
 *	char _license[] SEC("license") = "GPL";
 *
 *	TUNABLE(bool, zero_early, true, "zero at allocation");
 *	COUNTER(asked, "allocations decided");
 *
 *	GMEM_OP(alloc, ctx)
 *	{
 *		COUNT(asked);
 *		if (zero_early)
 *			ctx->zero = GMEM_ZERO_ALLOC;
 *	}
 *
 *	GMEM_POLICY(mine, "my first policy", GMEM_USE(alloc));
 *
 * It is compiled by
 *
 *	clang-19 -g -O2 -target bpf -mcpu=v3 -fms-extensions -Wno-microsoft-anon-tag \
 *		-I<the directory of this file> -c mine.bpf.c -o mine.bpf.o
 *
 * and loaded by "gmem-policy load ./mine.bpf.o --set zero_early=false". What each op is told and
 * may decide is in the kernel's include/linux/gmem_policy.h and
 * Documentation/virt/kvm/gmem/policy.rst. Contexts and enums come with vmlinux.h; what is a macro
 * in the kernel is defined here. vmlinux.h also has the kfunc that any op may call:
 *
 *	int gmem_pool_want(u32 small_mb, u32 large_mb);
 *
 * It changes what GMEM_POOLS() (below) said when the policy was loaded, and returns 0, or -ENOENT
 * if the policy is not attached, or not any more.
 */
#ifndef __GMEM_POLICY_BPF_H
#define __GMEM_POLICY_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

/* The version of the policy ABI that this header is for. */
#define GMEM_POLICY_ABI		1

/* The value of a gfn that is not known, and of a node that is left to the memory policy. */
#define GMEM_NO_GFN		(~0ULL)
#define GMEM_NO_NODE		(-1)

/* The longest time that convert can ask to be called again after, ms. */
#define GMEM_QUIET_MS_MAX	600000

#define GMEM_PAGE_SHIFT		12
#define GMEM_MB_PAGES(mb)	((__u64)(mb) << (20 - GMEM_PAGE_SHIFT))

/* The part of what a pool may have below which it is filled again, in percent. */
#define GMEM_POOL_LOW_PERCENT	75

/* A block: what KVM can map at once, and the largest folio. 2M. */
#define GMEM_BLOCK_ORDER	9
#define GMEM_BLOCK_PAGES	(1ULL << GMEM_BLOCK_ORDER)

#define __gmem_tag(kind, text)	__attribute__((btf_decl_tag("gmem:" kind ":" text)))

/*
 * A value that the operator sets with --set NAME=VALUE when the policy is loaded. TYPE is an
 * integer, bool or an enum; TUNABLE_STRING is for text. It is constant once loaded: what it
 * switches off costs nothing.
 */
#define TUNABLE(type, name, value, meaning) \
	const volatile type name __gmem_tag("tunable", meaning) = value

#define TUNABLE_STRING(name, size, value, meaning) \
	const volatile char name[size] __gmem_tag("tunable", meaning) = value

/* A count that "gmem-policy status" shows. It is exact: all CPUs add to one word. */
#define COUNTER(name, meaning)	__u64 name __gmem_tag("counter", meaning)
#define COUNT_ADD(name, n)	((void)__sync_fetch_and_add(&(name), (n)))
#define COUNT(name)		COUNT_ADD(name, 1)

#define __GMEM_OP(ret, op, type, sleepable, ctx)				\
	static __always_inline ret ____op_##op(struct type *ctx);		\
	SEC("struct_ops" sleepable "/" #op) ret op_##op(__u64 *args)		\
	{									\
		return ____op_##op((struct type *)args[0]);			\
	}									\
	static __always_inline ret ____op_##op(struct type *ctx)

/*
 * The ops. GMEM_OP(alloc, ctx) { ... } has a struct gmem_alloc_ctx *ctx; so have prealloc, convert
 * and free. GMEM_INIT(ctx) and GMEM_EXIT(ctx) have a struct gmem_obj_ctx *ctx; GMEM_INIT returns 0
 * to take the object, anything else to decline it.
 */
#define GMEM_OP(op, ctx)	__GMEM_OP(void, op, gmem_##op##_ctx, "", ctx)
#define GMEM_INIT(ctx)		__GMEM_OP(int, init, gmem_obj_ctx, "", ctx)
#define GMEM_EXIT(ctx)		__GMEM_OP(void, exit, gmem_obj_ctx, "", ctx)

/*
 * The policy: its name, what it is for in a few words, and GMEM_USE() of each op that it has; with
 * .flags = GMEM_POLICY_LARGE if its alloc decides orders. (If it does so only while a bool tunable
 * called "large" is true, "--set large=false" takes the flag away.)
 */
#define GMEM_USE(op)	.op = (void *)op_##op
#define GMEM_POLICY(policy, about, ...)						\
	SEC(".struct_ops.link") __gmem_tag("about", about)			\
	struct gmem_policy_ops policy = {					\
		.abi_version = GMEM_POLICY_ABI,					\
		.name = #policy,						\
		__VA_ARGS__							\
	}

/*
 * In GMEM_POLICY(): zeroed memory that is to be ready on each node, MiB of single pages and of
 * blocks. The operator sees and sets it as the tunables pool_small_mb, pool_large_mb,
 * pool_low_percent and pool_rate_mb. GMEM_POOLS(0, 0): none, unless the operator wants some.
 */
#define GMEM_POOLS(small_mb, large_mb)						\
	.pool_small_mb = small_mb,						\
	.pool_large_mb = large_mb,						\
	.pool_low_percent = GMEM_POOL_LOW_PERCENT

/* Pages that can be added to an object until it has @mb MiB; 0 MiB: no limit. */
static __always_inline __u64 gmem_pages_below(const struct gmem_info *obj, __u32 mb)
{
	__u64 limit = (__u64)mb << 20;

	if (!limit)
		return ~0ULL;
	return obj->resident < limit ? (limit - obj->resident) >> GMEM_PAGE_SHIFT : 0;
}

#endif /* __GMEM_POLICY_BPF_H */
