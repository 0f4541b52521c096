// SPDX-License-Identifier: GPL-2.0-only
/*
 * Policies for guest memory: the struct_ops type gmem_policy_ops and the registry of what is
 * attached.
 *
 *   struct gmem_policy	one attached gmem_policy_ops. Its registration is a bpf_link; an update of
 *			the link replaces the gmem_policy by a new one.
 *   struct gmem_obj	the memory of one guest_memfd inode. It points at its effective policy, and
 *			at the one that shadows it.
 *
 * Attach, update and detach run under a mutex that every struct_ops in the kernel shares, or in the
 * context of whoever drops the last reference to a link. So they only change the list of
 * registrations, under gmem_lock, and kick a worker, which walks the objects and moves them from
 * policy to policy:
 *
 *   1. take the old policy away from each object whose effective policy changed (built in
 *      meanwhile)
 *   2. wait for the decisions that may still be using it
 *   3. call its exit, look for the policy that is effective now, call that one's init, and let it
 *      decide
 *
 * A policy that is detached, replaced or tripped is marked retired at once, and no decision that
 * begins later uses it. Its struct_ops map is held until the last object has left it.
 *
 * Locks: gmem_lock (registrations; a leaf) < obj->lock (an object's policies; init and exit are
 * called under it). Decisions take neither: they run under RCU.
 */
#include <linux/bpf.h>
#include <linux/bpf_verifier.h>
#include <linux/btf.h>
#include <linux/btf_ids.h>
#include <linux/capability.h>
#include <linux/cgroup.h>
#include <linux/cpuset.h>
#include <linux/cred.h>
#include <linux/ctype.h>
#include <linux/gmem_policy.h>
#include <linux/init.h>
#include <linux/memcontrol.h>
#include <linux/module.h>
#include <linux/page_counter.h>
#include <linux/pagemap.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/timekeeping.h>
#include <linux/uidgid.h>
#include <linux/workqueue.h>

#include <trace/events/kvm_gmem.h>

#define pr_gmem(level, fmt, ...)	pr_##level("gmem_policy: " fmt, ##__VA_ARGS__)

DEFINE_STATIC_KEY_FALSE(gmem_policy_key);
EXPORT_SYMBOL_FOR_MODULES(gmem_policy_key, "kvm");

/* Registrations and their generation. Also taken by timers of policies (gmem_pool_want()). */
static DEFINE_SPINLOCK(gmem_lock);
static LIST_HEAD(gmem_registered);
static u64 gmem_gen;

/* All policies and objects by their ids, for the walk and the iterators. An entry may be dying. */
static DEFINE_XARRAY(gmem_policies);
static DEFINE_XARRAY(gmem_objs);
static atomic64_t gmem_last_id;

static bool gmem_bpf_off __ro_after_init;

/* The kill switch, for a host that a policy keeps from working. */
static int __init gmem_bpf_setup(char *str)
{
	if (str && !strcmp(str, "off"))
		gmem_bpf_off = true;
	else if (!str || strcmp(str, "on"))
		pr_gmem(warn, "gmem_bpf= takes on or off\n");
	return 0;
}
early_param("gmem_bpf", gmem_bpf_setup);

/* ---- Policies ---- */

static void gmem_policy_free_rcu(struct rcu_head *rcu)
{
	struct gmem_policy *policy = container_of(rcu, struct gmem_policy, rcu);

	free_percpu(policy->counters);
	kfree(policy);
}

/**
 * gmem_policy_put - drop a reference to a policy
 * @policy: the policy
 *
 * Context: process context.
 */
void gmem_policy_put(struct gmem_policy *policy)
{
	if (!refcount_dec_and_test(&policy->refs))
		return;

	xa_erase(&gmem_policies, policy->id);
	bpf_struct_ops_put(policy->ops);
	call_rcu(&policy->rcu, gmem_policy_free_rcu);
}
EXPORT_SYMBOL_FOR_MODULES(gmem_policy_put, "kvm");

static int gmem_note_prog(struct bpf_prog *prog, void *data)
{
	struct gmem_policy *policy = data;

	policy->prog_id = prog->aux->id;
	memcpy(&policy->tag, prog->tag, sizeof(policy->tag));
	/* The trace and the log show the tag as bpftool does: byte by byte. */
	be64_to_cpus(&policy->tag);
	return 1;
}

/* What a policy wants in pools: of these sizes, and else as its ops say. */
static struct gmem_pool_sizes gmem_policy_pools(const struct gmem_policy_ops *ops, u32 small_mb,
						u32 large_mb)
{
	return (struct gmem_pool_sizes) {
		.small_mb = small_mb,
		.large_mb = large_mb,
		.low_percent = ops->pool_low_percent ?: GMEM_POOL_LOW_PERCENT,
		.rate_mb = ops->pool_rate_mb,
	};
}

static struct gmem_policy *gmem_policy_create(const struct gmem_policy_ops *ops,
					      struct bpf_link *link)
{
	struct gmem_policy *policy;
	int err;

	policy = kzalloc_obj(*policy, GFP_KERNEL_ACCOUNT);
	if (!policy)
		return ERR_PTR(-ENOMEM);

	policy->counters = alloc_percpu_gfp(struct gmem_policy_stats, GFP_KERNEL_ACCOUNT);
	if (!policy->counters) {
		err = -ENOMEM;
		goto err_free;
	}

	if (!bpf_struct_ops_get(ops)) {
		err = -EBUSY;
		goto err_percpu;
	}

