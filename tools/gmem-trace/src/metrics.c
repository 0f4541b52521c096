// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What gmem-trace export counts: for the host, and for a bounded number of VMs by their names.
 *
 * No counter may ever decrease, whatever VMs do. The kernel counts by process. When a process has
 * ended, what it counted is added to the sum of its label, and taken out of the kernel; a VM of the
 * same name that starts later goes on from there. Sums of the host have all VMs that ever were.
 *
 * Labels are limited. A VM gets one when it is first seen, if there is room, and keeps it; if there
 * is none, the label that has been without a VM for the longest makes room: it is shown no more,
 * but its sum is remembered, should it come back. A VM for which there is no room is part of
 * "other" as long as it lives: counters never move from one label to another, and look like new
 * events.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "metrics.h"

#define LOOK_NS		NSEC_PER_SEC
/* Memory may be freed, and background work done, for a while after a process has ended. */
#define GRACE_NS	(5 * NSEC_PER_SEC)
#define MAX_NAMES	4096
#define OTHER		"other"

struct name {
	char label[96];
	bool shown;
	unsigned int live;		/* processes */
	__u64 ended_ns;			/* when the last of them did */
	struct vm_counts ended;		/* sum of those that have */
	struct vm_counts total;		/* with those that live */
	struct gauges now;
};

struct process {
	__u32 tgid;
	struct name *name;		/* NULL: not wanted */
	__u64 gone_ns;			/* 0: it lives */
};

struct policy {
	char name[NAME_LEN + 1];
	struct policy_counts ended;
	struct policy_counts total;
};

static unsigned int max_shown, nr_shown;
static struct name other;
static struct name *names[MAX_NAMES];
static int nr_names;
static struct process *processes;
static int nr_processes;
static struct policy policies[MAX_POLICIES];
static int nr_policies;
static struct host_counts host_ended, host_total;
static struct gauges host_memory;
static struct pool_gauge pools[MAX_POOL_GAUGES];
static int nr_pools;
static __u64 start_time;

/* ---- Labels ---- */

static struct name *find_name(const char *label)
{
	int i;

	for (i = 0; i < nr_names; i++) {
		if (!strcmp(names[i]->label, label))
			return names[i];
	}
	return NULL;
}

/* Of the names without a VM, shown or not, the one that has been so for the longest. */
static struct name *longest_ended(bool shown)
{
	struct name *oldest = NULL;
	int i;

	for (i = 0; i < nr_names; i++) {
		if (names[i]->live || names[i]->shown != shown)
			continue;
		if (!oldest || names[i]->ended_ns < oldest->ended_ns)
			oldest = names[i];
	}
	return oldest;
}

static bool make_room(void)
{
	struct name *oldest;

	if (nr_shown < max_shown)
		return true;
	oldest = longest_ended(true);
	if (!oldest)
		return false;
	oldest->shown = false;
	nr_shown--;
	return true;
}

static struct name *new_name(const char *label)
{
	struct name *name;

	if (nr_names < MAX_NAMES) {
		name = xalloc(sizeof(*name));
		names[nr_names++] = name;
	} else {
		name = longest_ended(false);
		memset(name, 0, sizeof(*name));
	}
	snprintf(name->label, sizeof(name->label), "%s", label);
	return name;
}

/* Of its memory, nothing is known until somebody looks. */
static void forget_memory(struct name *name)
{
	name->now = (struct gauges) { };
}

/* Begin to sum up what it has counted. */
static void begin_total(struct name *name)
{
	name->total = name->ended;
	name->now.converting = 0;
	name->now.processes = 0;
}

/* The name that a VM with this label is counted as. */
static struct name *show_name(const char *label)
{
	struct name *name = strcmp(label, OTHER) ? find_name(label) : &other;

	if (name && name->shown)
		return name;
	if (name != &other && make_room()) {
		if (!name)
			name = new_name(label);
		nr_shown++;
	} else {
		name = &other;
	}
	if (!name->shown) {
		forget_memory(name);
		begin_total(name);
	}
	name->shown = true;
	return name;
}

/* ---- Processes ---- */

static struct process *find_process(__u32 tgid)
{
	int i;

	for (i = 0; i < nr_processes; i++) {
		if (processes[i].tgid == tgid)
			return &processes[i];
	}
	return NULL;
}

/* As which VM is it counted? Whose process was gone before anybody could ask has no name. */
static struct name *name_of(const struct vm_info *vm)
{
	if (!vm->wanted)
		return NULL;
	if (!*vm->name && *vm->comm == '?')
		return show_name(OTHER);
	return show_name(*vm->name ? vm->name : vm_title(vm));
}

/* @comm: what the kernel knows it by, or NULL. Valid until the next call. */
static struct process *process_of(__u32 tgid, const char *comm)
{
	struct process *p = find_process(tgid);
	const struct vm_info *vm;

