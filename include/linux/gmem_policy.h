/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Policies for guest memory (guest_memfd), written in BPF.
 *
 * The first half is what a policy sees: the struct_ops type gmem_policy_ops, its contexts and their
 * enums. It is an experimental ABI, with a version. The second half is the interface between the
 * policy core (built in) and a hypervisor's glue (for KVM: virt/kvm/gmem_bpf.c, in kvm.ko).
 *
 * Documentation/virt/kvm/gmem/policy.rst has the whole contract.
 */
#ifndef _LINUX_GMEM_POLICY_H
#define _LINUX_GMEM_POLICY_H

#include <linux/cache.h>
#include <linux/jump_label.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/nodemask.h>
#include <linux/rcupdate.h>
#include <linux/refcount.h>
#include <linux/sizes.h>
#include <linux/types.h>
#include <linux/xarray.h>

/*
 * Version of what follows up to struct gmem_policy_ops. A policy built for another one is refused.
 */
#define GMEM_POLICY_ABI		1

/* Longest policy name, with its terminating NUL. */
#define GMEM_POLICY_NAME_LEN	32

/* The value of a gfn that is not known, or not one. */
#define GMEM_NO_GFN		(~0ULL)

/* The value of a node that is left to the memory policy. */
#define GMEM_NO_NODE		(-1)

/**
 * enum gmem_why - what led to a decision, or to an allocation
 * @GMEM_WHY_CREATE: KVM_CREATE_GUEST_MEMFD
 * @GMEM_WHY_BIND: a memslot was bound to a range
 * @GMEM_WHY_GUEST_FAULT: the guest touched memory that was not there
 * @GMEM_WHY_HOST_FAULT: user space touched memory that was not there, through mmap()
 * @GMEM_WHY_FALLOCATE: fallocate()
 * @GMEM_WHY_POPULATE: the VMM writes the guest's initial memory (SNP launch update, TDX init
 *		       region)
 * @GMEM_WHY_PREALLOC: populated ahead because a policy asked for it
 * @GMEM_WHY_CONVERT: KVM_SET_MEMORY_ATTRIBUTES changed a range
 * @GMEM_WHY_QUIET: a range was not converted for as long as the policy asked
 * @GMEM_WHY_PUNCH: fallocate(FALLOC_FL_PUNCH_HOLE)
 * @GMEM_WHY_EVICT: the last user of the memory is gone
 * @GMEM_WHY_MAX: number of values
 */
enum gmem_why {
	GMEM_WHY_CREATE,
	GMEM_WHY_BIND,
	GMEM_WHY_GUEST_FAULT,
	GMEM_WHY_HOST_FAULT,
	GMEM_WHY_FALLOCATE,
	GMEM_WHY_POPULATE,
	GMEM_WHY_PREALLOC,
	GMEM_WHY_CONVERT,
	GMEM_WHY_QUIET,
	GMEM_WHY_PUNCH,
	GMEM_WHY_EVICT,
	GMEM_WHY_MAX,
};

/**
 * enum gmem_zero - when an allocated folio is zeroed
 * @GMEM_ZERO_FIRST_USE: when it is first mapped, as without a policy
 * @GMEM_ZERO_ALLOC: at its allocation, so that later faults find it ready
 * @GMEM_ZERO_POOL: it was zeroed in the background: a folio of a pool; where there is none, as
 *		    @GMEM_ZERO_ALLOC
 * @GMEM_ZERO_MAX: number of values
 */
enum gmem_zero {
	GMEM_ZERO_FIRST_USE,
	GMEM_ZERO_ALLOC,
	GMEM_ZERO_POOL,
	GMEM_ZERO_MAX,
};

/**
 * enum gmem_how - how memory is populated ahead of its use
 * @GMEM_HOW_NONE: it is not
 * @GMEM_HOW_NOW: before the system call or the fault that asked returns; where that would hold up a
 *		  fault for more than %GMEM_FAULT_NOW_PAGES or happen under mmap_lock, as
 *		  @GMEM_HOW_BACKGROUND
 * @GMEM_HOW_BACKGROUND: by a worker
 * @GMEM_HOW_MAX: number of values
 */
enum gmem_how {
	GMEM_HOW_NONE,
	GMEM_HOW_NOW,
	GMEM_HOW_BACKGROUND,
	GMEM_HOW_MAX,
};

/* Most pages that a fault populates ahead before it returns. */
#define GMEM_FAULT_NOW_PAGES	512

