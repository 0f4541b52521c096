// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * gmem-trace policy: what policies decide, and what happens to them. Attaching, detaching and
 * tripping are told as they happen; decisions are counted. What a decision costs, the kernel's own
 * statistics of BPF programs tell, which are on while this runs.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "gmem-trace.h"

struct rows {
	struct decision_key *keys;
	struct decisions *values;
	int nr;
};

/* What was told already; and that of VMs that have ended, for which the kernel has no more room. */
static struct rows last, ended;

#define MAX_ENDED	4096

static struct decisions *find_row(const struct rows *rows, const struct decision_key *key)
{
	int i;

	for (i = 0; i < rows->nr; i++) {
		if (!memcmp(&rows->keys[i], key, sizeof(*key)))
			return &rows->values[i];
	}
	return NULL;
}

static void subtract(struct decisions *d, const struct decisions *earlier)
{
	d->count -= earlier->count;
	d->fitted -= earlier->fitted;
	d->clamped -= earlier->clamped;
}

/* Here room is limited as well: what is too much is added to rows of "VM 0". */
static void retire(struct decision_key *key, struct decisions *d)
{
	struct decisions *row, *told;

	if (tracer_take_decisions(key, d) || !vm_info(key->tgid, NULL)->wanted)
		return;
	row = find_row(&ended, key);
	if (!row && ended.nr >= MAX_ENDED) {
		/* Without what was told of it as a row of its own */
		told = find_row(&last, key);
		if (told) {
			subtract(d, told);
			memset(told, 0, sizeof(*told));
		}
		key->tgid = 0;
		row = find_row(&ended, key);
	}
	if (row) {
		row->count += d->count;
		row->fitted += d->fitted;
		row->clamped += d->clamped;
		return;
	}
	ended.keys = realloc(ended.keys, (ended.nr + 1) * sizeof(*ended.keys));
	ended.values = realloc(ended.values, (ended.nr + 1) * sizeof(*ended.values));
	if (!ended.keys || !ended.values)
		abort();
	ended.keys[ended.nr] = *key;
	ended.values[ended.nr++] = *d;
}

/* What is counted of them since is counted anew. */
static void forget_ended(void)
{
	struct decisions *told;
	int i;

	for (i = 0; i < ended.nr; i++) {
		told = find_row(&last, &ended.keys[i]);
		if (told)
			memset(told, 0, sizeof(*told));
	}
	ended.nr = 0;
}

static void report_decision(const struct decision_key *key, const struct decisions *d,
			    json_object *rows, bool *headed)
{
	const struct vm_info *vm = vm_info(key->tgid, NULL);
	json_object *o;

	if (opt.json) {
		o = json_object_new_object();
		json_str(o, "policy", key->name);
		json_str(o, "op", word(op_names, NR_OPS, key->op));
		json_flag(o, "shadow", key->shadow);
		vm_json(o, vm);
		json_num(o, "count", d->count);
		json_num(o, "fitted", d->fitted);
		json_num(o, "clamped", d->clamped);
		json_object_array_add(rows, o);
		return;
	}
	if (!*headed)
		printf("%-20s %-9s %-24s %9s %9s %9s\n", "policy", "op", "VM", "decisions",
		       "fitted", "clamped");
	*headed = true;
	printf("%-20s %-9s %-24s %9llu %9llu %9llu%s\n", key->name,
	       word(op_names, NR_OPS, key->op), vm_title(vm), d->count, d->fitted, d->clamped,
	       key->shadow ? " (shadow)" : "");
}

static void report_decisions(const struct decision_key *keys, const struct decisions *values,
			     int nr, json_object *rows, bool *headed)
{
	const struct decisions *earlier;
	struct decisions d;
	int i;

	for (i = 0; i < nr; i++) {
		if (!vm_info(keys[i].tgid, NULL)->wanted)
			continue;
		d = values[i];
		earlier = find_row(&last, &keys[i]);
		if (earlier)
			subtract(&d, earlier);
		if (d.count)
			report_decision(&keys[i], &d, rows, headed);
	}
}

/* ---- What they cost ---- */

struct cost_at {
	__u32 id;
	__u64 runs;
	__u64 ns;
};

static struct cost_at *costs_before;
static int nr_before;

