/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* gmem-trace: what its parts have in common. */
#ifndef __GMEM_TRACE_TOOL_H
#define __GMEM_TRACE_TOOL_H

#include "gmem-lib.h"
#include "gmem_trace.h"

#define NSEC_PER_SEC	1000000000ULL
#define PAGE_BYTES	4096ULL

enum format {
	FORMAT_HTML,
	FORMAT_TEXT,
	FORMAT_SVG,
	FORMAT_PERFETTO,
};

struct options {
	bool json;
	bool verbose;
	bool timestamp;
	bool once;
	double interval;	/* seconds; 0: one report at the end */
	__u64 count;		/* of reports; 0: no end */
	double duration;	/* seconds; 0: until a signal */
	__u32 pid;		/* 0: all */
	const char *vm;
	const char *cgroup;	/* below the mount of cgroup2, with a slash */
	const char *event;
	__u64 slower_ns;
	__u64 number;		/* of events; 0: no end */
	const char *file;	/* a recording */
	const char *output;
	enum format format;
	const char *listen;
	const char *textfile;
	__u64 max_vms;		/* with labels of their own; 0: as many as by default */
};

extern struct options opt;

/* What a command needs of the kernel. */
struct needs {
	const char *const *programs;	/* names, or beginnings of names that end with '*' */
	const char *const *events;	/* tracepoints without which there is nothing to show */
	bool vms;
	bool cost_latencies;	/* of each class of sizes and of vCPUs at once */
	bool series;
	bool free_latencies;	/* of what is freed, in its series */
	bool decisions;
	__u32 ring;		/* bytes of the ring buffer; 0: no events */
};

/* out.c: values for people, reports */
const char *fmt_ns(__u64 ns);
const char *fmt_count(__u64 n);

json_object *json_report(const char *command, __u64 interval_ns);
void json_line(json_object *root);
void print_time(void);

void *xalloc(size_t size);
long file_size(const char *path);

/* hist.c */
__u64 hist_low(unsigned int bucket);
__u64 hist_high(unsigned int bucket);
__u64 hist_percentile(const struct hist *h, unsigned int per_mille);
void hist_add_value(struct hist *h, __u64 value);
void hist_subtract(struct hist *h, const struct hist *earlier);
void hist_add_all(struct hist *sum, const struct hist *h);
json_object *hist_json(const struct hist *h);

/* tracer.c: the programs in the kernel */
int tracer_open(const struct needs *needs, __u32 emit);
void tracer_close(void);
int fail_load(int err);
int tracer_vm_list(__u32 **tgids);
int tracer_vm(__u32 tgid, struct vm_stats *vm);
int tracer_take_vm(__u32 tgid, struct vm_stats *vm);
int tracer_cost_hist(const struct cost *cost, struct hist *h);
int tracer_series(struct series_key **keys, struct series **values);
int tracer_take_series(const struct series_key *key, struct series *value);
int tracer_decisions(struct decision_key **keys, struct decisions **values);
int tracer_take_decisions(const struct decision_key *key, struct decisions *value);
typedef int (*event_fn)(const struct event *e);
int tracer_poll(int timeout_ms, event_fn fn);
int tracer_fd(void);
void tracer_losses(struct losses *losses);
const char *tracer_lacks(unsigned int i);

/* Names are whatever somebody chose; those who read them have a terminal. */
static inline void make_printable(char *s)
{
	for (; *s; s++) {
		if ((unsigned char)*s < ' ' || *s == 127)
			*s = '?';
	}
}

/* vms.c: who they are */
struct vm_info {
	__u32 tgid;
	bool wanted;		/* by -p, --vm, --cgroup */
	bool gone;
	char name[64];
	char comm[16];
	char cgroup[256];
};

bool name_matches(const char *name, __u32 tgid);
const struct vm_info *vm_info(__u32 tgid, const char *comm);
void vms_refresh(void);
void vms_forget(__u32 tgid);
__u64 vms_unknown(void);
const char *vm_title(const struct vm_info *vm);
void vm_json(json_object *o, const struct vm_info *vm);
void vms_print_unknown(void);
json_object *losses_json(void);
const char *losses_text(void);
void print_losses(void);
json_object *lacks_json(void);
void print_lacks(void);

/* memory.c: memory of all VMs, once */
struct memory_use {
	bool private_known;
	bool shared_known;
	__u64 private_size;
	__u64 private;
	__u64 shared_size;
	__u64 shared;
	__u64 doubly_min;	/* if both are known */
	__u64 doubly_max;
};

typedef void (*memory_fn)(const struct vm_info *vm, const struct memory_use *use);
int memory_open(void);
void memory_close(void);
int memory_sample(memory_fn fn);
void memory_known(bool *private, bool *shared);
typedef void (*pool_fn)(__u32 node, __u32 order, __u64 ready, __u64 dirty);
void memory_pools(pool_fn fn);

/* loop.c: reports, one each interval */
typedef void (*report_fn)(__u64 interval_ns);
int run_reports(const char *what, report_fn fn, event_fn events);
void watch_fd(int fd, void (*fn)(void));
void catch_signal(int sig);
void catch_signals(void);
void stop_now(void);
bool stopped(void);
void nap(__u64 when);
int ms_until(__u64 when);
__u64 now_ns(void);

/* conversions.c */
extern const char *const phase_names[NR_PHASES];
extern const char *const dir_names[2];
void print_vm_stats(const char *title, const struct vm_stats *vm, __u64 interval_ns, bool live);
json_object *conversions_json(__u64 interval_ns);
__u64 crowd_from(int i);
typedef void (*vm_fn)(__u32 tgid, const struct vm_stats *all, const struct vm_stats *since);
void conversions_look(void);
void conversions_since(vm_fn fn);
void cost_hist_since(const struct cost *cost, struct hist *h);

/* series.c */
typedef void (*series_fn)(const struct series_key *key, const struct series *all,
			  const struct series *since);
void series_since(series_fn fn);

/* events.c */
extern const char *const why_names[];
extern const char *const zero_names[];
extern const char *const zeroed_names[];
extern const char *const free_names[];
extern const char *const source_names[];
extern const char *const op_names[];
int show_event(const struct event *e);
void choose_policy_events(void);
const char *word(const char *const *names, unsigned int nr, __u64 value);

#define NR_WHY		11
#define NR_ZERO		3
#define NR_ZEROED	4	/* pools zero for nobody yet, and have an event of their own */
#define NR_FREE		3
#define NR_OPS		4
#define NR_POOL		5

/* The commands: each returns an exit code, or -1 after fail(). */
int cmd_conversions(void);
int cmd_top(void);
int cmd_faults(void);
int cmd_zero(void);
int cmd_alloc(void);
int cmd_policy(void);
int cmd_events(void);
int cmd_export(void);
int cmd_memory(void);
int cmd_record(void);
int cmd_report(void);

#endif /* __GMEM_TRACE_TOOL_H */
