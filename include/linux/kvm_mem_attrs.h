/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_MEM_ATTRS_H
#define __KVM_MEM_ATTRS_H

#include <linux/rbtree.h>
#include <linux/seqlock.h>

struct kvm_mem_range;

/**
 * struct kvm_mem_attrs - attributes of guest memory, stored by range
 * @ranges: struct kvm_mem_range, none where memory has no attributes
 * @lock: between a change of @ranges and its readers, who try without it first
 *
 * Ranges that touch have different attributes, except while one is being set, so
 * that memory and time go by how often attributes change from one page to the next,
 * and not by how many pages there are.  Where they change with every page or two,
 * this takes more memory than a word for each page would.
 *
 * Writers hold a lock of the user's, which may sleep.  Readers hold none, but may
 * wait for a writer: they must not run in an interrupt.  While a
 * range is being set, a reader gets the old or the new attributes for each of its
 * pages, and the right ones for all others.
 *
 * Nothing here knows of VMs: an index is whatever the user says it is.
 */
struct kvm_mem_attrs {
	struct rb_root ranges;
	seqlock_t lock;
};

/**
 * struct kvm_mem_attrs_update - attributes that are about to be set
 * @first: first page
 * @last: last page
 * @attrs: the attributes that all of them get
 * @left: the range that begins before @first and reaches it, or ends just there; or NULL
 * @set: memory for the range that gets @attrs, if it is not @left that grows
 * @rest: memory for the part of @left behind @last, if there is one
 */
struct kvm_mem_attrs_update {
	unsigned long first;
	unsigned long last;
	unsigned long attrs;
	struct kvm_mem_range *left;
	struct kvm_mem_range *set;
	struct kvm_mem_range *rest;
};

void kvm_mem_attrs_init(struct kvm_mem_attrs *mem);
void kvm_mem_attrs_destroy(struct kvm_mem_attrs *mem);
unsigned long kvm_mem_attrs_get(struct kvm_mem_attrs *mem, unsigned long index);
bool kvm_mem_attrs_range_has(struct kvm_mem_attrs *mem, unsigned long start, unsigned long end,
			     unsigned long mask, unsigned long attrs);
int kvm_mem_attrs_reserve(struct kvm_mem_attrs *mem, struct kvm_mem_attrs_update *update,
			  unsigned long start, unsigned long end, unsigned long attrs);
void kvm_mem_attrs_commit(struct kvm_mem_attrs *mem, struct kvm_mem_attrs_update *update);

#endif /* __KVM_MEM_ATTRS_H */