	policy->ops = ops;
	policy->link = link;
	policy->pools = gmem_policy_pools(ops, ops->pool_small_mb, ops->pool_large_mb);
	policy->id = atomic64_inc_return(&gmem_last_id);
	policy->map_id = bpf_struct_ops_id(ops);
	bpf_struct_ops_for_each_prog(ops, gmem_note_prog, policy);
	INIT_LIST_HEAD(&policy->list);
	refcount_set(&policy->refs, 1);
	policy->attached_ns = ktime_get_boottime_ns();
	policy->uid = from_kuid(&init_user_ns, current_uid());
	policy->pid = current->tgid;
	get_task_comm(policy->comm, current);

	err = xa_err(xa_store(&gmem_policies, policy->id, policy, GFP_KERNEL_ACCOUNT));
	if (err)
		goto err_ops;
	return policy;

err_ops:
	bpf_struct_ops_put(ops);
err_percpu:
	free_percpu(policy->counters);
err_free:
	kfree(policy);
	return ERR_PTR(err);
}

/* Under the lock, so that of two readers none can put back what the other has seen grow. */
static void gmem_policy_sum(struct gmem_policy *policy)
{
	struct gmem_policy_stats sum = {}, *c;
	int cpu, op;

	guard(spinlock_irqsave)(&gmem_lock);

	for_each_possible_cpu(cpu) {
		c = per_cpu_ptr(policy->counters, cpu);
		for (op = 0; op < GMEM_OP_MAX; op++)
			sum.decisions[op] += READ_ONCE(c->decisions[op]);
		sum.fits += READ_ONCE(c->fits);
		sum.clamps += READ_ONCE(c->clamps);
		sum.declines += READ_ONCE(c->declines);
	}
	policy->stats = sum;
}

/**
 * gmem_policy_next - the first policy from an id on
 * @id: where to begin; set to the id of the policy that is returned
 *
 * Return: the policy, its counters summed up, with a reference for the caller; NULL if there is
 * none
 */
struct gmem_policy *gmem_policy_next(u64 *id)
{
	unsigned long index = *id;
	struct gmem_policy *policy;

	scoped_guard(rcu) {
		policy = xa_find(&gmem_policies, &index, ULONG_MAX, XA_PRESENT);
		while (policy && !refcount_inc_not_zero(&policy->refs))
			policy = xa_find_after(&gmem_policies, &index, ULONG_MAX, XA_PRESENT);
	}
	if (!policy)
		return NULL;

	*id = index;
	gmem_policy_sum(policy);
	return policy;
}

/* ---- Which policy is effective for an object ---- */

/* How near the cgroup @id is to the object: 0 if it is no ancestor, else larger for nearer ones. */
static unsigned int gmem_cgroup_depth(const struct gmem_obj *obj, u64 id)
{
	struct cgroup *cgrp;

	for (cgrp = obj->cgrp; cgrp; cgrp = cgroup_parent(cgrp)) {
		if (cgroup_id(cgrp) == id)
			return cgrp->level + 1;
	}
	return 0;
}

/*
 * The rank of @policy for @obj: enforced ones (nearest first), the one that the VMM named, that of
 * the nearest cgroup, the global one. 0 if @obj is not in its scope.
 */
static unsigned int gmem_policy_rank(const struct gmem_obj *obj, const struct gmem_policy *policy,
				     enum gmem_scope *scope)
{
	const struct gmem_policy_ops *ops = policy->ops;
	unsigned int depth = 0;

	if (ops->flags & GMEM_POLICY_NAMED) {
		*scope = GMEM_SCOPE_NAMED;
		return strcmp(ops->name, obj->asked_name) ? 0 : 1U << 16;
	}

	if (ops->cgroup_id) {
		depth = gmem_cgroup_depth(obj, ops->cgroup_id);
		if (!depth)
			return 0;
	}

	if (ops->flags & GMEM_POLICY_ENFORCED) {
		*scope = GMEM_SCOPE_ENFORCED;
		return (1U << 24) + depth;
	}

	*scope = depth ? GMEM_SCOPE_CGROUP : GMEM_SCOPE_GLOBAL;
	return 1 + depth;
}

/* The policy that should be effective for @obj (or shadow it), with a reference; NULL for none. */
static struct gmem_policy *gmem_policy_find(struct gmem_obj *obj, bool shadow,
					    enum gmem_scope *scope)
{
	struct gmem_policy *policy, *best = NULL;
	unsigned int rank, best_rank = 0;
	enum gmem_scope its_scope;

	*scope = GMEM_SCOPE_BUILTIN;

	guard(spinlock_irqsave)(&gmem_lock);

	list_for_each_entry(policy, &gmem_registered, list) {
		if (!!(policy->ops->flags & GMEM_POLICY_SHADOW) != shadow || policy->tripped)
			continue;
		if (xa_load(&obj->declined, policy->id))
			continue;
		rank = gmem_policy_rank(obj, policy, &its_scope);
		if (rank > best_rank) {
			best_rank = rank;
			best = policy;
			*scope = its_scope;
		}
	}
	if (best)
		refcount_inc(&best->refs);
	return best;
}

static struct gmem_policy __rcu **gmem_obj_slot(struct gmem_obj *obj, bool shadow)
{
	return shadow ? &obj->shadow : &obj->policy;
}

static u64 *gmem_obj_cookie(struct gmem_obj *obj, bool shadow)
{
	return shadow ? &obj->shadow_cookie : &obj->cookie;
}

static struct gmem_policy *gmem_obj_current(struct gmem_obj *obj, bool shadow)
{
	return rcu_dereference_protected(*gmem_obj_slot(obj, shadow), lockdep_is_held(&obj->lock));
}