	if (p)
		return p;
	vm = vm_info(tgid, comm);
	processes = realloc(processes, (nr_processes + 1) * sizeof(*processes));
	if (!processes)
		abort();
	p = &processes[nr_processes++];
	*p = (struct process) { .tgid = tgid, .name = name_of(vm) };
	if (vm->gone)
		p->gone_ns = now_ns();
	if (p->name)
		p->name->live++;
	return p;
}

static bool is_over(const struct process *p, __u64 now)
{
	return p->gone_ns && now - p->gone_ns >= GRACE_NS;
}

/* ---- Policies ---- */

/* The last one is for all that there is no room for. */
static struct policy *policy_of(const char *name)
{
	struct policy *p;
	int i;

	for (i = 0; i < nr_policies; i++) {
		if (!strncmp(policies[i].name, name, NAME_LEN))
			return &policies[i];
	}
	if (nr_policies == MAX_POLICIES)
		return &policies[nr_policies - 1];
	p = &policies[nr_policies++];
	snprintf(p->name, sizeof(p->name), "%.*s", NAME_LEN,
		 nr_policies == MAX_POLICIES ? OTHER : name);
	return p;
}

/* What happens to policies; and a new VM, so that its name is known, however short it lives. */
int metrics_event(const struct event *e)
{
	switch (e->type) {
	case EV_CREATE:
		process_of(e->tgid, NULL);
		break;
	case EV_POLICY_ATTACH:
		if (!e->id)
			policy_of((const char *)&e->v[5])->ended.attached++;
		break;
	case EV_POLICY_DETACH:
		if (!e->id)
			policy_of((const char *)&e->v[1])->ended.detached++;
		break;
	case EV_POLICY_TRIP:
		policy_of((const char *)&e->v[1])->ended.tripped++;
		break;
	}
	return 0;
}

/* ---- The end of a VM ---- */

static void retire_conversions(const struct process *p, struct vm_stats *vm)
{
	if (tracer_take_vm(p->tgid, vm) || !p->name)
		return;
	count_conversions(&p->name->ended, vm);
	count_conversions_of_host(&host_ended, vm);
}

static void retire_series(__u64 now)
{
	const struct process *p;
	struct series_key *keys;
	struct series *values;
	int i, nr = tracer_series(&keys, &values);

	for (i = 0; i < nr; i++) {
		p = process_of(keys[i].tgid, NULL);
		if (!is_over(p, now) || tracer_take_series(&keys[i], &values[i]))
			continue;
		if (!p->name)
			continue;
		count_series(&p->name->ended, &keys[i], &values[i]);
		count_series_of_host(&host_ended, &keys[i], &values[i]);
	}
	free(keys);
	free(values);
}

static void retire_decisions(__u64 now)
{
	const struct process *p;
	struct decision_key *keys;
	struct decisions *values;
	int i, nr = tracer_decisions(&keys, &values);

	for (i = 0; i < nr; i++) {
		p = process_of(keys[i].tgid, NULL);
		if (!is_over(p, now) || tracer_take_decisions(&keys[i], &values[i]))
			continue;
		if (p->name)
			count_decisions(&policy_of(keys[i].name)->ended, &keys[i], &values[i]);
	}
	free(keys);
	free(values);
}

static void forget_process(struct process *p, __u64 now)
{
	if (p->name) {
		p->name->live--;
		p->name->ended_ns = now;
	}
	vms_forget(p->tgid);
	*p = processes[--nr_processes];
}

/* Add what they have counted to the sums, and make room in the kernel. */
static void retire(__u64 now)
{
	struct vm_stats *vm = xalloc(sizeof(*vm));
	int i;

	retire_series(now);
	retire_decisions(now);
	for (i = nr_processes; i-- > 0; ) {
		if (!is_over(&processes[i], now))
			continue;
		retire_conversions(&processes[i], vm);
		forget_process(&processes[i], now);
	}
	free(vm);
}

/* ---- What is exported ---- */

void metrics_begin(unsigned int max_labels)
{
	max_shown = max_labels;
	start_time = time(NULL);
	snprintf(other.label, sizeof(other.label), OTHER);
}

static void see_vms(void)
{
	__u32 *tgids;
	int i, nr = tracer_vm_list(&tgids);

	for (i = 0; i < nr; i++)
		process_of(tgids[i], NULL);
	free(tgids);
}

/* Once a second: who is there, and who is not any more? */
void metrics_look(void)
{
	static __u64 next;
	__u64 now = now_ns();
	bool any = false;
	int i;

	if (now < next)
		return;
	next = now + LOOK_NS;
	see_vms();
	vms_refresh();
	for (i = 0; i < nr_processes; i++) {
		if (!processes[i].gone_ns && vm_info(processes[i].tgid, NULL)->gone)
			processes[i].gone_ns = now;
		any |= is_over(&processes[i], now);
	}
	if (any)
		retire(now);
}