static const struct cost_at *cost_before(__u32 id)
{
	int i;

	for (i = 0; i < nr_before; i++) {
		if (costs_before[i].id == id)
			return &costs_before[i];
	}
	return NULL;
}

static void report_cost(const struct bpf_prog_info *info, json_object *rows, bool *headed)
{
	const struct cost_at *before = cost_before(info->id);
	__u64 runs = info->run_cnt - (before ? before->runs : 0);
	__u64 ns = info->run_time_ns - (before ? before->ns : 0);
	json_object *o;

	if (!runs)
		return;
	if (opt.json) {
		o = json_object_new_object();
		json_num(o, "id", info->id);
		json_str(o, "program", info->name);
		json_num(o, "runs", runs);
		json_num(o, "ns", ns);
		json_object_array_add(rows, o);
		return;
	}
	if (!*headed)
		printf("%-20s %9s %9s %9s\n", "program", "id", "runs", "each");
	*headed = true;
	printf("%-20s %9u %9llu %9s\n", info->name, info->id, runs, fmt_ns(ns / runs));
}

/*
 * All struct_ops programs: policies, and where other subsystems have such programs, those too.
 * @tell: not those of before tracing began, if somebody else had the statistics on
 */
static void report_costs(json_object *rows, bool tell)
{
	struct cost_at *now = NULL;
	bool headed = false;
	__u32 id = 0, len;
	int fd, nr = 0;

	while (!bpf_prog_get_next_id(id, &id)) {
		struct bpf_prog_info info = {};

		fd = bpf_prog_get_fd_by_id(id);
		if (fd < 0)
			continue;
		len = sizeof(info);
		if (!bpf_prog_get_info_by_fd(fd, &info, &len) &&
		    info.type == BPF_PROG_TYPE_STRUCT_OPS) {
			if (tell)
				report_cost(&info, rows, &headed);
			now = realloc(now, (nr + 1) * sizeof(*now));
			if (!now)
				abort();
			now[nr++] = (struct cost_at) {
				.id = id, .runs = info.run_cnt, .ns = info.run_time_ns,
			};
		}
		close(fd);
	}
	free(costs_before);
	costs_before = now;
	nr_before = nr;
}

/* ---- Reports ---- */

static void report(__u64 interval_ns)
{
	json_object *root = NULL, *rows = NULL, *costs = NULL;
	struct decisions *values;
	struct decision_key *keys;
	bool headed;
	int i, nr;

	vms_refresh();
	nr = tracer_decisions(&keys, &values);
	for (i = 0; i < nr; i++) {
		if (vm_info(keys[i].tgid, NULL)->gone)
			retire(&keys[i], &values[i]);
	}
	free(keys);
	free(values);
	if (!interval_ns) {
		fflush(stdout);
		return;
	}
	nr = tracer_decisions(&keys, &values);
	if (opt.json) {
		root = json_report("policy", interval_ns);
		rows = json_object_new_array();
		costs = json_object_new_array();
	} else {
		print_time();
	}
	headed = false;
	report_decisions(ended.keys, ended.values, ended.nr, rows, &headed);
	forget_ended();
	report_decisions(keys, values, nr, rows, &headed);
	report_costs(costs, true);
	free(last.keys);
	free(last.values);
	last.keys = keys;
	last.values = values;
	last.nr = nr;
	if (!opt.json) {
		print_losses();
		fflush(stdout);
		return;
	}
	json_object_object_add(root, "decisions", rows);
	json_object_object_add(root, "programs", costs);
	json_object_object_add(root, "cannot_show", lacks_json());
	json_object_object_add(root, "losses", losses_json());
	json_line(root);
}

int cmd_policy(void)
{
	static const char *const programs[] = {
		"count_decision", "ev_policy_attach", "ev_policy_detach", "ev_policy_trip", NULL
	};
	static const char *const events[] = { "kvm_gmem_policy_decision", NULL };
	const struct needs needs = {
		.programs = programs, .events = events, .decisions = true, .ring = 64 << 10,
	};
	int ret, stats;

	choose_policy_events();
	if (tracer_open(&needs, 0))
		return -1;
	report_costs(NULL, false);
	stats = bpf_enable_stats(BPF_STATS_RUN_TIME);
	ret = run_reports("policies for guest memory", report, show_event);
	if (stats >= 0)
		close(stats);
	return ret;
}