/**
 * enum gmem_free_mode - what happens to memory that leaves an inode
 * @GMEM_FREE_GIVE_BACK: it goes to the page allocator as it is, as without a policy
 * @GMEM_FREE_SCRUB: it is zeroed first
 * @GMEM_FREE_RECYCLE: it goes into the pool of its order and node, and is zeroed in the background
 *		       before anybody gets it; what does not fit there is given back as it is
 * @GMEM_FREE_MAX: number of values
 */
enum gmem_free_mode {
	GMEM_FREE_GIVE_BACK,
	GMEM_FREE_SCRUB,
	GMEM_FREE_RECYCLE,
	GMEM_FREE_MAX,
};

/**
 * enum gmem_zeroed - where bytes were zeroed
 * @GMEM_ZEROED_FIRST_USE: at first use
 * @GMEM_ZEROED_ALLOC: at an allocation that something waited for
 * @GMEM_ZEROED_AHEAD: while populating ahead
 * @GMEM_ZEROED_FREE: scrubbed on their way out
 * @GMEM_ZEROED_POOL: in a pool, before they were allocated
 * @GMEM_ZEROED_MAX: number of values
 */
enum gmem_zeroed {
	GMEM_ZEROED_FIRST_USE,
	GMEM_ZEROED_ALLOC,
	GMEM_ZEROED_AHEAD,
	GMEM_ZEROED_FREE,
	GMEM_ZEROED_POOL,
	GMEM_ZEROED_MAX,
};

/**
 * enum gmem_obj_flags - properties of a guest memory object
 * @GMEM_OBJ_MMAP: user space can mmap() it
 * @GMEM_OBJ_SHARED: its memory starts out shared with the host
 * @GMEM_OBJ_HW_OWNED: hardware protects its private pages (SEV-SNP, TDX): they are never scrubbed
 */
enum gmem_obj_flags {
	GMEM_OBJ_MMAP		= 1U << 0,
	GMEM_OBJ_SHARED		= 1U << 1,
	GMEM_OBJ_HW_OWNED	= 1U << 2,
};

/**
 * enum gmem_policy_flags - flags of struct gmem_policy_ops
 * @GMEM_POLICY_NAMED: in no scope by itself; a VMM asks for it by name
 * @GMEM_POLICY_ENFORCED: beats the policy that a VMM named
 * @GMEM_POLICY_SHADOW: consulted beside the effective policy; counted and traced, never applied
 * @GMEM_POLICY_LARGE: its alloc decides orders. Without it, max_order is 0: finding out what fits
 *		       costs more than a decision, which policies without large folios need not pay
 */
enum gmem_policy_flags {
	GMEM_POLICY_NAMED	= 1U << 0,
	GMEM_POLICY_ENFORCED	= 1U << 1,
	GMEM_POLICY_SHADOW	= 1U << 2,
	GMEM_POLICY_LARGE	= 1U << 3,
};

/* Of these, those that say for whom a policy is; an update cannot change them. */
#define GMEM_POLICY_SCOPE_FLAGS	(GMEM_POLICY_NAMED | GMEM_POLICY_ENFORCED | GMEM_POLICY_SHADOW)
#define GMEM_POLICY_FLAGS	(GMEM_POLICY_SCOPE_FLAGS | GMEM_POLICY_LARGE)

/**
 * struct gmem_info - the guest memory object that a decision is about
 * @id: number of the object, never used again on this boot
 * @size: size of the file, bytes
 * @resident: bytes of it that are allocated now
 * @faults: accesses that found no memory, and so led to an allocation, since a policy was first
 *	    loaded
 * @cgroup_id: the cgroup that created it (of the v2 hierarchy)
 * @cookie: the policy's own word for this object, writable; 0 when the policy takes the object
 *	    over. Concurrent decisions on one object may overwrite each other's: count in a map
 *	    instead
 * @tgid: process that created it, in the initial pid namespace
 * @flags: enum gmem_obj_flags
 */
struct gmem_info {
	__u64 id;
	__u64 size;
	__u64 resident;
	__u64 faults;
	__u64 cgroup_id;
	__u64 cookie;
	__u32 tgid;
	__u32 flags;
};

/**
 * struct gmem_obj_ctx - context of init and exit
 * @obj: the object; cookie is writable
 */
struct gmem_obj_ctx {
	struct gmem_info obj;
};

