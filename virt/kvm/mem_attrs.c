// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attributes of guest memory, stored by range: see include/linux/kvm_mem_attrs.h.
 *
 * A range is set in two steps.  kvm_mem_attrs_reserve() may fail and changes
 * nothing; kvm_mem_attrs_commit() changes the attributes and cannot fail.
 * Between them the user does what has to be done before the attributes change,
 * and what could not be undone.
 *
 * An rbtree and not a maple tree, because a range is then one small object,
 * whatever is beside it: a conversion of one page costs little more among many
 * ranges than among none, and each object is charged to the memory cgroup,
 * which a maple tree does only where it takes one node at a time.
 *
 * Readers walk the tree under RCU, and if it has changed meanwhile once more with
 * the lock.  Each change is short and leaves the tree complete, so that readers
 * wait for one range, however many there are to set.
 */
#include <linux/kvm_mem_attrs.h>
#include <linux/kvm_types.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>

struct kvm_mem_range {
	struct rb_node node;
	unsigned long first;
	unsigned long last;
	unsigned long attrs;
	struct rcu_head rcu;
};

/**
 * kvm_mem_attrs_init - nothing has attributes
 * @mem: the attributes
 */
void kvm_mem_attrs_init(struct kvm_mem_attrs *mem)
{
	mem->ranges = RB_ROOT;
	seqlock_init(&mem->lock);
}

/**
 * kvm_mem_attrs_destroy - free the ranges
 * @mem: the attributes, which have no readers or writers any more
 */
void kvm_mem_attrs_destroy(struct kvm_mem_attrs *mem)
{
	struct kvm_mem_range *range, *next;

	rbtree_postorder_for_each_entry_safe(range, next, &mem->ranges, node) {
		kfree(range);
		cond_resched();
	}
	mem->ranges = RB_ROOT;
}

/* The first range that reaches or lies behind @index, or NULL. */
static struct kvm_mem_range *kvm_mem_range_from(const struct kvm_mem_attrs *mem,
						unsigned long index)
{
	struct rb_node *node = rcu_dereference_raw(mem->ranges.rb_node);
	struct kvm_mem_range *range, *found = NULL;

	while (node) {
		range = rb_entry(node, struct kvm_mem_range, node);
		if (index > READ_ONCE(range->last)) {
			node = rcu_dereference_raw(node->rb_right);
			continue;
		}
		found = range;
		if (index >= READ_ONCE(range->first))
			break;
		node = rcu_dereference_raw(node->rb_left);
	}
	return found;
}

static struct kvm_mem_range *kvm_mem_range_next(const struct kvm_mem_range *range)
{
	return rb_entry_safe(rb_next(&range->node), struct kvm_mem_range, node);
}

/**
 * kvm_mem_attrs_get - the attributes of one page
 * @mem: the attributes
 * @index: the page
 *
 * Context: any but hardirq, softirq and NMI, and not under a raw spinlock.
 * Return: its attributes, 0 if it has none.
 */
