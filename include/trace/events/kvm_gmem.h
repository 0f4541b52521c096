/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracepoints of guest_memfd. Names and fields are stable: see
 * Documentation/virt/kvm/gmem/tracepoints.rst, which says when each fires.
 *
 * They are instantiated in vmlinux (virt/lib/gmem_trace.c), so that those of the policy core and
 * those of kvm.ko are one set, and stay when CONFIG_GMEM_BPF is off. In all of them
 *   id    is the guest memory object (its inode number if CONFIG_GMEM_BPF is off; 0 if there is
 *         none)
 *   tgid  is the process of the VM, in the initial pid namespace
 *   index and nr are pages of the file, gfn and nr are guest frames
 *   ns    is a duration in ns, 0 if the tracepoint was enabled after it began
 *   ret   is 0 or a negative errno
 * but for kvm_gmem_pool: pools are of the host, and have neither id nor tgid.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM kvm_gmem

#if !defined(_TRACE_KVM_GMEM_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_KVM_GMEM_H

#include <linux/gmem_policy.h>
#include <linux/tracepoint.h>

#define GMEM_WHY_NAMES \
	EM(GMEM_WHY_CREATE,		"create") \
	EM(GMEM_WHY_BIND,		"bind") \
	EM(GMEM_WHY_GUEST_FAULT,	"guest_fault") \
	EM(GMEM_WHY_HOST_FAULT,		"host_fault") \
	EM(GMEM_WHY_FALLOCATE,		"fallocate") \
	EM(GMEM_WHY_POPULATE,		"populate") \
	EM(GMEM_WHY_PREALLOC,		"prealloc") \
	EM(GMEM_WHY_CONVERT,		"convert") \
	EM(GMEM_WHY_QUIET,		"quiet") \
	EM(GMEM_WHY_PUNCH,		"punch") \
	EMe(GMEM_WHY_EVICT,		"evict")

#define GMEM_ZERO_NAMES \
	EM(GMEM_ZERO_FIRST_USE,		"first_use") \
	EM(GMEM_ZERO_ALLOC,		"alloc") \
	EMe(GMEM_ZERO_POOL,		"pool")

#define GMEM_ZEROED_NAMES \
	EM(GMEM_ZEROED_FIRST_USE,	"first_use") \
	EM(GMEM_ZEROED_ALLOC,		"alloc") \
	EM(GMEM_ZEROED_AHEAD,		"ahead") \
	EM(GMEM_ZEROED_FREE,		"free") \
	EMe(GMEM_ZEROED_POOL,		"pool")

#define GMEM_FREE_NAMES \
	EM(GMEM_FREE_GIVE_BACK,		"give_back") \
	EM(GMEM_FREE_SCRUB,		"scrub") \
	EMe(GMEM_FREE_RECYCLE,		"recycle")

#define GMEM_OP_NAMES \
	EM(GMEM_OP_ALLOC,		"alloc") \
	EM(GMEM_OP_PREALLOC,		"prealloc") \
	EM(GMEM_OP_CONVERT,		"convert") \
	EMe(GMEM_OP_FREE,		"free")

#define GMEM_POOL_ACTION_NAMES \
	EM(GMEM_POOL_FILL,		"fill") \
	EM(GMEM_POOL_TAKE,		"take") \
	EM(GMEM_POOL_RECYCLE,		"recycle") \
	EM(GMEM_POOL_SHRINK,		"shrink") \
	EMe(GMEM_POOL_DRAIN,		"drain")

#undef EM
#undef EMe
#define EM(a, b)	TRACE_DEFINE_ENUM(a);
#define EMe(a, b)	TRACE_DEFINE_ENUM(a);

GMEM_WHY_NAMES
GMEM_ZERO_NAMES
GMEM_ZEROED_NAMES
GMEM_FREE_NAMES
GMEM_OP_NAMES
GMEM_POOL_ACTION_NAMES

#undef EM
#undef EMe
#define EM(a, b)	{ a, b },
#define EMe(a, b)	{ a, b }