/**
 * struct gmem_alloc_ctx - context of alloc
 * @obj: the object; cookie is writable
 * @index: page of the file that is missing
 * @gfn: guest frame that it is for, %GMEM_NO_GFN if not known
 * @why: what needs it (enum gmem_why)
 * @max_order: largest folio order that fits here: the file, the memslot, what is there already, one
 *	       mempolicy. 0 where hardware owns private memory, and without %GMEM_POLICY_LARGE. The
 *	       next moment it may be less
 * @order: decision: folio order, 0 to the order of a PMD; above max_order it is fitted
 * @node: decision: preferred NUMA node, or %GMEM_NO_NODE; mbind() and cpusets go before it
 * @zero: decision: enum gmem_zero
 * @asked: the kernel's: @order as the policy left it, before it is fitted
 * @partly_shared: 1 if a folio of @max_order would reach over pages that are shared with the host
 *		   now, and so not used by the guest; known for guest faults only
 *
 * The decisions hold the built-in answer (0, %GMEM_NO_NODE, %GMEM_ZERO_FIRST_USE) when the op is
 * called.
 */
struct gmem_alloc_ctx {
	struct gmem_info obj;
	__u64 index;
	__u64 gfn;
	__u32 why;
	__u32 max_order;
	__u32 order;
	__s32 node;
	__u32 zero;
	__u32 asked;
	__u32 partly_shared;
};

/**
 * struct gmem_prealloc_ctx - context of prealloc
 * @obj: the object; cookie is writable
 * @start: first page of the range that it is about: the file, the binding, the conversion, the
 *	   fault
 * @nr: pages in that range
 * @why: %GMEM_WHY_CREATE, _BIND, _CONVERT (to private), _GUEST_FAULT or _HOST_FAULT (that missed)
 * @how: decision: enum gmem_how
 * @from: decision: first page to populate; @start when the op is called
 * @count: decision: pages to populate; 0 when the op is called. What reaches past the file is
 *	   fitted
 * @map: decision: 1 to map it too for the vCPU that faulted, so that it does not fault on it. For
 *	 %GMEM_WHY_GUEST_FAULT with %GMEM_HOW_NOW and at most %GMEM_FAULT_NOW_PAGES, else fitted.
 *	 KVM_PRE_FAULT_MEMORY maps what it was told to, and ignores this
 */
struct gmem_prealloc_ctx {
	struct gmem_info obj;
	__u64 start;
	__u64 nr;
	__u32 why;
	__u32 how;
	__u64 from;
	__u64 count;
	__u32 map;
};

/**
 * struct gmem_convert_ctx - context of convert
 * @obj: the object; cookie is writable
 * @start: first page of the object in the converted range
 * @nr: pages of it
 * @gfn: guest frame of @start
 * @to_private: 1 if the range is private now, 0 if it is shared
 * @why: %GMEM_WHY_CONVERT, or %GMEM_WHY_QUIET when this is the call that quiet_ms asked for
 * @how: decision: populate the range ahead (enum gmem_how)
 * @quiet_ms: decision: call again once the range was not converted for so many milliseconds, at
 *	      most %GMEM_QUIET_MS_MAX; 0 for no. Not for a call that is itself such a one. A
 *	      conversion in the same block (the aligned size of a PMD) ends the wait for what is in
 *	      that block. The call comes in any case, as long as this policy is effective: at once
 *	      if there is no memory to note the wish; and where %GMEM_QUIET_RANGES wait already, one
 *	      call, after the longer time, tells of the range and of the nearest one that waits,
 *	      with what is between them, as shared
 * @mute: decision: with quiet_ms, 1 to hear nothing of further conversions in the blocks that the
 *	  range is in until then: each puts off the call instead of ending the wait. Where memory is
 *	  converted all the time, that costs less than being asked each time. A policy that shadows
 *	  this one hears of all conversions, and then so does this one. So it does where ranges wait
 *	  as one
 * @rebuild: decision: 1 to make large folios again of the blocks that the range is in, in the
 *	     background
 * @max_holes: decision: how many missing pages of a block may be filled with zeroes for that; 0
 *	       when the op is called. A block of which any page is shared has none filled
 */
struct gmem_convert_ctx {
	struct gmem_info obj;
	__u64 start;
	__u64 nr;
	__u64 gfn;
	__u32 to_private;
	__u32 why;
	__u32 how;
	__u32 quiet_ms;
	__u32 rebuild;
	__u32 max_holes;
	__u32 mute;
};

