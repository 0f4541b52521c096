// SPDX-License-Identifier: GPL-2.0-only
/*
 * Decisions of guest memory policies: ask the effective policy and the one that shadows it, check
 * what they answer, count and trace it. gmem_struct_ops.c says which policy an object is under.
 *
 * An answer is never trusted. What merely does not fit here and now is fitted, as part of normal
 * life. Nonsense, which no host and no object would make sensible, is replaced by the built-in
 * answer, and counts towards the policy being disabled.
 */
#include <linux/gmem_policy.h>
#include <linux/mm.h>
#include <linux/nodemask.h>
#include <linux/pagemap.h>
#include <linux/percpu.h>

#include <trace/events/kvm_gmem.h>

/* What checking an answer found. */
struct gmem_verdict {
	bool fitted;
	const char *nonsense;
};

static void gmem_fill_info(struct gmem_obj *obj, struct gmem_info *info)
{
	struct address_space *mapping = READ_ONCE(obj->mapping);

	info->id = obj->id;
	info->size = obj->size;
	info->resident = mapping ? (u64)READ_ONCE(mapping->nrpages) << PAGE_SHIFT : 0;
	info->faults = atomic64_read(&obj->stats.faults);
	info->cgroup_id = obj->cgroup_id;
	info->tgid = obj->tgid;
	info->flags = obj->flags;
}

/*
 * The cookie goes by value, so that a shadow has one of its own and cannot disturb the effective
 * policy's.
 */
static void gmem_cookie_back(u64 *cookie, const struct gmem_info *info)
{
	if (READ_ONCE(*cookie) != info->cookie)
		WRITE_ONCE(*cookie, info->cookie);
}

static void gmem_count_decision(struct gmem_obj *obj, struct gmem_policy *policy, enum gmem_op op,
				const struct gmem_verdict *verdict, bool shadow)
{
	this_cpu_inc(policy->counters->decisions[op]);
	if (verdict->fitted)
		this_cpu_inc(policy->counters->fits);
	if (!shadow) {
		atomic64_inc(&obj->stats.decisions);
		if (verdict->fitted)
			atomic64_inc(&obj->stats.fits);
	}

	if (likely(!verdict->nonsense))
		return;

	this_cpu_inc(policy->counters->clamps);
	if (!shadow)
		atomic64_inc(&obj->stats.clamps);
	if (atomic_inc_return(&policy->nonsense) == GMEM_TRIP_LIMIT)
		gmem_policy_trip(policy, obj, verdict->nonsense);
}

static u64 gmem_obj_pages(const struct gmem_obj *obj)
{
	return obj->size >> PAGE_SHIFT;
}

static struct gmem_verdict gmem_check_alloc(struct gmem_obj *obj, struct gmem_alloc_ctx *ctx)
{
	struct gmem_verdict verdict = {};

	ctx->asked = ctx->order;
	if (ctx->order > PMD_ORDER) {
		verdict.nonsense = "alloc: order above that of a PMD";
		ctx->order = 0;
	} else if (ctx->order > ctx->max_order) {
		verdict.fitted = true;
		ctx->order = ctx->max_order;
	}

	if (ctx->zero >= GMEM_ZERO_MAX) {
		verdict.nonsense = "alloc: unknown zero mode";
		ctx->zero = GMEM_ZERO_FIRST_USE;
	} else if (ctx->zero != GMEM_ZERO_FIRST_USE && ctx->why == GMEM_WHY_POPULATE) {
		/* The VMM writes all of it before anybody reads it. */
		verdict.fitted = true;
		ctx->zero = GMEM_ZERO_FIRST_USE;
	}

	if (ctx->node == GMEM_NO_NODE)
		return verdict;
	if (ctx->node < 0 || ctx->node >= nr_node_ids || !node_possible(ctx->node)) {
		verdict.nonsense = "alloc: no such node";
		ctx->node = GMEM_NO_NODE;
	} else if (!node_state(ctx->node, N_MEMORY) || !node_isset(ctx->node, obj->mems_allowed)) {
		verdict.fitted = true;
		ctx->node = GMEM_NO_NODE;
	}
	return verdict;
}

/*
 * Only a vCPU that waits for memory can have more of it mapped, and only what is there when it goes
 * on. Hardware that owns memory has a say in what is mapped, and hears of it from the guest.
 */
static bool gmem_may_map(struct gmem_obj *obj, const struct gmem_prealloc_ctx *ctx)
{
	return ctx->why == GMEM_WHY_GUEST_FAULT && ctx->how == GMEM_HOW_NOW &&
	       ctx->count <= GMEM_FAULT_NOW_PAGES && !(obj->flags & GMEM_OBJ_HW_OWNED);
}

static struct gmem_verdict gmem_check_prealloc(struct gmem_obj *obj, struct gmem_prealloc_ctx *ctx)
{
	struct gmem_verdict verdict = {};
	u64 pages = gmem_obj_pages(obj);