TRACE_EVENT(kvm_gmem_create,
	TP_PROTO(u64 id, u32 tgid, u64 size, u64 flags),
	TP_ARGS(id, tgid, size, flags),

	TP_STRUCT__entry(
		__field(u64, id)
		__field(u32, tgid)
		__field(u64, size)
		__field(u64, flags)
	),

	TP_fast_assign(
		__entry->id = id;
		__entry->tgid = tgid;
		__entry->size = size;
		__entry->flags = flags;
	),

	TP_printk("id=%llu tgid=%u size=%llu flags=0x%llx",
		  __entry->id, __entry->tgid, __entry->size, __entry->flags)
);

/* The file of a VM is closed; the memory itself leaves with kvm_gmem_free. */
TRACE_EVENT(kvm_gmem_release,
	TP_PROTO(u64 id, u32 tgid),
	TP_ARGS(id, tgid),

	TP_STRUCT__entry(
		__field(u64, id)
		__field(u32, tgid)
	),

	TP_fast_assign(
		__entry->id = id;
		__entry->tgid = tgid;
	),

	TP_printk("id=%llu tgid=%u", __entry->id, __entry->tgid)
);

DECLARE_EVENT_CLASS(kvm_gmem_binding,
	TP_PROTO(u64 id, u32 tgid, u32 slot, u64 gfn, u64 index, u64 nr),
	TP_ARGS(id, tgid, slot, gfn, index, nr),

	TP_STRUCT__entry(
		__field(u64, id)
		__field(u32, tgid)
		__field(u32, slot)
		__field(u64, gfn)
		__field(u64, index)
		__field(u64, nr)
	),

	TP_fast_assign(
		__entry->id = id;
		__entry->tgid = tgid;
		__entry->slot = slot;
		__entry->gfn = gfn;
		__entry->index = index;
		__entry->nr = nr;
	),

	TP_printk("id=%llu tgid=%u slot=%u gfn=0x%llx index=%llu nr=%llu",
		  __entry->id, __entry->tgid, __entry->slot, __entry->gfn,
		  __entry->index, __entry->nr)
);

DEFINE_EVENT(kvm_gmem_binding, kvm_gmem_bind,
	TP_PROTO(u64 id, u32 tgid, u32 slot, u64 gfn, u64 index, u64 nr),
	TP_ARGS(id, tgid, slot, gfn, index, nr)
);

DEFINE_EVENT(kvm_gmem_binding, kvm_gmem_unbind,
	TP_PROTO(u64 id, u32 tgid, u32 slot, u64 gfn, u64 index, u64 nr),
	TP_ARGS(id, tgid, slot, gfn, index, nr)
);

/* Memory was missing and was allocated, or could not be. */
TRACE_EVENT(kvm_gmem_alloc,
	TP_PROTO(u64 id, u32 tgid, u64 index, u64 gfn, u32 why, u32 asked, u32 fitted, u32 order,
		 s32 node, u32 zero, int ret, u64 ns),
	TP_ARGS(id, tgid, index, gfn, why, asked, fitted, order, node, zero, ret, ns),

	TP_STRUCT__entry(
		__field(u64, id)
		__field(u32, tgid)
		__field(u64, index)
		__field(u64, gfn)
		__field(u32, why)
		__field(u32, asked)
		__field(u32, fitted)
		__field(u32, order)
		__field(s32, node)
		__field(u32, zero)
		__field(int, ret)
		__field(u64, ns)
	),

	TP_fast_assign(
		__entry->id = id;
		__entry->tgid = tgid;
		__entry->index = index;
		__entry->gfn = gfn;
		__entry->why = why;
		__entry->asked = asked;
		__entry->fitted = fitted;
		__entry->order = order;
		__entry->node = node;
		__entry->zero = zero;
		__entry->ret = ret;
		__entry->ns = ns;
	),

	TP_printk("id=%llu tgid=%u index=%llu gfn=0x%llx why=%s asked=%u fitted=%u order=%u node=%d zero=%s ret=%d ns=%llu",
		  __entry->id, __entry->tgid, __entry->index, __entry->gfn,
		  __print_symbolic(__entry->why, GMEM_WHY_NAMES),
		  __entry->asked, __entry->fitted, __entry->order, __entry->node,
		  __print_symbolic(__entry->zero, GMEM_ZERO_NAMES),
		  __entry->ret, __entry->ns)
);