/* Longest time that a policy can ask to be called again after, ms. */
#define GMEM_QUIET_MS_MAX	600000

/* Ranges of one object that can wait for being quiet at a time; more wait together with others. */
#define GMEM_QUIET_RANGES	32

/**
 * struct gmem_free_ctx - context of free
 * @obj: the object; cookie is writable
 * @start: first page of the range that leaves
 * @nr: pages in that range; holes included
 * @why: %GMEM_WHY_PUNCH or %GMEM_WHY_EVICT
 * @mode: decision: enum gmem_free_mode
 */
struct gmem_free_ctx {
	struct gmem_info obj;
	__u64 start;
	__u64 nr;
	__u32 why;
	__u32 mode;
};

/**
 * struct gmem_policy_ops - a policy for guest memory
 * @init: an object comes under the policy; a nonzero return declines it, and the next policy in
 *	  scope gets it. Called once per object, before any other op sees the object
 * @exit: the object leaves the policy; called exactly once for each init that returned 0
 * @alloc: memory is missing and is about to be allocated; may be asked twice when two faults race.
 *	   Never called when the memory is there
 * @prealloc: populate more than what was asked for?
 * @convert: the attributes of a range really changed
 * @free: memory leaves the object
 * @cgroup_id: cgroup (v2) whose VMs it is for, descendants included; 0 for all. Must be 0 if @flags
 *	       has %GMEM_POLICY_NAMED
 * @abi_version: %GMEM_POLICY_ABI
 * @flags: enum gmem_policy_flags
 * @pool_small_mb: zeroed single pages that are kept ready on each node, MiB. Pools are shared: of
 *		   what the policies want, they have the most; and they are bounded by the parameter
 *		   gmem_pool.max_percent. A shadow's wishes do not count
 * @pool_large_mb: the same of folios of a PMD's order
 * @pool_low_percent: a pool is filled again when it has less than this part of that, 1 to 100; 0
 *		      for %GMEM_POOL_LOW_PERCENT
 * @pool_rate_mb: how fast a node's pools are filled, MiB/s; 0: as fast as idle time allows
 * @name: letters, digits and '_'; unique on the host
 *
 * All ops are optional and must not sleep. They are called under rcu_read_lock(), in process
 * context, with preemption as the caller had it, concurrently on all CPUs, and often with locks of
 * KVM and mm held: they decide, and the kernel acts. What they decide is checked: something that
 * merely does not fit is fitted, nonsense is replaced by the built-in answer and counted, and
 * %GMEM_TRIP_LIMIT of it disables the policy.
 */
struct gmem_policy_ops {
	int (*init)(struct gmem_obj_ctx *ctx);
	void (*exit)(struct gmem_obj_ctx *ctx);
	void (*alloc)(struct gmem_alloc_ctx *ctx);
	void (*prealloc)(struct gmem_prealloc_ctx *ctx);
	void (*convert)(struct gmem_convert_ctx *ctx);
	void (*free)(struct gmem_free_ctx *ctx);
	__u64 cgroup_id;
	__u32 abi_version;
	__u32 flags;
	__u32 pool_small_mb;
	__u32 pool_large_mb;
	__u32 pool_low_percent;
	__u32 pool_rate_mb;
	char name[GMEM_POLICY_NAME_LEN];
};

/* When pools are filled again, unless the policy says it. */
#define GMEM_POOL_LOW_PERCENT	75

/*
 * Populating ahead leaves this part of a memory cgroup's memory.max, and at least 1 MiB, alone:
 * 1/32.
 */
#define GMEM_MEMCG_RESERVE	32

/* Nonsensical decisions after which a policy is disabled ("tripped"). */
#define GMEM_TRIP_LIMIT		64

/**
 * enum gmem_op - the ops that decide, as they are counted and traced
 * @GMEM_OP_ALLOC: alloc
 * @GMEM_OP_PREALLOC: prealloc
 * @GMEM_OP_CONVERT: convert
 * @GMEM_OP_FREE: free
 * @GMEM_OP_MAX: number of values
 */
enum gmem_op {
	GMEM_OP_ALLOC,
	GMEM_OP_PREALLOC,
	GMEM_OP_CONVERT,
	GMEM_OP_FREE,
	GMEM_OP_MAX,
};