/**
 * gmem_policy_get_effective - the policy that decides for an object now
 * @obj: the object
 *
 * Return: the policy, with a reference for the caller; NULL for built in
 */
struct gmem_policy *gmem_policy_get_effective(struct gmem_obj *obj)
{
	struct gmem_policy *policy;

	guard(rcu)();

	policy = rcu_dereference(obj->policy);
	if (!policy || READ_ONCE(policy->retired) || !refcount_inc_not_zero(&policy->refs))
		return NULL;
	return policy;
}
EXPORT_SYMBOL_FOR_MODULES(gmem_policy_get_effective, "kvm");

/* Bring @obj under the first policy in scope that does not decline it. It is under none now. */
static void gmem_obj_join(struct gmem_obj *obj, bool shadow)
{
	u64 *cookie = gmem_obj_cookie(obj, shadow);
	struct gmem_policy *policy;
	enum gmem_scope scope;

	lockdep_assert_held(&obj->lock);

	while ((policy = gmem_policy_find(obj, shadow, &scope))) {
		*cookie = 0;
		if (!gmem_call_init(obj, policy, cookie)) {
			rcu_assign_pointer(*gmem_obj_slot(obj, shadow), policy);
			atomic_inc(&policy->objects);
			trace_kvm_gmem_policy_attach(obj->id, obj->tgid, policy->ops->name,
						     policy->id, policy->ops->cgroup_id,
						     policy->ops->flags, policy->uid, policy->comm,
						     policy->tag);
			break;
		}

		this_cpu_inc(policy->counters->declines);
		if (xa_err(xa_store(&obj->declined, policy->id, xa_mk_value(1),
				    GFP_KERNEL_ACCOUNT))) {
			/*
			 * Without memory to remember it, asking the next one would ask this one
			 * again.
			 */
			gmem_policy_put(policy);
			policy = NULL;
			scope = GMEM_SCOPE_BUILTIN;
			break;
		}
		gmem_policy_put(policy);
	}
	if (!shadow)
		obj->scope = scope;
}

/*
 * Take the policy away from @obj if it is not the right one any more; true if its exit is to be
 * called.
 */
static bool gmem_obj_part(struct gmem_obj *obj, bool shadow)
{
	struct gmem_policy *policy, *next;
	enum gmem_scope scope;

	lockdep_assert_held(&obj->lock);

	policy = gmem_obj_current(obj, shadow);
	if (!policy)
		return obj->leaving[shadow];

	next = gmem_policy_find(obj, shadow, &scope);
	if (next)
		gmem_policy_put(next);
	if (next == policy)
		return false;

	RCU_INIT_POINTER(*gmem_obj_slot(obj, shadow), NULL);
	obj->leaving[shadow] = policy;
	if (!shadow)
		obj->scope = GMEM_SCOPE_BUILTIN;
	return true;
}

static void gmem_obj_leave(struct gmem_obj *obj, bool shadow, const char *reason)
{
	struct gmem_policy *policy = obj->leaving[shadow];

	lockdep_assert_held(&obj->lock);

	if (!policy)
		return;

	gmem_call_exit(obj, policy, gmem_obj_cookie(obj, shadow));
	trace_kvm_gmem_policy_detach(obj->id, obj->tgid, policy->ops->name, policy->id, reason);
	obj->leaving[shadow] = NULL;
	atomic_dec(&policy->objects);
	gmem_policy_put(policy);
}

static void gmem_obj_forget_declined(struct gmem_obj *obj)
{
	unsigned long id;
	void *entry;

	xa_for_each(&obj->declined, id, entry) {
		if (!xa_load(&gmem_policies, id))
			xa_erase(&obj->declined, id);
	}
}

/* Step 1 for one object; true if a decision may still be using what it was taken away from. */
static bool gmem_obj_prepare(struct gmem_obj *obj)
{
	bool parted;

	guard(mutex)(&obj->lock);

	if (!obj->mapping)
		return false;
	parted = gmem_obj_part(obj, false);
	parted |= gmem_obj_part(obj, true);
	return parted;
}

/* Step 3 for one object. */
static void gmem_obj_settle(struct gmem_obj *obj)
{
	int shadow;

	guard(mutex)(&obj->lock);

	if (!obj->mapping)
		return;
	gmem_obj_forget_declined(obj);
	for (shadow = 0; shadow < 2; shadow++) {
		gmem_obj_leave(obj, shadow, "policy changed");
		if (!gmem_obj_current(obj, shadow))
			gmem_obj_join(obj, shadow);
	}
}

static u64 gmem_generation(void)
{
	guard(spinlock_irqsave)(&gmem_lock);
	return gmem_gen;
}

/* All objects have settled with the registrations of generation @gen. */
static void gmem_mark_walked(u64 gen)
{
	struct gmem_policy *policy;

	guard(spinlock_irqsave)(&gmem_lock);

	list_for_each_entry(policy, &gmem_registered, list) {
		if (policy->gen <= gen)
			WRITE_ONCE(policy->walked, true);
	}
}

static bool gmem_any_registered(void)
{
	guard(spinlock_irqsave)(&gmem_lock);
	return !list_empty(&gmem_registered);
}