TRACE_EVENT(kvm_gmem_zero,
	TP_PROTO(u64 id, u32 tgid, u64 index, u64 nr, u32 when, u64 ns),
	TP_ARGS(id, tgid, index, nr, when, ns),

	TP_STRUCT__entry(
		__field(u64, id)
		__field(u32, tgid)
		__field(u64, index)
		__field(u64, nr)
		__field(u32, when)
		__field(u64, ns)
	),

	TP_fast_assign(
		__entry->id = id;
		__entry->tgid = tgid;
		__entry->index = index;
		__entry->nr = nr;
		__entry->when = when;
		__entry->ns = ns;
	),

	TP_printk("id=%llu tgid=%u index=%llu nr=%llu when=%s ns=%llu",
		  __entry->id, __entry->tgid, __entry->index, __entry->nr,
		  __print_symbolic(__entry->when, GMEM_ZEROED_NAMES), __entry->ns)
);

/* A range leaves its object: pages of nr that were there are freed, failed of them not scrubbed. */
TRACE_EVENT(kvm_gmem_free,
	TP_PROTO(u64 id, u32 tgid, u64 index, u64 nr, u32 why, u32 mode, u64 pages, u64 failed,
		 u64 ns),
	TP_ARGS(id, tgid, index, nr, why, mode, pages, failed, ns),

	TP_STRUCT__entry(
		__field(u64, id)
		__field(u32, tgid)
		__field(u64, index)
		__field(u64, nr)
		__field(u32, why)
		__field(u32, mode)
		__field(u64, pages)
		__field(u64, failed)
		__field(u64, ns)
	),

	TP_fast_assign(
		__entry->id = id;
		__entry->tgid = tgid;
		__entry->index = index;
		__entry->nr = nr;
		__entry->why = why;
		__entry->mode = mode;
		__entry->pages = pages;
		__entry->failed = failed;
		__entry->ns = ns;
	),

	TP_printk("id=%llu tgid=%u index=%llu nr=%llu why=%s mode=%s pages=%llu failed=%llu ns=%llu",
		  __entry->id, __entry->tgid, __entry->index, __entry->nr,
		  __print_symbolic(__entry->why, GMEM_WHY_NAMES),
		  __print_symbolic(__entry->mode, GMEM_FREE_NAMES),
		  __entry->pages, __entry->failed, __entry->ns)
);

/*
 * An x86 fault on guest_memfd memory was resolved; ret is the MMU's RET_PF_* or a negative errno.
 */
TRACE_EVENT(kvm_gmem_fault,
	TP_PROTO(u64 id, u32 tgid, u32 vcpu, u64 gfn, u64 index, u32 order, u32 level,
		 bool allocated, bool private, bool prefetch, int ret, u64 ns),
	TP_ARGS(id, tgid, vcpu, gfn, index, order, level, allocated, private, prefetch, ret, ns),

	TP_STRUCT__entry(
		__field(u64, id)
		__field(u32, tgid)
		__field(u32, vcpu)
		__field(u64, gfn)
		__field(u64, index)
		__field(u32, order)
		__field(u32, level)
		__field(bool, allocated)
		__field(bool, private)
		__field(bool, prefetch)
		__field(int, ret)
		__field(u64, ns)
	),

	TP_fast_assign(
		__entry->id = id;
		__entry->tgid = tgid;
		__entry->vcpu = vcpu;
		__entry->gfn = gfn;
		__entry->index = index;
		__entry->order = order;
		__entry->level = level;
		__entry->allocated = allocated;
		__entry->private = private;
		__entry->prefetch = prefetch;
		__entry->ret = ret;
		__entry->ns = ns;
	),

	TP_printk("id=%llu tgid=%u vcpu=%u gfn=0x%llx index=%llu order=%u level=%u allocated=%d private=%d prefetch=%d ret=%d ns=%llu",
		  __entry->id, __entry->tgid, __entry->vcpu, __entry->gfn, __entry->index,
		  __entry->order, __entry->level, __entry->allocated, __entry->private,
		  __entry->prefetch, __entry->ret, __entry->ns)
);