/**
 * enum gmem_scope - why a policy is the effective one of an object
 * @GMEM_SCOPE_BUILTIN: there is none: the built-in behaviour
 * @GMEM_SCOPE_ENFORCED: it is enforced by the operator, on a cgroup or on the host
 * @GMEM_SCOPE_NAMED: the VMM named it
 * @GMEM_SCOPE_CGROUP: it is that of the nearest cgroup
 * @GMEM_SCOPE_GLOBAL: it is that of the host
 */
enum gmem_scope {
	GMEM_SCOPE_BUILTIN,
	GMEM_SCOPE_ENFORCED,
	GMEM_SCOPE_NAMED,
	GMEM_SCOPE_CGROUP,
	GMEM_SCOPE_GLOBAL,
};

struct address_space;
struct bpf_link;
struct bpf_struct_ops;
struct cgroup;
struct folio;
struct gmem_pieces;
struct mem_cgroup;
struct module;

/**
 * struct gmem_policy_stats - counters of a policy; they only grow
 * @decisions: answers, by enum gmem_op
 * @fits: answers that were fitted to what is possible
 * @clamps: nonsensical answers that were replaced
 * @declines: objects that init declined
 */
struct gmem_policy_stats {
	u64 decisions[GMEM_OP_MAX];
	u64 fits;
	u64 clamps;
	u64 declines;
};

/**
 * struct gmem_pool_sizes - what is to be in the pools of each node
 * @small_mb: single pages, MiB
 * @large_mb: folios of a PMD's order, MiB
 * @low_percent: a pool is filled when it has less than this part of that
 * @rate_mb: how fast, MiB/s; 0: no limit
 */
struct gmem_pool_sizes {
	u32 small_mb;
	u32 large_mb;
	u32 low_percent;
	u32 rate_mb;
};

/**
 * struct gmem_policy - one attached gmem_policy_ops; an update makes a new one
 * @ops: the struct_ops' kernel side; its map is held until the last reference goes
 * @id: number of it, never used again on this boot
 * @map_id: BPF id of the struct_ops map
 * @prog_id: BPF id of its first program, for its maps and its tag
 * @link: registration it belongs to; only compared
 * @list: in the list of registrations, while it is in one
 * @gen: generation of the registry that it came with
 * @refs: references; objects hold one each
 * @retired: no decision may use it any more: detached, replaced or tripped
 * @tripped: it is disabled for what @trip_reason says
 * @detached: its registration is gone, or has another policy now
 * @walked: all objects that it is effective for are under it, or declined
 * @trip_reason: valid when @tripped
 * @attached_ns: when it was attached, CLOCK_BOOTTIME ns
 * @uid: user that attached it, in the initial user namespace
 * @pid: its process
 * @comm: its command
 * @tag: tag of the first program
 * @objects: objects it is effective for, or shadows
 * @nonsense: nonsensical decisions, which %GMEM_TRIP_LIMIT limits
 * @pools: what it wants pools to have; changed by it under the lock of the registry
 * @counters: counters as they are kept
 * @stats: their sums, made when a BPF iterator visits the policy
 * @rcu: frees it
 */
struct gmem_policy {
	const struct gmem_policy_ops *ops;
	u64 id;
	u32 map_id;
	u32 prog_id;
	struct bpf_link *link;
	struct list_head list;
	u64 gen;
	refcount_t refs;
	bool retired;
	bool tripped;
	bool detached;
	bool walked;
	char trip_reason[64];
	u64 attached_ns;
	u32 uid;
	u32 pid;
	char comm[16];
	u64 tag;
	atomic_t objects;
	atomic_t nonsense;
	struct gmem_pool_sizes pools;
	struct gmem_policy_stats __percpu *counters;
	struct gmem_policy_stats stats;
	struct rcu_head rcu;
};

/**
 * struct gmem_obj_stats - counters of an object; they only grow
 * @zeroed: bytes zeroed, by enum gmem_zeroed
 * @decisions: decisions taken by policies, shadows not counted
 * @fits: decisions that were fitted
 * @clamps: nonsensical decisions that were replaced
 * @faults: accesses that found no memory
 * @prealloc_asked: pages that policies asked to populate ahead
 * @prealloc_done: pages that were so allocated
 * @scrub_failed: pages that could not be scrubbed because something else referenced them
 * @quiet_joined: ranges for which a policy asked to be called again, and that wait together with
 *		  another one, for there were too many
 * @pool_misses: folios that were to come from a pool, which had none
 * @recycled: pages that went into a pool when they were freed
 * @fallbacks: folios that were smaller than what was decided and fitted
 * @splits: large folios that were split
 * @splits_failed: times that one could not be split, because something else held a reference
 * @holes_dropped: pages of holes that will not be freed before the file ends, or they are punched
 *		   again: they could not be split, and there was no room to remember them
 * @rebuilds: blocks that were made one folio again
 * @rebuilds_failed: times that this could not be done
 */