/* Pools are shared: add what one more policy wants. */
static void gmem_pool_sizes_add(struct gmem_pool_sizes *sizes, const struct gmem_pool_sizes *more)
{
	bool first = !sizes->small_mb && !sizes->large_mb;

	/* No limit is the fastest. */
	if (first)
		sizes->rate_mb = more->rate_mb;
	else if (sizes->rate_mb)
		sizes->rate_mb = more->rate_mb ? max(sizes->rate_mb, more->rate_mb) : 0;
	sizes->small_mb = max(sizes->small_mb, more->small_mb);
	sizes->large_mb = max(sizes->large_mb, more->large_mb);
	sizes->low_percent = max(sizes->low_percent, more->low_percent);
}

static void gmem_size_pools(struct work_struct *work)
{
	struct gmem_pool_sizes sizes = {};
	struct gmem_policy *policy;

	scoped_guard(spinlock_irqsave, &gmem_lock) {
		list_for_each_entry(policy, &gmem_registered, list) {
			if (!policy->tripped && !(policy->ops->flags & GMEM_POLICY_SHADOW) &&
			    (policy->pools.small_mb || policy->pools.large_mb))
				gmem_pool_sizes_add(&sizes, &policy->pools);
		}
	}
	gmem_pool_resize(&sizes);
}

static DECLARE_DELAYED_WORK(gmem_pools_work, gmem_size_pools);

/* Not at once: a policy that cannot make up its mind shall not keep us busy. */
static void gmem_kick_pools(void)
{
	queue_delayed_work(system_dfl_wq, &gmem_pools_work, HZ / 10);
}

/**
 * gmem_policy_want_pools - a policy wants pools of another size
 * @ops: the policy's ops
 * @small_mb: single pages on each node, MiB
 * @large_mb: folios of a PMD's order on each node, MiB
 *
 * Takes effect a moment later. An update of the policy sets the sizes anew, from its ops.
 *
 * Context: any that a BPF program of a policy runs in, its timers included.
 * Return: 0; -ENOENT if @ops is not attached, or not any more
 */
int gmem_policy_want_pools(const struct gmem_policy_ops *ops, u32 small_mb, u32 large_mb)
{
	const struct gmem_pool_sizes sizes = gmem_policy_pools(ops, small_mb, large_mb);
	struct gmem_policy *policy;
	bool changed = false;
	int ret = -ENOENT;

	scoped_guard(spinlock_irqsave, &gmem_lock) {
		list_for_each_entry(policy, &gmem_registered, list) {
			if (policy->ops != ops)
				continue;
			ret = 0;
			changed |= memcmp(&policy->pools, &sizes, sizeof(sizes));
			policy->pools = sizes;
		}
	}
	if (changed)
		gmem_kick_pools();
	return ret;
}

static void gmem_walk(struct work_struct *work)
{
	u64 gen = gmem_generation();
	struct gmem_obj *obj;
	bool parted = false;
	u64 id;

	if (gmem_any_registered())
		static_branch_enable(&gmem_policy_key);

	for (id = 0; (obj = gmem_obj_next(&id)); id++) {
		parted |= gmem_obj_prepare(obj);
		gmem_obj_put(obj);
		cond_resched();
	}

	if (parted)
		synchronize_rcu();

	for (id = 0; (obj = gmem_obj_next(&id)); id++) {
		gmem_obj_settle(obj);
		gmem_obj_put(obj);
		cond_resched();
	}

	gmem_mark_walked(gen);
	gmem_kick_pools();

	/*
	 * An attach that comes after this look has kicked the worker again, which enables the key
	 * again.
	 */
	if (!gmem_any_registered())
		static_branch_disable(&gmem_policy_key);
}

static DECLARE_WORK(gmem_walk_work, gmem_walk);

static void gmem_kick(void)
{
	queue_work(system_dfl_wq, &gmem_walk_work);
}

/* ---- Objects ---- */

static struct cgroup *gmem_current_cgroup(void)
{
	struct cgroup *cgrp;

	guard(rcu)();

	/* The task may be moved, and its old cgroup removed, before the reference is taken. */
	do {
		cgrp = task_dfl_cgroup(current);
	} while (!cgroup_tryget(cgrp));
	return cgrp;
}

static bool gmem_name_exists(const char *name)
{
	struct gmem_policy *policy;

	guard(spinlock_irqsave)(&gmem_lock);

	list_for_each_entry(policy, &gmem_registered, list) {
		if ((policy->ops->flags & GMEM_POLICY_NAMED) && !strcmp(policy->ops->name, name))
			return true;
	}
	return false;
}

static void gmem_obj_free_rcu(struct rcu_head *rcu)
{
	kfree(container_of(rcu, struct gmem_obj, rcu));
}

/**
 * gmem_obj_create - tell the policy core of new guest memory
 * @args: what it is
 *
 * The object belongs to the cgroups, process and cpuset of the caller. It comes under the policy
 * that is effective for it, if there is one, before this returns. The caller's module is pinned
 * until gmem_obj_release().
 *
 * Context: process context of the VMM; may sleep.
 * Return: the object; ERR_PTR(-ENOENT) if the policy that the VMM named is not loaded;
 * ERR_PTR(-ENOMEM)
 */
struct gmem_obj *gmem_obj_create(const struct gmem_obj_args *args)
{
	struct gmem_obj *obj;
	int err;

	if (args->name[0] && !gmem_name_exists(args->name))
		return ERR_PTR(-ENOENT);

	obj = kzalloc_obj(*obj, GFP_KERNEL_ACCOUNT);
	if (!obj)
		return ERR_PTR(-ENOMEM);

