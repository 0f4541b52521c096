/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What guest_memfd and KVM call to be observed and programmed.
 *
 *   gmem_folio.c	allocate and zero folios, with or without a policy
 *   gmem_convert.c	tracepoints and policies around KVM_SET_MEMORY_ATTRIBUTES, and of exits that
 *			ask for it
 *   gmem_bpf.c		the policy's object behind an inode: create, free, show
 *   gmem_populate.c	memory that a policy wants before it is used
 *   gmem_large.c	large folios: which fit, how they are mapped, split and made again
 */
#ifndef __KVM_GMEM_BPF_H__
#define __KVM_GMEM_BPF_H__

#include <linux/gmem_policy.h>
#include <linux/kvm_host.h>
#include <linux/pagemap.h>
#include <linux/timekeeping.h>

#include "guest_memfd.h"

struct gmem_inode;
struct module;
struct seq_file;

/**
 * struct kvm_gmem_place - where a VM's thread may allocate, and would
 * @node: the node it runs on
 * @nodes: those of its cpuset, and of its memory policy if that binds it
 */
struct kvm_gmem_place {
	int node;
	nodemask_t nodes;
};

/**
 * struct kvm_gmem_access - why a folio is looked up
 * @why: what needs it
 * @gfn: guest frame that it is for, %GMEM_NO_GFN if not known
 * @kvm: the VM that it is for, if @slot is known
 * @slot: the memslot that it is for, or NULL
 * @place: where to allocate, for a worker, which is no part of the VM; NULL: as current is to
 * @only_present: do not allocate it
 * @allocated: set if it was not there and was allocated
 * @pooled: set if that came from a pool, zeroed
 * @map_gfn: set if a policy wants more mapped for the vCPU that faulted: the first guest frame
 * @map_nr: and how many of them; 0 for none
 */
struct kvm_gmem_access {
	enum gmem_why why;
	gfn_t gfn;
	struct kvm *kvm;
	const struct kvm_memory_slot *slot;
	const struct kvm_gmem_place *place;
	bool only_present;
	bool allocated;
	bool pooled;
	gfn_t map_gfn;
	u64 map_nr;
};

/**
 * struct kvm_gmem_conversion - one KVM_SET_MEMORY_ATTRIBUTES
 * @start: first gfn
 * @end: gfn after the last
 * @attributes: to set
 * @changed: were not all set already
 * @wait: when waiting for slots_lock began; this and what follows are 0 unless it is traced
 * @begin: when slots_lock was got
 * @zap: when zapping began; then how long it took, ns
 */
struct kvm_gmem_conversion {
	gfn_t start;
	gfn_t end;
	unsigned long attributes;
	bool changed;
	u64 wait;
	u64 begin;
	u64 zap;
};

/* Clocks of tracepoints: read only while somebody looks. */
#define kvm_gmem_clock(event)	(trace_##event##_enabled() ? ktime_get_ns() : 0)

static inline u64 kvm_gmem_since(u64 start)
{
	return start ? ktime_get_ns() - start : 0;
}

#ifdef CONFIG_KVM_GUEST_MEMFD
/* guest_memfd.c */
struct folio *kvm_gmem_get_folio(struct inode *inode, pgoff_t index,
				 struct kvm_gmem_access *access);
bool kvm_gmem_file_of(struct file *file, struct kvm *kvm);
void kvm_gmem_invalidate_start(struct inode *inode, pgoff_t start, pgoff_t end);
void kvm_gmem_invalidate_end(struct inode *inode, pgoff_t start, pgoff_t end);

/* gmem_folio.c */
u64 kvm_gmem_id(struct inode *inode);
struct folio *kvm_gmem_new_folio(struct inode *inode, pgoff_t index, unsigned int order, gfp_t gfp,
				 int node, const struct kvm_gmem_place *place);
struct folio *kvm_gmem_alloc_folio(struct inode *inode, pgoff_t index,
				   struct kvm_gmem_access *access);
void kvm_gmem_zero_folio(struct inode *inode, struct folio *folio, enum gmem_zeroed when);
#endif /* CONFIG_KVM_GUEST_MEMFD */

#ifdef CONFIG_KVM_GENERIC_MEMORY_ATTRIBUTES
/* gmem_convert.c */
void kvm_gmem_convert_wait(struct kvm_gmem_conversion *conv);
void kvm_gmem_convert_begin(struct kvm *kvm, struct kvm_gmem_conversion *conv);
void kvm_gmem_convert_zap(struct kvm_gmem_conversion *conv);
void kvm_gmem_convert_zapped(struct kvm_gmem_conversion *conv);
void kvm_gmem_convert_end(struct kvm *kvm, struct kvm_gmem_conversion *conv, int ret);
void kvm_gmem_vcpu_exit(struct kvm_vcpu *vcpu, int ret);
#else
static inline void kvm_gmem_vcpu_exit(struct kvm_vcpu *vcpu, int ret) {}
#endif /* CONFIG_KVM_GENERIC_MEMORY_ATTRIBUTES */