struct gmem_obj_stats {
	atomic64_t zeroed[GMEM_ZEROED_MAX];
	atomic64_t decisions;
	atomic64_t fits;
	atomic64_t clamps;
	atomic64_t faults;
	atomic64_t prealloc_asked;
	atomic64_t prealloc_done;
	atomic64_t scrub_failed;
	atomic64_t quiet_joined;
	atomic64_t pool_misses;
	atomic64_t recycled;
	atomic64_t fallbacks;
	atomic64_t splits;
	atomic64_t splits_failed;
	atomic64_t holes_dropped;
	atomic64_t rebuilds;
	atomic64_t rebuilds_failed;
};

/**
 * struct gmem_obj - guest memory as policies know it: one for each guest_memfd inode
 * @id: number of it, never used again on this boot
 * @size: bytes
 * @flags: enum gmem_obj_flags
 * @tgid: process that created it
 * @cgroup_id: id of @cgrp
 * @cgrp: cgroup that created it; held
 * @memcg: memory cgroup that created it, which pays for what is populated in the background; held
 * @mems_allowed: nodes that its creator was allowed; a decision for another is fitted
 * @asked_name: policy that the VMM named, or empty
 * @lock: serializes changes of @policy, @shadow and @mapping, and with them init and exit
 * @policy: the effective one, NULL for built in; read under RCU
 * @shadow: the one that is consulted beside it, or NULL
 * @leaving: policies that it has left, whose exit is still to be called; under @lock
 * @scope: why @policy is effective; under @lock
 * @cookie: of @policy
 * @shadow_cookie: of @shadow
 * @declined: ids of the policies whose init declined the object
 * @mapping: its page cache; NULL when it is being evicted. Written under @lock and @mapping_lock
 * @mapping_lock: keeps @mapping for readers that walk it
 * @module: the hypervisor's glue, pinned until gmem_obj_release()
 * @refs: references
 * @ahead_total: pages of background work since it was last idle
 * @ahead_done: pages of it that are done
 * @ahead_began: when it began, CLOCK_BOOTTIME ns
 * @stats: counters
 * @rcu: frees it
 */
struct gmem_obj {
	u64 id;
	u64 size;
	u32 flags;
	u32 tgid;
	u64 cgroup_id;
	struct cgroup *cgrp;
	struct mem_cgroup *memcg;
	nodemask_t mems_allowed;
	char asked_name[GMEM_POLICY_NAME_LEN];
	struct mutex lock; /* of policy, shadow and mapping */
	struct gmem_policy __rcu *policy;
	struct gmem_policy __rcu *shadow;
	struct gmem_policy *leaving[2];
	enum gmem_scope scope;
	u64 cookie;
	u64 shadow_cookie;
	struct xarray declined;
	struct address_space *mapping;
	struct mutex mapping_lock; /* of mapping, for readers */
	struct module *module;
	refcount_t refs;
	atomic64_t ahead_total;
	atomic64_t ahead_done;
	u64 ahead_began;
	/* Written to by all vCPUs, apart from what they all read. */
	struct gmem_obj_stats stats ____cacheline_aligned_in_smp;
	struct rcu_head rcu;
};

/**
 * struct gmem_obj_args - what gmem_obj_create() needs to know
 * @mapping: page cache of the inode
 * @size: bytes
 * @flags: enum gmem_obj_flags
 * @name: policy that the VMM names, or an empty string
 * @module: the caller's module
 */
struct gmem_obj_args {
	struct address_space *mapping;
	u64 size;
	u32 flags;
	const char *name;
	struct module *module;
};

/* Largest order that resident memory is reported by; larger folios count as this one. */
#define GMEM_ORDER_MAX		18

/**
 * struct gmem_resident - what of an object is in memory
 * @folios: folios by order
 * @bytes: all of them
 * @ready: bytes of them that are zeroed or written
 */
struct gmem_resident {
	u64 folios[GMEM_ORDER_MAX + 1];
	u64 bytes;
	u64 ready;
};