	obj->id = atomic64_inc_return(&gmem_last_id);
	obj->size = args->size;
	obj->flags = args->flags;
	obj->tgid = current->tgid;
	obj->cgrp = gmem_current_cgroup();
	obj->cgroup_id = cgroup_id(obj->cgrp);
	obj->memcg = get_mem_cgroup_from_mm(current->mm);
	obj->mems_allowed = cpuset_mems_allowed(current);
	strscpy(obj->asked_name, args->name);
	mutex_init(&obj->lock);
	xa_init(&obj->declined);
	obj->mapping = args->mapping;
	mutex_init(&obj->mapping_lock);
	refcount_set(&obj->refs, 1);

	/*
	 * Locked before the walk can find it: a policy that is attached meanwhile finds it settled.
	 */
	scoped_guard(mutex, &obj->lock) {
		err = xa_err(xa_store(&gmem_objs, obj->id, obj, GFP_KERNEL_ACCOUNT));
		if (!err) {
			gmem_obj_join(obj, false);
			gmem_obj_join(obj, true);
		}
	}
	if (err) {
		gmem_obj_put(obj);
		return ERR_PTR(err);
	}

	__module_get(args->module);
	obj->module = args->module;
	return obj;
}
EXPORT_SYMBOL_FOR_MODULES(gmem_obj_create, "kvm");

/**
 * gmem_obj_retire - the memory of an object is gone
 * @obj: the object
 *
 * Calls exit of the policies it was under. The caller sees to it that no decision for it is under
 * way, and asks for none afterwards.
 *
 * Context: process context; may sleep.
 */
void gmem_obj_retire(struct gmem_obj *obj)
{
	int shadow;

	xa_erase(&gmem_objs, obj->id);

	guard(mutex)(&obj->lock);

	scoped_guard(mutex, &obj->mapping_lock)
		obj->mapping = NULL;
	for (shadow = 0; shadow < 2; shadow++) {
		struct gmem_policy *policy = gmem_obj_current(obj, shadow);

		if (policy) {
			RCU_INIT_POINTER(*gmem_obj_slot(obj, shadow), NULL);
			obj->leaving[shadow] = policy;
		}
		gmem_obj_leave(obj, shadow, "memory released");
	}
	xa_destroy(&obj->declined);
}
EXPORT_SYMBOL_FOR_MODULES(gmem_obj_retire, "kvm");

/**
 * gmem_obj_put - drop a reference to an object
 * @obj: the object
 *
 * Context: any but hard interrupts.
 */
void gmem_obj_put(struct gmem_obj *obj)
{
	if (!refcount_dec_and_test(&obj->refs))
		return;

	cgroup_put(obj->cgrp);
	mem_cgroup_put(obj->memcg);
	call_rcu(&obj->rcu, gmem_obj_free_rcu);
}

/**
 * gmem_obj_release - the inode lets go of its object
 * @obj: the object; gmem_obj_retire() was called on it
 *
 * Unpins the module that gmem_obj_create() pinned. To be called from the inode's RCU callback,
 * which the module waits for when it is unloaded: the call may be the last thing that keeps it.
 *
 * Context: any but hard interrupts.
 */
void gmem_obj_release(struct gmem_obj *obj)
{
	struct module *module = obj->module;

	gmem_obj_put(obj);
	module_put(module);
}
EXPORT_SYMBOL_FOR_MODULES(gmem_obj_release, "kvm");

/**
 * gmem_obj_next - the first object from an id on
 * @id: where to begin; set to the id of the object that is returned
 *
 * Return: the object, with a reference for the caller; NULL if there is none
 */
struct gmem_obj *gmem_obj_next(u64 *id)
{
	unsigned long index = *id;
	struct gmem_obj *obj;

	guard(rcu)();

	obj = xa_find(&gmem_objs, &index, ULONG_MAX, XA_PRESENT);
	while (obj && !refcount_inc_not_zero(&obj->refs))
		obj = xa_find_after(&gmem_objs, &index, ULONG_MAX, XA_PRESENT);
	if (obj)
		*id = index;
	return obj;
}

/**
 * gmem_obj_resident - count what of an object is in memory
 * @obj: the object
 * @res: filled in; all zeroes if the memory is gone
 *
 * Walks the page cache of the object, which may take long. Only its eviction waits for that.
 *
 * Context: process context; may sleep.
 */
void gmem_obj_resident(struct gmem_obj *obj, struct gmem_resident *res)
{
	guard(mutex)(&obj->mapping_lock);

	if (obj->mapping)
		gmem_count_resident(obj->mapping, res);
	else
		memset(res, 0, sizeof(*res));
}

/**
 * gmem_obj_report - describe an object for a reader
 * @obj: the object
 * @report: filled in, but for what is resident
 *
 * Context: process context; may sleep.
 */
void gmem_obj_report(struct gmem_obj *obj, struct gmem_obj_report *report)
{
	struct gmem_policy *policy;

	memset(report, 0, sizeof(*report));
	report->ahead_total = atomic64_read(&obj->ahead_total);
	report->ahead_done = atomic64_read(&obj->ahead_done);
	report->ahead_began = READ_ONCE(obj->ahead_began);

	guard(mutex)(&obj->lock);

	policy = gmem_obj_current(obj, false);
	strscpy(report->policy, policy ? policy->ops->name : "builtin");
	report->policy_id = policy ? policy->id : 0;
	report->scope = obj->scope;

	policy = gmem_obj_current(obj, true);
	strscpy(report->shadow, policy ? policy->ops->name : "");
	report->shadow_id = policy ? policy->id : 0;
}
EXPORT_SYMBOL_FOR_MODULES(gmem_obj_report, "kvm");