/*
 * What a policy wanted populated ahead is done, or was given up: done of nr pages were allocated.
 */
TRACE_EVENT(kvm_gmem_prealloc,
	TP_PROTO(u64 id, u32 tgid, u64 index, u64 nr, u32 why, bool background, u64 done, int ret,
		 u64 ns),
	TP_ARGS(id, tgid, index, nr, why, background, done, ret, ns),

	TP_STRUCT__entry(
		__field(u64, id)
		__field(u32, tgid)
		__field(u64, index)
		__field(u64, nr)
		__field(u32, why)
		__field(bool, background)
		__field(u64, done)
		__field(int, ret)
		__field(u64, ns)
	),

	TP_fast_assign(
		__entry->id = id;
		__entry->tgid = tgid;
		__entry->index = index;
		__entry->nr = nr;
		__entry->why = why;
		__entry->background = background;
		__entry->done = done;
		__entry->ret = ret;
		__entry->ns = ns;
	),

	TP_printk("id=%llu tgid=%u index=%llu nr=%llu why=%s background=%d done=%llu ret=%d ns=%llu",
		  __entry->id, __entry->tgid, __entry->index, __entry->nr,
		  __print_symbolic(__entry->why, GMEM_WHY_NAMES),
		  __entry->background, __entry->done, __entry->ret, __entry->ns)
);

DECLARE_EVENT_CLASS(kvm_gmem_range,
	TP_PROTO(u64 id, u32 tgid, u64 index, u64 nr, int ret, u64 ns),
	TP_ARGS(id, tgid, index, nr, ret, ns),

	TP_STRUCT__entry(
		__field(u64, id)
		__field(u32, tgid)
		__field(u64, index)
		__field(u64, nr)
		__field(int, ret)
		__field(u64, ns)
	),

	TP_fast_assign(
		__entry->id = id;
		__entry->tgid = tgid;
		__entry->index = index;
		__entry->nr = nr;
		__entry->ret = ret;
		__entry->ns = ns;
	),

	TP_printk("id=%llu tgid=%u index=%llu nr=%llu ret=%d ns=%llu",
		  __entry->id, __entry->tgid, __entry->index, __entry->nr,
		  __entry->ret, __entry->ns)
);

/* fallocate() without FALLOC_FL_PUNCH_HOLE ended. */
DEFINE_EVENT(kvm_gmem_range, kvm_gmem_fallocate,
	TP_PROTO(u64 id, u32 tgid, u64 index, u64 nr, int ret, u64 ns),
	TP_ARGS(id, tgid, index, nr, ret, ns)
);

/* fallocate(FALLOC_FL_PUNCH_HOLE) ended. */
DEFINE_EVENT(kvm_gmem_range, kvm_gmem_punch_hole,
	TP_PROTO(u64 id, u32 tgid, u64 index, u64 nr, int ret, u64 ns),
	TP_ARGS(id, tgid, index, nr, ret, ns)
);

/* Stage-2 mappings of a range were removed in one VM; ret is 1 if that took a TLB flush. */
DEFINE_EVENT(kvm_gmem_range, kvm_gmem_invalidate,
	TP_PROTO(u64 id, u32 tgid, u64 index, u64 nr, int ret, u64 ns),
	TP_ARGS(id, tgid, index, nr, ret, ns)
);

/* The hardware reported memory of the range as bad. */
DEFINE_EVENT(kvm_gmem_range, kvm_gmem_error,
	TP_PROTO(u64 id, u32 tgid, u64 index, u64 nr, int ret, u64 ns),
	TP_ARGS(id, tgid, index, nr, ret, ns)
);

