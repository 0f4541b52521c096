/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The records that the iterators of memory.bpf.c write. */
#ifndef __GMEM_TRACE_MEMORY_H
#define __GMEM_TRACE_MEMORY_H

#define MEM_ORDERS	19

struct mem_obj {
	__u64 id;
	__u64 size;
	__u64 resident;
	__u64 ready;		/* zeroed or written */
	__u64 folios[MEM_ORDERS];
	__u32 tgid;
	__u32 pad;
};

/* A memslot that has both guest_memfd and memory of the VMM behind it. */
struct mem_slot {
	__u64 vm;		/* the same for all memslots of a VM */
	__u64 gfn;
	__u64 pages;
	__u64 hva;
};

/* A pool of zeroed folios, of a node of the host. */
struct mem_pool {
	__u64 ready;		/* folios */
	__u64 dirty;		/* to be zeroed first */
	__u64 high;		/* so many it may have */
	__u32 node;
	__u32 order;
};

#endif /* __GMEM_TRACE_MEMORY_H */