/**
 * gmem_obj_memcg - who pays for what is populated ahead for an object
 * @obj: the object
 *
 * Return: the memory cgroup that created it, or its nearest ancestor that is not removed; valid as
 * long as @obj
 */
struct mem_cgroup *gmem_obj_memcg(struct gmem_obj *obj)
{
	struct mem_cgroup *memcg = obj->memcg;

#ifdef CONFIG_MEMCG
	while (memcg && !mem_cgroup_online(memcg))
		memcg = parent_mem_cgroup(memcg);
#endif
	return memcg;
}
EXPORT_SYMBOL_FOR_MODULES(gmem_obj_memcg, "kvm");

/**
 * gmem_obj_memory_short - should nothing be allocated for an object that can wait?
 * @obj: the object
 *
 * What is populated ahead cannot be reclaimed, and must not leave the VM without the memory that it
 * needs now: a part of memory.max stays free of it.
 *
 * Return: true if a memory cgroup that would be charged is at its memory.high, or near its
 * memory.max
 */
bool gmem_obj_memory_short(struct gmem_obj *obj)
{
#ifdef CONFIG_MEMCG
	struct mem_cgroup *memcg = gmem_obj_memcg(obj);

	for (; memcg && !mem_cgroup_is_root(memcg); memcg = parent_mem_cgroup(memcg)) {
		unsigned long usage = page_counter_read(&memcg->memory);
		unsigned long max = READ_ONCE(memcg->memory.max);

		if (usage >= READ_ONCE(memcg->memory.high))
			return true;
		if (usage + max(max / GMEM_MEMCG_RESERVE, SZ_1M >> PAGE_SHIFT) >= max)
			return true;
	}
#endif
	return false;
}
EXPORT_SYMBOL_FOR_MODULES(gmem_obj_memory_short, "kvm");

/* ---- Attach, update, detach, trip ---- */