/**
 * struct gmem_obj_report - what the BPF iterator gmem_obj tells about an object beside the object
 * itself
 * @policy_id: the effective policy, 0 for built in
 * @shadow_id: the one that shadows it, or 0
 * @scope: enum gmem_scope
 * @policy: name of the effective policy, or "builtin"
 * @shadow: name of the one that shadows it, or empty
 * @resident: memory
 * @ahead_total: pages that background work on the object has been asked for since it was last idle
 * @ahead_done: pages of them that it has been through
 * @ahead_began: when it began with them, CLOCK_BOOTTIME ns
 */
struct gmem_obj_report {
	u64 policy_id;
	u64 shadow_id;
	u32 scope;
	char policy[GMEM_POLICY_NAME_LEN];
	char shadow[GMEM_POLICY_NAME_LEN];
	struct gmem_resident resident;
	u64 ahead_total;
	u64 ahead_done;
	u64 ahead_began;
};

/**
 * struct gmem_scrubbed - what scrubbing or recycling a range did
 * @zeroed: pages that were zeroed
 * @recycled: pages that went into a pool
 * @failed: pages that went as they were, because something else held a reference
 *
 * Pages that never were zeroed or written, and poisoned ones, are neither.
 */
struct gmem_scrubbed {
	u64 zeroed;
	u64 recycled;
	u64 failed;
};

/* The pools of a node: of the PMD's order, and of single pages. */
#define GMEM_POOLS_PER_NODE	2

/**
 * enum gmem_pool_action - what happens to a pool
 * @GMEM_POOL_FILL: its thread zeroed folios
 * @GMEM_POOL_TAKE: a folio was taken
 * @GMEM_POOL_RECYCLE: a folio came back to be zeroed
 * @GMEM_POOL_SHRINK: folios went because memory was short
 * @GMEM_POOL_DRAIN: folios went because less is wanted
 */
enum gmem_pool_action {
	GMEM_POOL_FILL,
	GMEM_POOL_TAKE,
	GMEM_POOL_RECYCLE,
	GMEM_POOL_SHRINK,
	GMEM_POOL_DRAIN,
};

/**
 * struct gmem_pool_stats - counters of a pool, folios; they only grow
 * @taken: folios that were taken
 * @returned: folios of them that were not used
 * @missed: times that one was wanted and there was none
 * @filled: folios that were allocated and zeroed for it
 * @recycled: folios that came back from a guest
 * @given_back: folios that went to the page allocator, for lack of memory or because less is wanted
 *
 * What has come in, @filled, @recycled and @returned, is what has left, @taken and @given_back, and
 * what is there.
 */
struct gmem_pool_stats {
	u64 taken;
	u64 returned;
	u64 missed;
	u64 filled;
	u64 recycled;
	u64 given_back;
};

/**
 * struct gmem_pool_report - what the BPF iterator gmem_pool tells about a pool
 * @nid: its node
 * @order: of its folios
 * @rate_mb: how fast it is filled, MiB/s; 0: no limit
 * @ready: folios that can be taken
 * @dirty: folios that are to be zeroed first
 * @low: fewer than so many make it filled
 * @high: so many it may have
 * @stats: counters
 */
struct gmem_pool_report {
	u32 nid;
	u32 order;
	u32 rate_mb;
	u64 ready;
	u64 dirty;
	u64 low;
	u64 high;
	struct gmem_pool_stats stats;
};

void gmem_count_resident(struct address_space *mapping, struct gmem_resident *res);
void gmem_keep_bad(struct folio *folio);
void gmem_keep_all_bad(struct address_space *mapping);
void gmem_remove_range(struct address_space *mapping, pgoff_t start, pgoff_t end);
bool gmem_remove_zeroes(struct address_space *mapping, pgoff_t start, pgoff_t end);
int gmem_split_at(struct address_space *mapping, pgoff_t index, bool wait, int *order);
struct gmem_pieces *gmem_collapse_begin(struct folio *folio, gfp_t gfp);
void gmem_collapse_end(struct gmem_pieces *pieces);
int gmem_collapse(struct address_space *mapping, struct folio *folio, pgoff_t index,
		  unsigned long max_holes, struct gmem_pieces *pieces, unsigned long *holes);

#ifdef CONFIG_GMEM_BPF
extern struct bpf_struct_ops bpf_gmem_policy_ops;
DECLARE_STATIC_KEY_FALSE(gmem_policy_key);