/* A large folio was split so that one begins at index, or (ret) could not be. */
TRACE_EVENT(kvm_gmem_split,
	TP_PROTO(u64 id, u32 tgid, u64 index, u32 order, u32 why, int ret, u64 ns),
	TP_ARGS(id, tgid, index, order, why, ret, ns),

	TP_STRUCT__entry(
		__field(u64, id)
		__field(u32, tgid)
		__field(u64, index)
		__field(u32, order)
		__field(u32, why)
		__field(int, ret)
		__field(u64, ns)
	),

	TP_fast_assign(
		__entry->id = id;
		__entry->tgid = tgid;
		__entry->index = index;
		__entry->order = order;
		__entry->why = why;
		__entry->ret = ret;
		__entry->ns = ns;
	),

	TP_printk("id=%llu tgid=%u index=%llu order=%u why=%s ret=%d ns=%llu",
		  __entry->id, __entry->tgid, __entry->index, __entry->order,
		  __print_symbolic(__entry->why, GMEM_WHY_NAMES),
		  __entry->ret, __entry->ns)
);

/* Small folios from index on were made one of order again, or (ret) could not be. */
TRACE_EVENT(kvm_gmem_collapse,
	TP_PROTO(u64 id, u32 tgid, u64 index, u32 order, u64 holes, u32 why, int ret, u64 ns),
	TP_ARGS(id, tgid, index, order, holes, why, ret, ns),

	TP_STRUCT__entry(
		__field(u64, id)
		__field(u32, tgid)
		__field(u64, index)
		__field(u32, order)
		__field(u64, holes)
		__field(u32, why)
		__field(int, ret)
		__field(u64, ns)
	),

	TP_fast_assign(
		__entry->id = id;
		__entry->tgid = tgid;
		__entry->index = index;
		__entry->order = order;
		__entry->holes = holes;
		__entry->why = why;
		__entry->ret = ret;
		__entry->ns = ns;
	),

	TP_printk("id=%llu tgid=%u index=%llu order=%u holes=%llu why=%s ret=%d ns=%llu",
		  __entry->id, __entry->tgid, __entry->index, __entry->order, __entry->holes,
		  __print_symbolic(__entry->why, GMEM_WHY_NAMES),
		  __entry->ret, __entry->ns)
);

/* KVM_SET_MEMORY_ATTRIBUTES begins: slots_lock is held, after waiting wait_ns for it. */
TRACE_EVENT(kvm_gmem_convert_begin,
	TP_PROTO(u64 id, u32 tgid, u64 gfn, u64 nr, u64 attributes, u64 wait_ns),
	TP_ARGS(id, tgid, gfn, nr, attributes, wait_ns),

	TP_STRUCT__entry(
		__field(u64, id)
		__field(u32, tgid)
		__field(u64, gfn)
		__field(u64, nr)
		__field(u64, attributes)
		__field(u64, wait_ns)
	),

	TP_fast_assign(
		__entry->id = id;
		__entry->tgid = tgid;
		__entry->gfn = gfn;
		__entry->nr = nr;
		__entry->attributes = attributes;
		__entry->wait_ns = wait_ns;
	),

	TP_printk("id=%llu tgid=%u gfn=0x%llx nr=%llu attributes=0x%llx wait_ns=%llu",
		  __entry->id, __entry->tgid, __entry->gfn, __entry->nr,
		  __entry->attributes, __entry->wait_ns)
);