static void add_gauges(struct gauges *sum, const struct memory_use *use)
{
	sum->private += use->private;
	sum->shared += use->shared;
	sum->doubly_min += use->doubly_min;
	sum->doubly_max += use->doubly_max;
	sum->private_known &= use->private_known;
	sum->shared_known &= use->shared_known;
}

static void add_memory(const struct vm_info *vm, const struct memory_use *use)
{
	struct name *name;

	/* It may have a VM that has nothing to do with guest_memfd. */
	if (!use->private_size && !use->shared_size && !find_process(vm->tgid))
		return;
	name = process_of(vm->tgid, NULL)->name;
	if (!name)
		return;
	add_gauges(&name->now, use);
	add_gauges(&host_memory, use);
}

static void add_pool(__u32 node, __u32 order, __u64 ready, __u64 dirty)
{
	if (nr_pools < MAX_POOL_GAUGES)
		pools[nr_pools++] = (struct pool_gauge) { node, order, ready, dirty };
}

/* Those that are not found when somebody looks have none. */
static void begin_memory(struct name *name)
{
	forget_memory(name);
	memory_known(&name->now.private_known, &name->now.shared_known);
}

static void each_shown(void (*fn)(struct name *name))
{
	int i;

	if (other.shown)
		fn(&other);
	for (i = 0; i < nr_names; i++) {
		if (names[i]->shown)
			fn(names[i]);
	}
}

void metrics_memory(void)
{
	each_shown(begin_memory);
	host_memory = (struct gauges) { };
	memory_known(&host_memory.private_known, &host_memory.shared_known);
	if (memory_sample(add_memory)) {
		each_shown(forget_memory);
		host_memory = (struct gauges) { };
	}
	nr_pools = 0;
	memory_pools(add_pool);
}

static void collect_conversions(void)
{
	struct vm_stats *vm = xalloc(sizeof(*vm));
	const struct process *p;
	__u32 *tgids;
	int i, nr = tracer_vm_list(&tgids);

	for (i = 0; i < nr; i++) {
		if (tracer_vm(tgids[i], vm))
			continue;
		p = process_of(tgids[i], vm->comm);
		if (!p->name)
			continue;
		count_conversions(&p->name->total, vm);
		count_conversions_of_host(&host_total, vm);
		if (!p->gone_ns && vm->converting > 0)
			p->name->now.converting += vm->converting;
	}
	free(tgids);
	free(vm);
}

static void collect_series(void)
{
	const struct process *p;
	struct series_key *keys;
	struct series *values;
	int i, nr = tracer_series(&keys, &values);

	for (i = 0; i < nr; i++) {
		p = process_of(keys[i].tgid, NULL);
		if (!p->name)
			continue;
		count_series(&p->name->total, &keys[i], &values[i]);
		count_series_of_host(&host_total, &keys[i], &values[i]);
	}
	free(keys);
	free(values);
}

static void collect_decisions(void)
{
	struct decision_key *keys;
	struct decisions *values;
	int i, nr = tracer_decisions(&keys, &values);

	for (i = 0; i < nr_policies; i++)
		policies[i].total = policies[i].ended;
	for (i = 0; i < nr; i++) {
		if (process_of(keys[i].tgid, NULL)->name)
			count_decisions(&policy_of(keys[i].name)->total, &keys[i], &values[i]);
	}
	free(keys);
	free(values);
}

static void count_processes(void)
{
	int i;

	for (i = 0; i < nr_processes; i++) {
		if (processes[i].name && !processes[i].gone_ns)
			processes[i].name->now.processes++;
	}
}

static struct metrics *collecting;

static void hand_out(struct name *name)
{
	struct metrics *m = collecting;

	m->vms[m->nr_vms++] = (struct labelled_vm) {
		.label = name->label, .counts = &name->total, .now = &name->now,
	};
	m->now.processes += name->now.processes;
	m->now.converting += name->now.converting;
}

void metrics_collect(struct metrics *m)
{
	int i;

	memset(m, 0, sizeof(*m));
	collecting = m;
	host_total = host_ended;
	each_shown(begin_total);
	collect_conversions();
	collect_series();
	collect_decisions();
	count_processes();
	m->host = &host_total;
	m->now = host_memory;
	each_shown(hand_out);
	m->nr_pools = nr_pools;
	memcpy(m->pools, pools, sizeof(pools));
	for (i = 0; i < nr_policies; i++)
		m->policies[m->nr_policies++] = (struct labelled_policy) {
			.label = policies[i].name, .counts = &policies[i].total,
		};
	tracer_losses(&m->losses);
	m->unknown_vms = vms_unknown();
	m->start_time = start_time;
}