/* True while any policy is loaded: the only cost of policies on a host that has none. */
static __always_inline bool gmem_policy_enabled(void)
{
	return static_branch_unlikely(&gmem_policy_key);
}

struct gmem_obj *gmem_obj_create(const struct gmem_obj_args *args);
void gmem_obj_retire(struct gmem_obj *obj);
void gmem_obj_release(struct gmem_obj *obj);
void gmem_obj_put(struct gmem_obj *obj);
struct gmem_obj *gmem_obj_next(u64 *id);

void gmem_policy_put(struct gmem_policy *policy);
struct gmem_policy *gmem_policy_get_effective(struct gmem_obj *obj);
struct gmem_policy *gmem_policy_next(u64 *id);
void gmem_policy_trip(struct gmem_policy *policy, const struct gmem_obj *obj, const char *reason);

bool gmem_wants_order(struct gmem_obj *obj);
bool gmem_still_decides(struct gmem_obj *obj, u64 id);
bool gmem_only_asks(struct gmem_obj *obj, u64 id);

/**
 * gmem_decide_alloc - ask the policies about a folio that is missing
 * @obj: the object
 * @ctx: what it is about, with the built-in decisions; those of the effective policy replace them,
 *	 and are clamped and fitted. Those of a shadow are counted and traced only
 *
 * Context: process context; does not sleep.
 * Return: the id of the policy that decided, 0 if none did. It may be gone by now
 */
u64 gmem_decide_alloc(struct gmem_obj *obj, struct gmem_alloc_ctx *ctx);

/**
 * gmem_decide_prealloc - ask the policies what to populate ahead
 * @obj: the object
 * @ctx: what it is about, with the built-in decisions; those of the effective policy replace them,
 *	 and are clamped and fitted. Those of a shadow are counted and traced only
 *
 * Context: process context; does not sleep.
 * Return: the id of the policy that decided, 0 if none did. It may be gone by now
 */
u64 gmem_decide_prealloc(struct gmem_obj *obj, struct gmem_prealloc_ctx *ctx);

/**
 * gmem_decide_convert - tell the policies of memory that was converted, or became quiet
 * @obj: the object
 * @ctx: what it is about, with the built-in decisions; those of the effective policy replace them,
 *	 and are clamped and fitted. Those of a shadow are counted and traced only
 *
 * Context: process context; does not sleep.
 * Return: the id of the policy that decided, 0 if none did. It may be gone by now
 */
u64 gmem_decide_convert(struct gmem_obj *obj, struct gmem_convert_ctx *ctx);

/**
 * gmem_decide_free - ask the policies about memory that is about to leave
 * @obj: the object
 * @ctx: what it is about, with the built-in decisions; those of the effective policy replace them,
 *	 and are clamped and fitted. Those of a shadow are counted and traced only
 *
 * Context: process context; does not sleep.
 * Return: the id of the policy that decided, 0 if none did. It may be gone by now
 */
u64 gmem_decide_free(struct gmem_obj *obj, struct gmem_free_ctx *ctx);

int gmem_call_init(struct gmem_obj *obj, struct gmem_policy *policy, u64 *cookie);
void gmem_call_exit(struct gmem_obj *obj, struct gmem_policy *policy, u64 *cookie);
void gmem_obj_report(struct gmem_obj *obj, struct gmem_obj_report *report);
void gmem_obj_resident(struct gmem_obj *obj, struct gmem_resident *res);

int gmem_policy_want_pools(const struct gmem_policy_ops *ops, u32 small_mb, u32 large_mb);

void gmem_drain_lru(void);
u64 gmem_scrub_range(struct address_space *mapping, pgoff_t start, pgoff_t end,
		     enum gmem_free_mode mode, bool last, struct gmem_scrubbed *scrubbed);

struct folio *gmem_pool_take(int nid, unsigned int order);
void gmem_pool_return(struct folio *folio);
int gmem_pool_recycle(struct folio *folio);
void gmem_pool_resize(const struct gmem_pool_sizes *sizes);
bool gmem_pool_report(u64 *pos, struct gmem_pool_report *report);

struct mem_cgroup *gmem_obj_memcg(struct gmem_obj *obj);
bool gmem_obj_memory_short(struct gmem_obj *obj);
#endif /* CONFIG_GMEM_BPF */

#endif /* _LINUX_GMEM_POLICY_H */