	if (ctx->how >= GMEM_HOW_MAX) {
		verdict.nonsense = "prealloc: unknown how";
	} else if (ctx->how != GMEM_HOW_NONE &&
		   (ctx->from > MAX_LFS_FILESIZE >> PAGE_SHIFT ||
		    ctx->count > MAX_LFS_FILESIZE >> PAGE_SHIFT)) {
		verdict.nonsense = "prealloc: impossible range";
	} else if (ctx->how != GMEM_HOW_NONE && ctx->count) {
		if (ctx->from >= pages) {
			verdict.fitted = true;
			ctx->count = 0;
		} else if (ctx->count > pages - ctx->from) {
			verdict.fitted = true;
			ctx->count = pages - ctx->from;
		}
	}

	if (ctx->map > 1) {
		verdict.nonsense = "prealloc: unknown map";
	} else if (ctx->map && !gmem_may_map(obj, ctx)) {
		verdict.fitted = true;
		ctx->map = 0;
	}

	if (verdict.nonsense || ctx->how == GMEM_HOW_NONE || !ctx->count) {
		ctx->how = GMEM_HOW_NONE;
		ctx->count = 0;
		ctx->map = 0;
	}
	return verdict;
}

static struct gmem_verdict gmem_check_convert(struct gmem_obj *obj, struct gmem_convert_ctx *ctx)
{
	struct gmem_verdict verdict = {};

	if (ctx->how >= GMEM_HOW_MAX) {
		verdict.nonsense = "convert: unknown how";
		ctx->how = GMEM_HOW_NONE;
	} else if (ctx->how != GMEM_HOW_NONE && !ctx->to_private &&
		   !(obj->flags & GMEM_OBJ_SHARED)) {
		/* The range's memory is not here any more: it is shared, and comes from the VMM. */
		verdict.fitted = true;
		ctx->how = GMEM_HOW_NONE;
	}

	if (ctx->quiet_ms && ctx->why == GMEM_WHY_QUIET) {
		verdict.fitted = true;
		ctx->quiet_ms = 0;
	} else if (ctx->quiet_ms > GMEM_QUIET_MS_MAX) {
		verdict.fitted = true;
		ctx->quiet_ms = GMEM_QUIET_MS_MAX;
	}

	if (ctx->mute > 1) {
		verdict.nonsense = "convert: unknown mute";
		ctx->mute = 0;
	}

	if (ctx->rebuild > 1) {
		verdict.nonsense = "convert: unknown rebuild";
		ctx->rebuild = 0;
	} else if (ctx->rebuild && (obj->flags & GMEM_OBJ_HW_OWNED)) {
		verdict.fitted = true;
		ctx->rebuild = 0;
	}
	/* A block of which nothing is there is not rebuilt. */
	if (ctx->max_holes >= 1U << PMD_ORDER) {
		verdict.fitted = true;
		ctx->max_holes = (1U << PMD_ORDER) - 1;
	}
	return verdict;
}

static struct gmem_verdict gmem_check_free(struct gmem_obj *obj, struct gmem_free_ctx *ctx)
{
	struct gmem_verdict verdict = {};

	if (ctx->mode >= GMEM_FREE_MAX) {
		verdict.nonsense = "free: unknown mode";
		ctx->mode = GMEM_FREE_GIVE_BACK;
	} else if (ctx->mode != GMEM_FREE_GIVE_BACK && (obj->flags & GMEM_OBJ_HW_OWNED)) {
		verdict.fitted = true;
		ctx->mode = GMEM_FREE_GIVE_BACK;
	}
	return verdict;
}

static bool gmem_policy_is_large(const struct gmem_policy *policy)
{
	return policy && (policy->ops->flags & GMEM_POLICY_LARGE);
}

/* A policy is told of large folios if it decides on them, whatever the one beside it does. */
static void gmem_limit_alloc(const struct gmem_policy *policy, struct gmem_alloc_ctx *ctx)
{
	if (!gmem_policy_is_large(policy)) {
		ctx->max_order = 0;
		ctx->partly_shared = 0;
	}
}

static void gmem_limit_prealloc(const struct gmem_policy *policy, struct gmem_prealloc_ctx *ctx) {}
static void gmem_limit_convert(const struct gmem_policy *policy, struct gmem_convert_ctx *ctx) {}
static void gmem_limit_free(const struct gmem_policy *policy, struct gmem_free_ctx *ctx) {}

/*
 * Ask one policy. The four ops differ in their context, in how an answer is checked, and in which
 * part of it the trace shows. Who decides, decides by the id that is returned, 0 for nobody: by the
 * time the kernel acts, another policy may have taken over.
 */
