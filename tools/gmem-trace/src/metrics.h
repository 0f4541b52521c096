/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What gmem-trace export counts, for the host and for each VM that has a label of its own. */
#ifndef __GMEM_TRACE_METRICS_H
#define __GMEM_TRACE_METRICS_H

#include "gmem-trace.h"

/*
 * Histograms as Prometheus has them. Bounds are the last nanosecond below each power of two, from
 * 1 us to 17 s: a value that is equal to a bound belongs below it, and the buckets in the kernel
 * are cut there, so that nothing has to be estimated.
 */
#define LE_FIRST_BIT	10
#define LE_LAST_BIT	34
#define NR_LE		(LE_LAST_BIT - LE_FIRST_BIT + 1)

struct histogram {
	__u64 sum_ns;
	__u64 bucket[NR_LE + 1];	/* not cumulative; the last is beyond all bounds */
};

enum access {
	ACCESS_SHARED,
	ACCESS_PRIVATE,
	ACCESS_PREFAULT,
	NR_ACCESS,
};

enum fault_result {
	RESULT_FOUND,
	RESULT_ALLOCATED,
	RESULT_RACED,
	RESULT_FAILED,
	NR_RESULTS,
};

enum alloc_outcome {
	ALLOC_AS_ASKED,
	ALLOC_FITTED,
	ALLOC_FELL_BACK,
	NR_OUTCOMES,
};

/* Phases that add up to the whole. */
#define NR_PARTS	PHASE_TOTAL

#define NR_ORDERS	19

/*
 * Of a VM, or of all that ever were. All of these only grow. Where a newer kernel may have more
 * words than we know, the last place is for those.
 */
struct vm_counts {
	__u64 conversions[2];
	__u64 converted_pages[2];
	struct histogram conversion[2];
	__u64 phase_ns[2][NR_PARTS];
	__u64 requests[2];		/* by memory fault, by hypercall */
	__u64 unanswered;
	__u64 unasked;
	__u64 partial;
	__u64 noops;
	__u64 failed;
	__u64 faults[NR_ACCESS][NR_RESULTS];
	__u64 fault_sources[NR_SOURCES + 1];
	__u64 zeroed_pages[NR_ZEROED + 1];
	__u64 allocated_pages;
	__u64 freed_pages[NR_FREE + 1];
	__u64 alloc_failed;
};

/* What is told of the host only: it would be too much for each VM. */
struct host_counts {
	struct vm_counts all;
	struct histogram phase[2][NR_PARTS];
	struct histogram first_fault;
	__u64 size_conversions[2][NR_SIZES];
	__u64 size_pages[2][NR_SIZES];
	__u64 size_ns[2][NR_SIZES];
	__u64 crowd_conversions[2][NR_CROWDS];
	__u64 crowd_pages[2][NR_CROWDS];
	__u64 crowd_ns[2][NR_CROWDS];
	__u64 crowd_lock_ns[2][NR_CROWDS];
	struct histogram fault[NR_ACCESS][NR_RESULTS];
	struct histogram zero[NR_ZEROED + 1];
	struct histogram alloc[NR_ORDERS];
	__u64 allocs[NR_WHY + 1][NR_OUTCOMES];
	__u64 populated_pages[2];	/* now, in the background */
	__u64 splits[2];		/* done, failed */
	__u64 collapses[2];
};

/* What is so now. */
struct gauges {
	__u64 processes;
	__s64 converting;
	__u64 private;
	__u64 shared;
	__u64 doubly_min;
	__u64 doubly_max;
	bool private_known;
	bool shared_known;
};

struct policy_counts {
	__u64 decisions[NR_OPS + 1][2];	/* effective, shadow */
	__u64 fitted[NR_OPS + 1][2];
	__u64 clamped[NR_OPS + 1][2];
	__u64 attached;
	__u64 detached;
	__u64 tripped;
};

/* Of the host's pools of zeroed memory: each node and order */
struct pool_gauge {
	__u32 node;
	__u32 order;
	__u64 ready;
	__u64 dirty;
};

#define MAX_POOL_GAUGES	256

struct labelled_vm {
	const char *label;
	const struct vm_counts *counts;
	const struct gauges *now;
};

struct labelled_policy {
	const char *label;
	const struct policy_counts *counts;
};

#define MAX_LABELS	513	/* "other" is one */
#define MAX_POLICIES	65

/* All that is exported, as of now. What it points to is valid until metrics are looked at again. */
struct metrics {
	const struct host_counts *host;
	struct gauges now;
	struct labelled_vm vms[MAX_LABELS];
	int nr_vms;
	struct labelled_policy policies[MAX_POLICIES];
	int nr_policies;
	struct pool_gauge pools[MAX_POOL_GAUGES];
	int nr_pools;
	struct losses losses;
	__u64 unknown_vms;
	__u64 start_time;		/* seconds since 1970 */
	__u64 textfile_errors;
};

/* counts.c: adding what the kernel has counted */
void count_conversions(struct vm_counts *c, const struct vm_stats *vm);
void count_conversions_of_host(struct host_counts *c, const struct vm_stats *vm);
void count_series(struct vm_counts *c, const struct series_key *key, const struct series *s);
void count_series_of_host(struct host_counts *c, const struct series_key *key,
			  const struct series *s);
void count_decisions(struct policy_counts *c, const struct decision_key *key,
		     const struct decisions *d);

/* metrics.c: of whom, and for how long */
void metrics_begin(unsigned int max_labels);
int metrics_event(const struct event *e);
void metrics_look(void);
void metrics_memory(void);
void metrics_collect(struct metrics *m);

/* expose.c: the text, in one of two formats */
char *expose(const struct metrics *m, bool openmetrics, size_t *len);
extern const char *const openmetrics_type, *const classic_type;

/* http.c: the server; it asks @text for what it sends, to be freed */
typedef char *(*text_fn)(bool openmetrics, size_t *len);
bool http_address_valid(const char *address);
bool http_wants_openmetrics(const char *accept);
int http_open(const char *address);
const char *http_url(void);
int http_start(text_fn text);
void http_run(void);
void http_close(void);

#endif /* __GMEM_TRACE_METRICS_H */