#ifdef CONFIG_GMEM_BPF
static inline void kvm_gmem_bpf_init(struct gmem_inode *gi)
{
	gi->obj = NULL;
	gi->ahead = NULL;
	gi->large = NULL;
}

/* Pages of a block: what KVM can map at once, and the largest folio. */
#define GMEM_BLOCK_PAGES	(PMD_SIZE >> PAGE_SHIFT)

/* Large folios are worth one try, and smaller ones instead of them none that would reclaim. */
static inline gfp_t kvm_gmem_large_gfp(gfp_t gfp, unsigned int order, unsigned int first)
{
	if (!order)
		return gfp;
	gfp |= __GFP_NORETRY | __GFP_NOWARN;
	return order < first ? gfp & ~__GFP_DIRECT_RECLAIM : gfp;
}

/* Can there be large folios? */
static inline bool kvm_gmem_may_be_large(struct inode *inode)
{
	/* Pairs with the release in kvm_gmem_large_enable(). */
	return smp_load_acquire(&GMEM_I(inode)->large);
}

/* What has to be invalidated if [@start, @end) is taken away. */
static inline void kvm_gmem_widen(struct inode *inode, pgoff_t *start, pgoff_t *end)
{
	if (kvm_gmem_may_be_large(inode)) {
		*start = round_down(*start, GMEM_BLOCK_PAGES);
		*end = round_up(*end, GMEM_BLOCK_PAGES);
	}
}

/* What is left of an inode that is evicted is given back, but for large folios with a bad page. */
static inline void kvm_gmem_keep_bad(struct inode *inode)
{
	if (kvm_gmem_may_be_large(inode))
		gmem_keep_all_bad(inode->i_mapping);
}

/* Count bytes that were zeroed. */
static inline void kvm_gmem_bpf_zeroed(struct inode *inode, u64 bytes, enum gmem_zeroed when)
{
	atomic64_add(bytes, &GMEM_I(inode)->obj->stats.zeroed[when]);
}

/* Count a folio that should have come from a pool. */
static inline void kvm_gmem_pool_missed(struct inode *inode)
{
	atomic64_inc(&GMEM_I(inode)->obj->stats.pool_misses);
}

/* Count a folio that was smaller than it should have been. */
static inline void kvm_gmem_fell_back(struct inode *inode)
{
	atomic64_inc(&GMEM_I(inode)->obj->stats.fallbacks);
}

/* gmem_bpf.c */
int kvm_gmem_bpf_create(struct kvm *kvm, struct inode *inode, const char *name,
			struct module *module);
void kvm_gmem_bpf_evict(struct inode *inode);
void kvm_gmem_bpf_free(struct inode *inode);
void kvm_gmem_bpf_show(struct inode *inode, struct seq_file *m);
void kvm_gmem_decide_alloc(struct inode *inode, pgoff_t index, const struct kvm_gmem_access *access,
			   struct gmem_alloc_ctx *ctx);
u32 kvm_gmem_decide_free(struct inode *inode, pgoff_t start, pgoff_t end, enum gmem_why why);
u64 kvm_gmem_scrub(struct inode *inode, pgoff_t start, pgoff_t end, u32 mode);

/* gmem_large.c */
struct kvm_gmem_large;

unsigned int kvm_gmem_max_order(struct inode *inode, pgoff_t index,
				const struct kvm_gmem_access *access);
unsigned int kvm_gmem_large_order(struct inode *inode, unsigned int order);
int kvm_gmem_mapping_order(const struct kvm_memory_slot *slot, struct folio *folio, pgoff_t index);
u64 kvm_gmem_remove(struct inode *inode, pgoff_t start, pgoff_t end, u32 mode);
void kvm_gmem_large_keep(struct inode *inode, pgoff_t start, pgoff_t end);
void kvm_gmem_rebuild(struct inode *inode, pgoff_t start, pgoff_t end, u32 max_holes,
		      enum gmem_why why, u64 policy_id);
void kvm_gmem_large_stop(struct inode *inode);
void kvm_gmem_large_evict(struct inode *inode);
void kvm_gmem_large_free(struct inode *inode);

/* gmem_populate.c */
struct kvm_gmem_ahead;

extern struct workqueue_struct *kvm_gmem_wq;

int kvm_gmem_populate_init(void);
void kvm_gmem_populate_exit(void);
struct kvm_gmem_ahead *kvm_gmem_ahead_create(struct inode *inode);
void kvm_gmem_ahead_stop(struct inode *inode);
void kvm_gmem_ahead_evict(struct inode *inode);
void kvm_gmem_ahead_free(struct kvm_gmem_ahead *ahead);
void kvm_gmem_ahead_cancel(struct inode *inode, pgoff_t start, pgoff_t end);
void __kvm_gmem_prealloc(struct inode *inode, enum gmem_why why, pgoff_t start, u64 nr,
			 struct kvm_gmem_access *access);