/* KVM_SET_MEMORY_ATTRIBUTES ends: ns since its begin, zap_ns of them spent zapping and flushing. */
TRACE_EVENT(kvm_gmem_convert_end,
	TP_PROTO(u64 id, u32 tgid, u64 gfn, u64 nr, u64 attributes, bool changed, int ret,
		 u64 zap_ns, u64 ns),
	TP_ARGS(id, tgid, gfn, nr, attributes, changed, ret, zap_ns, ns),

	TP_STRUCT__entry(
		__field(u64, id)
		__field(u32, tgid)
		__field(u64, gfn)
		__field(u64, nr)
		__field(u64, attributes)
		__field(bool, changed)
		__field(int, ret)
		__field(u64, zap_ns)
		__field(u64, ns)
	),

	TP_fast_assign(
		__entry->id = id;
		__entry->tgid = tgid;
		__entry->gfn = gfn;
		__entry->nr = nr;
		__entry->attributes = attributes;
		__entry->changed = changed;
		__entry->ret = ret;
		__entry->zap_ns = zap_ns;
		__entry->ns = ns;
	),

	TP_printk("id=%llu tgid=%u gfn=0x%llx nr=%llu attributes=0x%llx changed=%d ret=%d zap_ns=%llu ns=%llu",
		  __entry->id, __entry->tgid, __entry->gfn, __entry->nr, __entry->attributes,
		  __entry->changed, __entry->ret, __entry->zap_ns, __entry->ns)
);

/*
 * A vCPU leaves to its VMM to have a range converted: KVM_EXIT_MEMORY_FAULT, or
 * KVM_HC_MAP_GPA_RANGE.
 */
TRACE_EVENT(kvm_gmem_convert_request,
	TP_PROTO(u64 id, u32 tgid, u32 vcpu, u64 gfn, u64 nr, bool to_private, bool hypercall),
	TP_ARGS(id, tgid, vcpu, gfn, nr, to_private, hypercall),

	TP_STRUCT__entry(
		__field(u64, id)
		__field(u32, tgid)
		__field(u32, vcpu)
		__field(u64, gfn)
		__field(u64, nr)
		__field(bool, to_private)
		__field(bool, hypercall)
	),

	TP_fast_assign(
		__entry->id = id;
		__entry->tgid = tgid;
		__entry->vcpu = vcpu;
		__entry->gfn = gfn;
		__entry->nr = nr;
		__entry->to_private = to_private;
		__entry->hypercall = hypercall;
	),

	TP_printk("id=%llu tgid=%u vcpu=%u gfn=0x%llx nr=%llu to_private=%d hypercall=%d",
		  __entry->id, __entry->tgid, __entry->vcpu, __entry->gfn, __entry->nr,
		  __entry->to_private, __entry->hypercall)
);

/*
 * Policies. An attach or detach with id 0 is that of the policy itself, by the process tgid; one
 * with an id is that of an object that comes under the policy or leaves it.
 */
TRACE_EVENT(kvm_gmem_policy_attach,
	TP_PROTO(u64 id, u32 tgid, const char *name, u64 policy, u64 cgroup_id, u32 flags, u32 uid,
		 const char *comm, u64 tag),
	TP_ARGS(id, tgid, name, policy, cgroup_id, flags, uid, comm, tag),

	TP_STRUCT__entry(
		__field(u64, id)
		__field(u32, tgid)
		__string(name, name)
		__field(u64, policy)
		__field(u64, cgroup_id)
		__field(u32, flags)
		__field(u32, uid)
		__string(comm, comm)
		__field(u64, tag)
	),

	TP_fast_assign(
		__entry->id = id;
		__entry->tgid = tgid;
		__assign_str(name);
		__entry->policy = policy;
		__entry->cgroup_id = cgroup_id;
		__entry->flags = flags;
		__entry->uid = uid;
		__assign_str(comm);
		__entry->tag = tag;
	),

	TP_printk("id=%llu tgid=%u name=%s policy=%llu cgroup_id=%llu flags=0x%x uid=%u comm=%s tag=%016llx",
		  __entry->id, __entry->tgid, __get_str(name), __entry->policy,
		  __entry->cgroup_id, __entry->flags, __entry->uid, __get_str(comm), __entry->tag)
);

DECLARE_EVENT_CLASS(kvm_gmem_policy_end,
	TP_PROTO(u64 id, u32 tgid, const char *name, u64 policy, const char *reason),
	TP_ARGS(id, tgid, name, policy, reason),

	TP_STRUCT__entry(
		__field(u64, id)
		__field(u32, tgid)
		__string(name, name)
		__field(u64, policy)
		__string(reason, reason)
	),

	TP_fast_assign(
		__entry->id = id;
		__entry->tgid = tgid;
		__assign_str(name);
		__entry->policy = policy;
		__assign_str(reason);
	),

	TP_printk("id=%llu tgid=%u name=%s policy=%llu reason=\"%s\"",
		  __entry->id, __entry->tgid, __get_str(name), __entry->policy, __get_str(reason))
);