static int gmem_may_attach(const struct gmem_policy_ops *ops)
{
	struct cgroup *cgrp;

	if (!capable(CAP_BPF) || !capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (gmem_bpf_off) {
		pr_gmem(info, "policy %s refused: booted with gmem_bpf=off\n", ops->name);
		return -EACCES;
	}
	if (!ops->cgroup_id)
		return 0;

	cgrp = cgroup_get_from_id(ops->cgroup_id);
	if (IS_ERR(cgrp))
		return PTR_ERR(cgrp);
	cgroup_put(cgrp);
	return 0;
}

static void gmem_announce(const struct gmem_policy *policy, const char *verb)
{
	const struct gmem_policy_ops *ops = policy->ops;

	trace_kvm_gmem_policy_attach(0, policy->pid, ops->name, policy->id, ops->cgroup_id,
				     ops->flags, policy->uid, policy->comm, policy->tag);
	pr_gmem(info, "policy %s %s by %s[%u], uid %u: cgroup %llu, flags 0x%x, tag %016llx\n",
		ops->name, verb, policy->comm, policy->pid, policy->uid, ops->cgroup_id, ops->flags,
		policy->tag);
}

/* Does @ops want a name or a place that another policy holds? */
static bool gmem_taken(const struct gmem_policy_ops *ops)
{
	const struct gmem_policy_ops *other;
	struct gmem_policy *policy;

	lockdep_assert_held(&gmem_lock);

	list_for_each_entry(policy, &gmem_registered, list) {
		other = policy->ops;
		if (!strcmp(other->name, ops->name))
			return true;
		if ((other->flags | ops->flags) & GMEM_POLICY_NAMED)
			continue;
		if (other->cgroup_id == ops->cgroup_id &&
		    (other->flags & GMEM_POLICY_SHADOW) == (ops->flags & GMEM_POLICY_SHADOW))
			return true;
	}
	return false;
}

static struct gmem_policy *gmem_registration(const void *kdata, const struct bpf_link *link)
{
	struct gmem_policy *policy;

	lockdep_assert_held(&gmem_lock);

	list_for_each_entry(policy, &gmem_registered, list) {
		if (policy->ops == kdata && policy->link == link)
			return policy;
	}
	return NULL;
}

static int gmem_reg(void *kdata, struct bpf_link *link)
{
	struct gmem_policy *policy;
	bool taken;
	int err;

	/* Without a link there is nothing to pin, to update or to detach by. */
	if (!link)
		return -EOPNOTSUPP;

	err = gmem_may_attach(kdata);
	if (err)
		return err;

	policy = gmem_policy_create(kdata, link);
	if (IS_ERR(policy))
		return PTR_ERR(policy);

	scoped_guard(spinlock_irqsave, &gmem_lock) {
		taken = gmem_taken(policy->ops);
		if (!taken) {
			policy->gen = ++gmem_gen;
			list_add_tail(&policy->list, &gmem_registered);
		}
	}
	if (taken) {
		gmem_policy_put(policy);
		return -EEXIST;
	}

	gmem_announce(policy, "attached");
	gmem_kick();
	return 0;
}

static int gmem_update(void *kdata, void *old_kdata, struct bpf_link *link)
{
	const struct gmem_policy_ops *ops = kdata, *old_ops = old_kdata;
	struct gmem_policy *policy, *old;
	int err;

	if (strcmp(ops->name, old_ops->name) || ops->cgroup_id != old_ops->cgroup_id ||
	    (ops->flags ^ old_ops->flags) & GMEM_POLICY_SCOPE_FLAGS)
		return -EINVAL;

	err = gmem_may_attach(ops);
	if (err)
		return err;

	policy = gmem_policy_create(ops, link);
	if (IS_ERR(policy))
		return PTR_ERR(policy);

	scoped_guard(spinlock_irqsave, &gmem_lock) {
		old = gmem_registration(old_kdata, link);
		if (old) {
			policy->gen = ++gmem_gen;
			list_replace_init(&old->list, &policy->list);
			WRITE_ONCE(old->retired, true);
			WRITE_ONCE(old->detached, true);
		}
	}
	if (!old) {
		gmem_policy_put(policy);
		return -ENOENT;
	}

	trace_kvm_gmem_policy_detach(0, current->tgid, old_ops->name, old->id, "replaced");
	gmem_announce(policy, "replaced");
	gmem_policy_put(old);
	gmem_kick();
	return 0;
}

static void gmem_unreg(void *kdata, struct bpf_link *link)
{
	struct gmem_policy *policy;

	scoped_guard(spinlock_irqsave, &gmem_lock) {
		policy = gmem_registration(kdata, link);
		if (policy) {
			gmem_gen++;
			list_del_init(&policy->list);
			WRITE_ONCE(policy->retired, true);
			WRITE_ONCE(policy->detached, true);
		}
	}
	if (WARN_ON_ONCE(!policy))
		return;

	trace_kvm_gmem_policy_detach(0, current->tgid, policy->ops->name, policy->id, "detached");
	pr_gmem(info, "policy %s detached by %s[%u]\n", policy->ops->name, current->comm,
		current->tgid);
	gmem_policy_put(policy);
	gmem_kick();
}

/**
 * gmem_policy_trip - disable a policy that decides nonsense
 * @policy: the policy
 * @obj: the object of its last decision
 * @reason: shown to the operator
 *
 * It stays attached, so that its name, its reason and its counters can be seen, until it is
 * detached or replaced.
 *
 * Context: process context, locks of KVM and mm held; does not sleep.
 */
void gmem_policy_trip(struct gmem_policy *policy, const struct gmem_obj *obj, const char *reason)
{
	scoped_guard(spinlock_irqsave, &gmem_lock) {
		if (policy->retired)
			return;
		strscpy(policy->trip_reason, reason);
		WRITE_ONCE(policy->tripped, true);
		WRITE_ONCE(policy->retired, true);
		gmem_gen++;
	}

	trace_kvm_gmem_policy_trip(obj->id, obj->tgid, policy->ops->name, policy->id, reason);
	pr_gmem(notice, "policy %s disabled: %s\n", policy->ops->name, reason);
	gmem_kick();
}

/* ---- The struct_ops type ---- */

static int gmem_policy_ops__init(struct gmem_obj_ctx *ctx)
{
	return 0;
}

static void gmem_policy_ops__exit(struct gmem_obj_ctx *ctx)
{
}

static void gmem_policy_ops__alloc(struct gmem_alloc_ctx *ctx)
{
}

static void gmem_policy_ops__prealloc(struct gmem_prealloc_ctx *ctx)
{
}

static void gmem_policy_ops__convert(struct gmem_convert_ctx *ctx)
{
}

static void gmem_policy_ops__free(struct gmem_free_ctx *ctx)
{
}

static struct gmem_policy_ops gmem_policy_ops_stubs = {
	.init		= gmem_policy_ops__init,
	.exit		= gmem_policy_ops__exit,
	.alloc		= gmem_policy_ops__alloc,
	.prealloc	= gmem_policy_ops__prealloc,
	.convert	= gmem_policy_ops__convert,
	.free		= gmem_policy_ops__free,
};

enum {
	GMEM_BTF_OBJ_CTX,
	GMEM_BTF_ALLOC_CTX,
	GMEM_BTF_PREALLOC_CTX,
	GMEM_BTF_CONVERT_CTX,
	GMEM_BTF_FREE_CTX,
};

BTF_ID_LIST(gmem_btf_ids)
BTF_ID(struct, gmem_obj_ctx)
BTF_ID(struct, gmem_alloc_ctx)
BTF_ID(struct, gmem_prealloc_ctx)
BTF_ID(struct, gmem_convert_ctx)
BTF_ID(struct, gmem_free_ctx)

#define GMEM_WRITABLE(which, type, member) \
	{ which, offsetof(struct type, member), sizeof_field(struct type, member) }

/* What a policy may write, and nothing else. */
static const struct {
	u32 which;
	u32 off;
	u32 size;
} gmem_writable[] = {
	GMEM_WRITABLE(GMEM_BTF_OBJ_CTX, gmem_obj_ctx, obj.cookie),
	GMEM_WRITABLE(GMEM_BTF_ALLOC_CTX, gmem_alloc_ctx, obj.cookie),
	GMEM_WRITABLE(GMEM_BTF_ALLOC_CTX, gmem_alloc_ctx, order),
	GMEM_WRITABLE(GMEM_BTF_ALLOC_CTX, gmem_alloc_ctx, node),
	GMEM_WRITABLE(GMEM_BTF_ALLOC_CTX, gmem_alloc_ctx, zero),
	GMEM_WRITABLE(GMEM_BTF_PREALLOC_CTX, gmem_prealloc_ctx, obj.cookie),
	GMEM_WRITABLE(GMEM_BTF_PREALLOC_CTX, gmem_prealloc_ctx, how),
	GMEM_WRITABLE(GMEM_BTF_PREALLOC_CTX, gmem_prealloc_ctx, from),
	GMEM_WRITABLE(GMEM_BTF_PREALLOC_CTX, gmem_prealloc_ctx, count),
	GMEM_WRITABLE(GMEM_BTF_PREALLOC_CTX, gmem_prealloc_ctx, map),
	GMEM_WRITABLE(GMEM_BTF_CONVERT_CTX, gmem_convert_ctx, obj.cookie),
	GMEM_WRITABLE(GMEM_BTF_CONVERT_CTX, gmem_convert_ctx, how),
	GMEM_WRITABLE(GMEM_BTF_CONVERT_CTX, gmem_convert_ctx, quiet_ms),
	GMEM_WRITABLE(GMEM_BTF_CONVERT_CTX, gmem_convert_ctx, rebuild),
	GMEM_WRITABLE(GMEM_BTF_CONVERT_CTX, gmem_convert_ctx, max_holes),
	GMEM_WRITABLE(GMEM_BTF_CONVERT_CTX, gmem_convert_ctx, mute),
	GMEM_WRITABLE(GMEM_BTF_FREE_CTX, gmem_free_ctx, obj.cookie),
	GMEM_WRITABLE(GMEM_BTF_FREE_CTX, gmem_free_ctx, mode),
};

static int gmem_btf_struct_access(struct bpf_verifier_log *log, const struct bpf_reg_state *reg,
				  int off, int size)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(gmem_writable); i++) {
		if (reg->btf_id == gmem_btf_ids[gmem_writable[i].which] &&
		    off >= gmem_writable[i].off &&
		    off + size <= gmem_writable[i].off + gmem_writable[i].size)
			return 0;
	}

	bpf_log(log, "a gmem policy may write its decisions and its cookie, not %d bytes at offset %d\n",
		size, off);
	return -EACCES;
}