void kvm_gmem_bound(struct kvm *kvm, const struct kvm_userspace_memory_region2 *mem);
void kvm_gmem_converted(struct inode *inode, pgoff_t start, u64 nr, gfn_t gfn, bool to_private);

/* Something happened to [@start, @start + @nr): does the policy want it populated? */
static inline void kvm_gmem_prealloc(struct inode *inode, enum gmem_why why, pgoff_t start, u64 nr)
{
	__kvm_gmem_prealloc(inode, why, start, nr, NULL);
}

/* A lookup found nothing and allocated: does the policy want more around it? */
static inline void kvm_gmem_missed(struct inode *inode, pgoff_t index,
				   struct kvm_gmem_access *access)
{
	if (gmem_policy_enabled() && access->allocated)
		__kvm_gmem_prealloc(inode, access->why, index, 1, access);
}
#else
static inline bool gmem_policy_enabled(void)
{
	return false;
}

static inline void kvm_gmem_bpf_init(struct gmem_inode *gi) {}

static inline int kvm_gmem_bpf_create(struct kvm *kvm, struct inode *inode, const char *name,
				      struct module *module)
{
	return 0;
}

static inline void kvm_gmem_bpf_evict(struct inode *inode) {}
static inline void kvm_gmem_bpf_free(struct inode *inode) {}
static inline void kvm_gmem_bpf_show(struct inode *inode, struct seq_file *m) {}
static inline void kvm_gmem_bpf_zeroed(struct inode *inode, u64 bytes, enum gmem_zeroed when) {}

static inline void kvm_gmem_decide_alloc(struct inode *inode, pgoff_t index,
					 const struct kvm_gmem_access *access,
					 struct gmem_alloc_ctx *ctx)
{
}

static inline u32 kvm_gmem_decide_free(struct inode *inode, pgoff_t start, pgoff_t end,
				       enum gmem_why why)
{
	return GMEM_FREE_GIVE_BACK;
}

static inline unsigned int kvm_gmem_max_order(struct inode *inode, pgoff_t index,
					      const struct kvm_gmem_access *access)
{
	return 0;
}

static inline unsigned int kvm_gmem_large_order(struct inode *inode, unsigned int order)
{
	return 0;
}

static inline gfp_t kvm_gmem_large_gfp(gfp_t gfp, unsigned int order, unsigned int first)
{
	return gfp;
}

static inline struct folio *gmem_pool_take(int nid, unsigned int order)
{
	return NULL;
}

static inline void gmem_pool_return(struct folio *folio) {}
static inline void kvm_gmem_pool_missed(struct inode *inode) {}
static inline void kvm_gmem_fell_back(struct inode *inode) {}
static inline void kvm_gmem_widen(struct inode *inode, pgoff_t *start, pgoff_t *end) {}

static inline int kvm_gmem_mapping_order(const struct kvm_memory_slot *slot, struct folio *folio,
					 pgoff_t index)
{
	return 0;
}

static inline u64 kvm_gmem_remove(struct inode *inode, pgoff_t start, pgoff_t end, u32 mode)
{
	truncate_inode_pages_range(inode->i_mapping, (loff_t)start << PAGE_SHIFT,
				   ((loff_t)end << PAGE_SHIFT) - 1);
	return 0;
}

static inline u64 kvm_gmem_scrub(struct inode *inode, pgoff_t start, pgoff_t end, u32 mode)
{
	return 0;
}

static inline int kvm_gmem_populate_init(void)
{
	return 0;
}

static inline void kvm_gmem_populate_exit(void) {}
static inline void kvm_gmem_large_keep(struct inode *inode, pgoff_t start, pgoff_t end) {}
static inline void kvm_gmem_large_stop(struct inode *inode) {}
static inline void kvm_gmem_large_evict(struct inode *inode) {}
static inline void kvm_gmem_keep_bad(struct inode *inode) {}
static inline void kvm_gmem_ahead_stop(struct inode *inode) {}
static inline void kvm_gmem_ahead_evict(struct inode *inode) {}
static inline void kvm_gmem_ahead_cancel(struct inode *inode, pgoff_t start, pgoff_t end) {}
static inline void kvm_gmem_prealloc(struct inode *inode, enum gmem_why why, pgoff_t start,
				     u64 nr) {}

static inline void kvm_gmem_bound(struct kvm *kvm,
				  const struct kvm_userspace_memory_region2 *mem) {}

static inline void kvm_gmem_converted(struct inode *inode, pgoff_t start, u64 nr, gfn_t gfn,
				      bool to_private)
{
}

static inline void kvm_gmem_missed(struct inode *inode, pgoff_t index,
				   struct kvm_gmem_access *access)
{
}
#endif /* CONFIG_GMEM_BPF */

#endif /* __KVM_GMEM_BPF_H__ */
