/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the BPF programs of gmem-trace and its user space have in common. */
#ifndef __GMEM_TRACE_H
#define __GMEM_TRACE_H

/*
 * Histograms: each power of two is divided into 8 buckets, values below 8 have one each. Whoever
 * takes the harmonic mean of a bucket's limits for any value in it is wrong by less than 6 %:
 * (9/8 - 1) / (9/8 + 1) = 1/17. The last bucket takes what is longer than 2^40 ns, 18 minutes.
 */
#define HIST_SUB_BITS	3
#define HIST_SUBS	(1 << HIST_SUB_BITS)
#define HIST_TOP_BIT	39
#define HIST_BUCKETS	((HIST_TOP_BIT - HIST_SUB_BITS + 2) * HIST_SUBS)

struct hist {
	__u64 count;		/* user space's: the sum of the buckets */
	__u64 sum;
	__u64 max;
	__u64 bucket[HIST_BUCKETS];
};

enum phase {
	PHASE_EXIT,	/* from the hardware's exit to the return of KVM_RUN */
	PHASE_THINK,	/* the VMM's own time until it calls the ioctl */
	PHASE_WAIT,	/* for slots_lock */
	PHASE_ZAP,	/* unmap, flush */
	PHASE_STORE,	/* the rest of the ioctl: attributes */
	PHASE_PUNCH,	/* punched or populated by the VMM's thread meanwhile */
	PHASE_BACK,	/* the rest until the guest runs again */
	PHASE_TOTAL,	/* sum of those before */
	PHASE_FAULT,	/* handling the first fault on what became private */
	NR_PHASES,
};

/* Classes of range sizes: pages from 2^n. Classes of vCPUs at once: up to 2^n. */
#define NR_SIZES	20
#define NR_CROWDS	11

struct cost {
	__u64 count;
	__u64 pages;
	__u64 ns;
	__u64 wait_ns;
	__u64 hist;		/* where the latencies are, if they are wanted; 0: nowhere */
};

#define MAX_COST_HISTS	4096	/* of all VMs; the first is not used */

struct direction {
	__u64 conversions;
	__u64 pages;
	struct hist phase[NR_PHASES];
	struct cost by_size[NR_SIZES];
	struct cost by_crowd[NR_CROWDS];
};

#define MAX_VMS		224	/* that are traced at the same time: top stays below 64 MiB */

/* Of one VM. All counters only grow, but converting. */
struct vm_stats {
	__u64 seen_ns;		/* the first time */
	__u64 hypercalls;	/* requests by hypercall */
	__u64 faults;		/* requests by memory fault */
	__u64 noops;		/* ioctls that changed nothing */
	__u64 failed;
	__u64 joined;		/* conversions with the request that they answer */
	__u64 unasked;		/* conversions with none */
	__u64 unanswered;	/* requests whose vCPU came back without a conversion */
	__u64 partial;		/* conversions that had begun when tracing began */
	__s64 converting;	/* now: vCPUs that wait for one, and unasked ones */
	char comm[16];
	struct direction dir[2];	/* to shared, to private */
};

/* What a latency is counted by, besides the VM. */
enum series_kind {
	SERIES_FAULT,	/* a: order, b: level, c: FAULT_*, d: enum fault_source */
	SERIES_ZERO,	/* a: enum gmem_zeroed */
	SERIES_ALLOC,	/* a: why, b: order asked, c: fitted, d: got, e: zero */
	SERIES_ALLOC_FAILED,	/* a: why */
	SERIES_FREE,	/* a: why, b: mode */
	SERIES_AHEAD,	/* a: why, b: background */
	SERIES_SPLIT,	/* a: order, b: whether it failed */
	SERIES_COLLAPSE,	/* a: order, b: whether it failed, c: why */
};

#define FAULT_ALLOCATED	1
#define FAULT_PRIVATE	2
#define FAULT_PREFETCH	4
#define FAULT_RACED	8
#define FAULT_FAILED	16

/*
 * Where the content of the memory that a fault maps comes from. Those after SOURCE_FOUND are enum
 * gmem_zero, in its order; NR_SOURCES is for what is not known, or not mapped.
 */
enum fault_source {
	SOURCE_FOUND,		/* it was there, zeroed or written */
	SOURCE_FIRST_USE,	/* the fault zeroed it as it mapped it, whoever allocated it */
	SOURCE_ALLOC,		/* the fault zeroed it as it allocated it */
	SOURCE_POOL,		/* the fault got it from a pool */
	NR_SOURCES,
};

struct series_key {
	__u32 tgid;
	__s32 node;
	__u8 kind;
	__u8 a, b, c, d, e;
	__u8 pad[2];
};

struct series {
	__u64 pages;
	struct hist ns;
};

#define NAME_LEN	32
#define REASON_LEN	64

struct decision_key {
	char name[NAME_LEN];
	__u32 tgid;
	__u8 op;
	__u8 shadow;
	__u8 pad[2];
};

struct decisions {
	__u64 count;
	__u64 fitted;
	__u64 clamped;
};

/* What could not be counted or told, since the programs were loaded. */
struct losses {
	__u64 dropped;		/* events that the ring buffer had no room for */
	__u64 vms_full;		/* events of VMs beyond the size of the map */
	__u64 series_full;	/* the same of series, decisions, and latencies of a cost */
	__u64 threads_full;	/* events of threads for which there was no memory */
};

enum event_type {
	EV_CREATE,
	EV_RELEASE,
	EV_BIND,
	EV_UNBIND,
	EV_ALLOC,
	EV_ZERO,
	EV_FREE,
	EV_FAULT,
	EV_PREALLOC,
	EV_FALLOCATE,
	EV_PUNCH_HOLE,
	EV_INVALIDATE,
	EV_ERROR,
	EV_SPLIT,
	EV_COLLAPSE,
	EV_CONVERT_BEGIN,
	EV_CONVERT_END,
	EV_CONVERT_REQUEST,
	EV_POLICY_ATTACH,
	EV_POLICY_DETACH,
	EV_POLICY_TRIP,
	EV_POLICY_DECISION,
	EV_CONVERSION,		/* joined from those, when the vCPU is back */
	EV_FIRST_FAULT,		/* of what a conversion made private */
	EV_POOL,		/* of the host: neither id nor tgid */
	NR_EVENTS,
};

/* Of the ring buffer; the fields of each type are in events.c, in this order. */
#define EVENT_WORDS	20

struct event {
	__u64 ns;
	__u64 id;
	__u32 tgid;
	__u32 tid;
	__u16 type;
	__u16 words;
	__u32 cpu;
	__u64 v[];
};

#endif /* __GMEM_TRACE_H */