static const struct bpf_verifier_ops gmem_verifier_ops = {
	.get_func_proto		= bpf_base_func_proto,
	.is_valid_access	= bpf_tracing_btf_ctx_access,
	.btf_struct_access	= gmem_btf_struct_access,
};

static int gmem_init(struct btf *btf)
{
	return 0;
}

static int gmem_check_member(const struct btf_type *t, const struct btf_member *member,
			     const struct bpf_prog *prog)
{
	/* Policies are called under RCU and with locks held. */
	return prog->sleepable ? -EINVAL : 0;
}

static int gmem_init_member(const struct btf_type *t, const struct btf_member *member, void *kdata,
			    const void *udata)
{
	const struct gmem_policy_ops *uops = udata;
	struct gmem_policy_ops *ops = kdata;
	u32 moff = __btf_member_bit_offset(t, member) / 8;

	switch (moff) {
	case offsetof(struct gmem_policy_ops, name):
		if (bpf_obj_name_cpy(ops->name, uops->name, sizeof(ops->name)) <= 0)
			return -EINVAL;
		/* Wherever the name of a policy is told, this one means none. */
		if (!strcmp(ops->name, "builtin"))
			return -EINVAL;
		/* The name is also that of the pin, and bpffs does not take a dot. */
		return strchr(ops->name, '.') ? -EINVAL : 1;
	case offsetof(struct gmem_policy_ops, abi_version):
		if (uops->abi_version != GMEM_POLICY_ABI)
			return -EOPNOTSUPP;
		ops->abi_version = uops->abi_version;
		return 1;
	case offsetof(struct gmem_policy_ops, flags):
		if (uops->flags & ~GMEM_POLICY_FLAGS)
			return -EOPNOTSUPP;
		ops->flags = uops->flags;
		return 1;
	case offsetof(struct gmem_policy_ops, cgroup_id):
		ops->cgroup_id = uops->cgroup_id;
		return 1;
	case offsetof(struct gmem_policy_ops, pool_small_mb):
		ops->pool_small_mb = uops->pool_small_mb;
		return 1;
	case offsetof(struct gmem_policy_ops, pool_large_mb):
		ops->pool_large_mb = uops->pool_large_mb;
		return 1;
	case offsetof(struct gmem_policy_ops, pool_low_percent):
		if (uops->pool_low_percent > 100)
			return -EINVAL;
		ops->pool_low_percent = uops->pool_low_percent;
		return 1;
	case offsetof(struct gmem_policy_ops, pool_rate_mb):
		ops->pool_rate_mb = uops->pool_rate_mb;
		return 1;
	}
	return 0;
}

static int gmem_validate(void *kdata)
{
	struct gmem_policy_ops *ops = kdata;

	/*
	 * A policy that VMMs ask for by name has no scope of its own, and cannot be forced on them.
	 */
	if ((ops->flags & GMEM_POLICY_NAMED) &&
	    (ops->cgroup_id || (ops->flags & (GMEM_POLICY_ENFORCED | GMEM_POLICY_SHADOW))))
		return -EINVAL;
	/* A shadow is never applied. */
	if ((ops->flags & GMEM_POLICY_ENFORCED) && (ops->flags & GMEM_POLICY_SHADOW))
		return -EINVAL;
	return 0;
}

struct bpf_struct_ops bpf_gmem_policy_ops = {
	.verifier_ops	= &gmem_verifier_ops,
	.init		= gmem_init,
	.check_member	= gmem_check_member,
	.init_member	= gmem_init_member,
	.validate	= gmem_validate,
	.reg		= gmem_reg,
	.update		= gmem_update,
	.unreg		= gmem_unreg,
	.cfi_stubs	= &gmem_policy_ops_stubs,
	.name		= "gmem_policy_ops",
	.owner		= THIS_MODULE,
};

static int __init gmem_struct_ops_init(void)
{
	return register_bpf_struct_ops(&bpf_gmem_policy_ops, gmem_policy_ops);
}
late_initcall(gmem_struct_ops_init);