unsigned long kvm_mem_attrs_get(struct kvm_mem_attrs *mem, unsigned long index)
{
	struct kvm_mem_range *range;
	unsigned long attrs = 0;

	guard(rcu)();

	scoped_seqlock_read(&mem->lock, ss_lock) {
		range = kvm_mem_range_from(mem, index);
		attrs = range && READ_ONCE(range->first) <= index ? READ_ONCE(range->attrs) : 0;
	}
	return attrs;
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(kvm_mem_attrs_get);

static bool __kvm_mem_attrs_range_has(struct kvm_mem_attrs *mem, unsigned long index,
				      unsigned long last, unsigned long mask, unsigned long attrs)
{
	struct kvm_mem_range *range;
	unsigned long first;

	for (;;) {
		range = kvm_mem_range_from(mem, index);
		/* What is in no range has no attributes. */
		if (!range)
			return !attrs;
		first = READ_ONCE(range->first);
		if (first > last)
			return !attrs;
		if (first > index && attrs)
			return false;
		if ((READ_ONCE(range->attrs) & mask) != attrs)
			return false;
		index = READ_ONCE(range->last);
		if (index >= last)
			return true;
		index++;
	}
}

/**
 * kvm_mem_attrs_range_has - do all pages of a range have these attributes?
 * @mem: the attributes
 * @start: the range's first page
 * @end: the page after its last; the range is not empty
 * @mask: the attributes to look at
 * @attrs: what they have to be
 *
 * Context: as kvm_mem_attrs_get().
 * Return: true if the attributes in @mask are @attrs for all of the range.
 */
bool kvm_mem_attrs_range_has(struct kvm_mem_attrs *mem, unsigned long start, unsigned long end,
			     unsigned long mask, unsigned long attrs)
{
	bool has = false;

	guard(rcu)();

	scoped_seqlock_read(&mem->lock, ss_lock)
		has = __kvm_mem_attrs_range_has(mem, start, end - 1, mask, attrs);
	return has;
}

/**
 * kvm_mem_attrs_reserve - prepare to set the attributes of a range
 * @mem: the attributes
 * @update: to be given to kvm_mem_attrs_commit()
 * @start: the range's first page
 * @end: the page after its last; the range is not empty
 * @attrs: the attributes it is to get
 *
 * No attributes change. The caller holds the lock of writers until it has
 * called kvm_mem_attrs_commit(), which it must if this succeeds.
 *
 * Return: 0, or -ENOMEM.
 */
int kvm_mem_attrs_reserve(struct kvm_mem_attrs *mem, struct kvm_mem_attrs_update *update,
			  unsigned long start, unsigned long end, unsigned long attrs)
{
	struct kvm_mem_range *left = start ? kvm_mem_range_from(mem, start - 1) : NULL;
	bool grow;

	if (left && left->first >= start)
		left = NULL;
	grow = left && left->attrs == attrs;

	*update = (struct kvm_mem_attrs_update) {
		.first = start,
		.last = end - 1,
		.attrs = attrs,
		.left = left,
	};
	/*
	 * Zeroed, for readers that find a new range before what is written into
	 * it: they then see no children, and look once more.
	 */
	if (attrs && !grow) {
		update->set = kzalloc_obj(*update->set, GFP_KERNEL_ACCOUNT);
		if (!update->set)
			return -ENOMEM;
	}
	if (left && !grow && left->last > update->last) {
		update->rest = kzalloc_obj(*update->rest, GFP_KERNEL_ACCOUNT);
		if (!update->rest) {
			kfree(update->set);
			return -ENOMEM;
		}
	}
	return 0;
}

static void kvm_mem_range_insert(struct kvm_mem_attrs *mem, struct kvm_mem_range *range,
				 unsigned long first, unsigned long last, unsigned long attrs)
{
	struct rb_node **link = &mem->ranges.rb_node, *parent = NULL;

	range->first = first;
	range->last = last;
	range->attrs = attrs;

	while (*link) {
		parent = *link;
		if (first <= rb_entry(parent, struct kvm_mem_range, node)->first)
			link = &parent->rb_left;
		else
			link = &parent->rb_right;
	}
	rb_link_node_rcu(&range->node, parent, link);
	rb_insert_color(&range->node, &mem->ranges);
}

/* Where attributes that are set up to @last have to stop for now: before @next. */
static unsigned long kvm_mem_range_reach(const struct kvm_mem_range *next, unsigned long last)
{
	return next && next->first <= last ? next->first - 1 : last;
}

/*
 * Cut the range on the left, and begin the one that gets the attributes: it
 * takes what was cut and the gap behind it. Where there is neither, it is empty,
 * and stands before @next, until it takes that.
 *
 * Return: the range that gets the attributes; NULL if there are none to get.
 */
static struct kvm_mem_range *kvm_mem_attrs_begin(struct kvm_mem_attrs *mem,
						 const struct kvm_mem_attrs_update *update,
						 const struct kvm_mem_range *next)
{
	struct kvm_mem_range *left = update->left, *set = update->set;
	unsigned long reach = kvm_mem_range_reach(next, update->last);

	if (left && left->attrs == update->attrs) {
		WRITE_ONCE(left->last, max(left->last, reach));
		return left;
	}
	if (update->rest)
		kvm_mem_range_insert(mem, update->rest, update->last + 1, left->last, left->attrs);
	if (left)
		WRITE_ONCE(left->last, update->first - 1);
	if (set)
		kvm_mem_range_insert(mem, set, update->first, reach, update->attrs);
	return set;
}

/*
 * Have @set, if there is one, take what @range covers, and the gap behind it.
 *
 * Return: whether @range is not in the tree any more.
 */
static bool kvm_mem_attrs_take(struct kvm_mem_attrs *mem, struct kvm_mem_range *set,
			       struct kvm_mem_range *range, unsigned long last)
{
	unsigned long reach = last;
	bool gone = true;

	if (range->last <= last)
		reach = kvm_mem_range_reach(kvm_mem_range_next(range), last);
	else if (set && set->attrs == range->attrs)
		reach = range->last;
	else
		gone = false;

	if (gone)
		rb_erase(&range->node, &mem->ranges);
	else
		WRITE_ONCE(range->first, last + 1);
	if (set)
		WRITE_ONCE(set->last, reach);
	return gone;
}

/* Does @range begin where @set ends, with the same attributes? */
static bool kvm_mem_range_continues(const struct kvm_mem_range *set,
				    const struct kvm_mem_range *range)
{
	return set && range->first == set->last + 1 && range->attrs == set->attrs;
}

/**
 * kvm_mem_attrs_commit - set the attributes of a range
 * @mem: the attributes
 * @update: what kvm_mem_attrs_reserve() prepared
 *
 * From the left to the right, one of the ranges that were there at a time.
 */
void kvm_mem_attrs_commit(struct kvm_mem_attrs *mem, struct kvm_mem_attrs_update *update)
{
	struct kvm_mem_range *set, *range, *next;
	bool gone;

	range = update->left ? kvm_mem_range_next(update->left) :
			       kvm_mem_range_from(mem, update->first);

	write_seqlock(&mem->lock);
	set = kvm_mem_attrs_begin(mem, update, range);
	while (range && (range->first <= update->last || kvm_mem_range_continues(set, range))) {
		next = kvm_mem_range_next(range);
		gone = kvm_mem_attrs_take(mem, set, range, update->last);
		write_sequnlock(&mem->lock);

		if (gone)
			kfree_rcu(range, rcu);
		cond_resched();

		range = next;
		write_seqlock(&mem->lock);
	}
	write_sequnlock(&mem->lock);
}