DEFINE_EVENT(kvm_gmem_policy_end, kvm_gmem_policy_detach,
	TP_PROTO(u64 id, u32 tgid, const char *name, u64 policy, const char *reason),
	TP_ARGS(id, tgid, name, policy, reason)
);

/* A policy was disabled for its nonsensical decisions; id and tgid are those of the last one. */
DEFINE_EVENT(kvm_gmem_policy_end, kvm_gmem_policy_trip,
	TP_PROTO(u64 id, u32 tgid, const char *name, u64 policy, const char *reason),
	TP_ARGS(id, tgid, name, policy, reason)
);

/*
 * A policy decided. a and b are the decision as it is carried out (for a shadow: would be):
 *	alloc		a: order		b: enum gmem_zero
 *	prealloc	a: enum gmem_how	b: pages
 *	convert		a: enum gmem_how	b: quiet_ms
 *	free		a: enum gmem_free_mode	b: 0
 */
TRACE_EVENT(kvm_gmem_policy_decision,
	TP_PROTO(u64 id, u32 tgid, const char *name, u32 op, u32 why, u64 index, u64 nr, u64 a,
		 u64 b, bool fitted, bool clamped, bool shadow),
	TP_ARGS(id, tgid, name, op, why, index, nr, a, b, fitted, clamped, shadow),

	TP_STRUCT__entry(
		__field(u64, id)
		__field(u32, tgid)
		__string(name, name)
		__field(u32, op)
		__field(u32, why)
		__field(u64, index)
		__field(u64, nr)
		__field(u64, a)
		__field(u64, b)
		__field(bool, fitted)
		__field(bool, clamped)
		__field(bool, shadow)
	),

	TP_fast_assign(
		__entry->id = id;
		__entry->tgid = tgid;
		__assign_str(name);
		__entry->op = op;
		__entry->why = why;
		__entry->index = index;
		__entry->nr = nr;
		__entry->a = a;
		__entry->b = b;
		__entry->fitted = fitted;
		__entry->clamped = clamped;
		__entry->shadow = shadow;
	),

	TP_printk("id=%llu tgid=%u name=%s op=%s why=%s index=%llu nr=%llu a=%llu b=%llu fitted=%d clamped=%d shadow=%d",
		  __entry->id, __entry->tgid, __get_str(name),
		  __print_symbolic(__entry->op, GMEM_OP_NAMES),
		  __print_symbolic(__entry->why, GMEM_WHY_NAMES),
		  __entry->index, __entry->nr, __entry->a, __entry->b,
		  __entry->fitted, __entry->clamped, __entry->shadow)
);

/*
 * Something happened to a pool of zeroed folios of a node: to nr of its pages, which leaves ready
 * pages that can be taken.
 */
TRACE_EVENT(kvm_gmem_pool,
	TP_PROTO(int node, u32 order, u32 action, u64 nr, u64 ready, u64 ns),
	TP_ARGS(node, order, action, nr, ready, ns),

	TP_STRUCT__entry(
		__field(int, node)
		__field(u32, order)
		__field(u32, action)
		__field(u64, nr)
		__field(u64, ready)
		__field(u64, ns)
	),

	TP_fast_assign(
		__entry->node = node;
		__entry->order = order;
		__entry->action = action;
		__entry->nr = nr;
		__entry->ready = ready;
		__entry->ns = ns;
	),

	TP_printk("node=%d order=%u action=%s nr=%llu ready=%llu ns=%llu",
		  __entry->node, __entry->order,
		  __print_symbolic(__entry->action, GMEM_POOL_ACTION_NAMES),
		  __entry->nr, __entry->ready, __entry->ns)
);

#undef EM
#undef EMe

#endif /* _TRACE_KVM_GMEM_H */

#include <trace/define_trace.h>