#define GMEM_ASK(op, OP, index, nr, a, b)							\
static void gmem_ask_##op(struct gmem_obj *obj, struct gmem_policy *policy, u64 *cookie,	\
			  struct gmem_##op##_ctx *ctx, bool shadow)				\
{												\
	struct gmem_verdict verdict;								\
												\
	gmem_fill_info(obj, &ctx->obj);								\
	ctx->obj.cookie = READ_ONCE(*cookie);							\
	gmem_limit_##op(policy, ctx);								\
	policy->ops->op(ctx);									\
	gmem_cookie_back(cookie, &ctx->obj);							\
	verdict = gmem_check_##op(obj, ctx);							\
	gmem_count_decision(obj, policy, GMEM_OP_##OP, &verdict, shadow);			\
	trace_kvm_gmem_policy_decision(obj->id, obj->tgid, policy->ops->name, GMEM_OP_##OP,	\
				       ctx->why, index, nr, a, b, verdict.fitted,		\
				       verdict.nonsense, shadow);				\
}												\
												\
u64 gmem_decide_##op(struct gmem_obj *obj, struct gmem_##op##_ctx *ctx)				\
{												\
	struct gmem_policy *policy;								\
												\
	guard(rcu)();										\
												\
	policy = rcu_dereference(obj->shadow);							\
	if (unlikely(policy) && policy->ops->op && !READ_ONCE(policy->retired)) {		\
		struct gmem_##op##_ctx copy = *ctx;						\
												\
		gmem_ask_##op(obj, policy, &obj->shadow_cookie, &copy, true);			\
	}											\
												\
	policy = rcu_dereference(obj->policy);							\
	if (!policy || !policy->ops->op || READ_ONCE(policy->retired))				\
		return 0;									\
	gmem_ask_##op(obj, policy, &obj->cookie, ctx, false);					\
	return policy->id;									\
}												\
EXPORT_SYMBOL_FOR_MODULES(gmem_decide_##op, "kvm")

GMEM_ASK(alloc, ALLOC, ctx->index, 1ULL << ctx->order, ctx->order, ctx->zero);
GMEM_ASK(prealloc, PREALLOC, ctx->from, ctx->count, ctx->how, ctx->map);
GMEM_ASK(convert, CONVERT, ctx->start, ctx->nr, ctx->how, ctx->quiet_ms);
GMEM_ASK(free, FREE, ctx->start, ctx->nr, ctx->mode, 0);

/**
 * gmem_wants_order - will a decision to allocate be about the order, too?
 * @obj: the object
 *
 * Return: true if a policy that would be asked now has %GMEM_POLICY_LARGE
 */
bool gmem_wants_order(struct gmem_obj *obj)
{
	guard(rcu)();

	return gmem_policy_is_large(rcu_dereference(obj->policy)) ||
	       gmem_policy_is_large(rcu_dereference(obj->shadow));
}
EXPORT_SYMBOL_FOR_MODULES(gmem_wants_order, "kvm");

/**
 * gmem_still_decides - is a policy that decided for an object still the one that does?
 * @obj: the object
 * @id: of the policy
 *
 * Return: true if it is effective
 */
bool gmem_still_decides(struct gmem_obj *obj, u64 id)
{
	struct gmem_policy *policy;

	guard(rcu)();

	policy = rcu_dereference(obj->policy);
	return policy && policy->id == id && !READ_ONCE(policy->retired);
}
EXPORT_SYMBOL_FOR_MODULES(gmem_still_decides, "kvm");

/**
 * gmem_only_asks - is a policy the one, and the only one, that decides for an object?
 * @obj: the object
 * @id: of the policy
 *
 * Return: true if it is effective and no other one shadows it
 */
bool gmem_only_asks(struct gmem_obj *obj, u64 id)
{
	return gmem_still_decides(obj, id) && !rcu_access_pointer(obj->shadow);
}
EXPORT_SYMBOL_FOR_MODULES(gmem_only_asks, "kvm");

/**
 * gmem_call_init - ask a policy to take an object
 * @obj: the object; its lock is held
 * @policy: the policy
 * @cookie: the policy's cookie for the object
 *
 * Return: 0 if it does
 */
int gmem_call_init(struct gmem_obj *obj, struct gmem_policy *policy, u64 *cookie)
{
	struct gmem_obj_ctx ctx = {};
	int ret;

	if (!policy->ops->init)
		return 0;

	gmem_fill_info(obj, &ctx.obj);
	ctx.obj.cookie = *cookie;
	scoped_guard(rcu)
		ret = policy->ops->init(&ctx);
	gmem_cookie_back(cookie, &ctx.obj);
	return ret;
}

/**
 * gmem_call_exit - tell a policy that an object leaves it
 * @obj: the object; its lock is held
 * @policy: the policy; no decision of it for the object is under way
 * @cookie: the policy's cookie for the object
 */
void gmem_call_exit(struct gmem_obj *obj, struct gmem_policy *policy, u64 *cookie)
{
	struct gmem_obj_ctx ctx = {};

	if (!policy->ops->exit)
		return;

	gmem_fill_info(obj, &ctx.obj);
	ctx.obj.cookie = *cookie;
	scoped_guard(rcu)
		policy->ops->exit(&ctx);
}
