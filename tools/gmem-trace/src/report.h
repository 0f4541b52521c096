/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a recording tells, ready to be drawn. */
#ifndef __GMEM_TRACE_REPORT_H
#define __GMEM_TRACE_REPORT_H

#include "gmem-trace.h"
#include "recfile.h"

#define MAX_REPORT_VMS	64
#define MAX_LANES	256
#define NR_BINS		240	/* of time */
#define NR_WORST	20
#define NR_HEAT_ROWS	(2 * 32)

/* The phases that are drawn: all that make up the total. */
#define NR_DRAWN	PHASE_TOTAL

/* What is told apart of faults: where the memory comes from, as far as it is known. */
enum {
	FAULTS_ALLOCATED = NR_SOURCES,
	FAULTS_OTHER,
	NR_FAULTS,
};

struct report_vm {
	__u32 tgid;
	char name[REC_NAME_LEN];
	struct vm_stats stats;
	struct hist faults[NR_FAULTS];
	struct hist zero[NR_ZEROED];
	__u64 zero_pages[NR_ZEROED];
	__u64 private[NR_BINS], shared[NR_BINS];	/* at the end of each bin */
	bool has_private[NR_BINS], has_shared[NR_BINS];
};

struct lane {
	__u32 tgid;
	__u32 vcpu;
	__u64 conversions;
	__u64 ns[NR_BINS][NR_DRAWN];
};

struct worst {
	__u64 ns;		/* when it was over */
	__u32 tgid;
	__u64 v[19];		/* as of EV_CONVERSION */
};

struct report {
	const char *file;
	__u64 wall_ns;		/* when it began */
	__u64 start, end;	/* clock of events */
	__u64 records;
	__u64 events[NR_EVENTS];
	bool unfinished;
	struct rec_losses losses;
	struct report_vm *vms[MAX_REPORT_VMS];
	int nr_vms;
	__u64 other_vms;	/* events of VMs for which there is no room */
	struct lane *lanes[MAX_LANES];
	int nr_lanes;
	__u64 other_lanes;	/* conversions of vCPUs for which there is no room */
	__u32 heat[NR_BINS][NR_HEAT_ROWS];
	__u64 faults[NR_BINS][NR_FAULTS];
	__u64 zeroed[NR_BINS][NR_ZEROED];
	struct worst worst[NR_WORST];
	int nr_worst;
};

/* Fields of EV_CONVERSION */
enum {
	CV_VCPU,
	CV_GFN,
	CV_NR,
	CV_TO_PRIVATE,
	CV_ASKED,
	CV_HYPERCALL,
	CV_CROWD,
	CV_EXIT_CLOCK,
	CV_END_CLOCK,
	CV_PHASE,		/* of each, up to PHASE_TOTAL */
	CV_TOTAL = CV_PHASE + PHASE_TOTAL,
	CV_ASKED_GFN,
	CV_ASKED_NR,
	CV_WORDS,
};

extern const char *const fault_names[NR_FAULTS];

const char *report_losses(const struct report *r);
const char *report_vm_name(const struct report *r, __u32 tgid);
int write_html(const struct report *r, FILE *f);
int write_svg(const struct report *r, FILE *f);

#endif /* __GMEM_TRACE_REPORT_H */
