// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* gmem-trace top: VMs, those that lose most time first, and what one of them loses it with. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <ncursesw/curses.h>

#include "top.h"

#define DEFAULT_DELAY	2
#define ESCAPE		27

const char *const field_names[NR_FIELDS] = {
	[FIELD_PID]		= "pid",
	[FIELD_NAME]		= "name",
	[FIELD_LOST]		= "lost",
	[FIELD_CONVERSIONS]	= "conv",
	[FIELD_PHASE]		= "phase",
	[FIELD_P99]		= "p99",
	[FIELD_FAULTS]		= "fault",
	[FIELD_FAULT_TIME]	= "flost",
};

const char *const top_dir_names[NR_TOP_DIRS] = {
	[TOP_BOTH]	= "both ways",
	[TOP_SHARED]	= "to shared",
	[TOP_PRIVATE]	= "to private",
};

static struct top top = {
	.delay = DEFAULT_DELAY,
	.sort = FIELD_LOST,
};

double per_second(const struct top *top, __u64 n)
{
	return top->interval_ns ? n * 1e9 / top->interval_ns : 0;
}

/* Time that vCPUs lost in conversions and faults */
__u64 row_lost(const struct top *top, const struct top_row *row)
{
	return row->view[top->dir].phase[PHASE_TOTAL].ns + row->fault_ns;
}

/* ---- What VMs did ---- */

static struct top_row *row_of(__u32 tgid, const char *comm)
{
	const struct vm_info *vm;
	struct top_row *row;
	int i;

	for (i = 0; i < top.nr; i++) {
		if (top.rows[i].tgid == tgid)
			return &top.rows[i];
	}
	top.rows = realloc(top.rows, (top.nr + 1) * sizeof(*top.rows));
	if (!top.rows)
		abort();
	row = &top.rows[top.nr++];
	memset(row, 0, sizeof(*row));
	row->tgid = tgid;
	vm = vm_info(tgid, comm);
	snprintf(row->name, sizeof(row->name), "%s", *vm->name ? vm->name : vm->comm);
	return row;
}

static bool is_shown(__u32 tgid)
{
	return !top.only || tgid == top.only;
}

static void set_latencies(struct top_cell *cell, const struct hist *h)
{
	cell->count = h->count;
	cell->ns = h->sum;
	cell->p50 = hist_percentile(h, 500);
	cell->p99 = hist_percentile(h, 990);
}

/* Latencies for each direction, and for both together. */
static void set_cells(struct top_cell *cells[NR_TOP_DIRS], const struct hist *h[2])
{
	struct hist *both = xalloc(sizeof(*both));
	int d;

	for (d = 0; d < 2; d++) {
		set_latencies(cells[TOP_SHARED + d], h[d]);
		hist_add_all(both, h[d]);
	}
	set_latencies(cells[TOP_BOTH], both);
	free(both);
}

static void set_phase(struct top_row *row, const struct vm_stats *vm, int phase)
{
	struct top_cell *cells[NR_TOP_DIRS];
	const struct hist *h[2];
	int d;

	for (d = 0; d < NR_TOP_DIRS; d++)
		cells[d] = &row->view[d].phase[phase];
	for (d = 0; d < 2; d++)
		h[d] = &vm->dir[d].phase[phase];
	set_cells(cells, h);
}

/* @costs: of both directions */
static void set_cost(struct top_cell *cells[NR_TOP_DIRS], const struct cost *costs[2])
{
	struct hist *hists = xalloc(2 * sizeof(*hists));
	const struct hist *h[2];
	int d;

	for (d = 0; d < 2; d++) {
		h[d] = &hists[d];
		if (costs[d]->count)
			cost_hist_since(costs[d], &hists[d]);
	}
	set_cells(cells, h);
	/* Those counters are exact, even where there was no room for latencies. */
	for (d = 0; d < NR_TOP_DIRS; d++) {
		cells[d]->count = 0;
		cells[d]->ns = 0;
	}
	for (d = 0; d < 2 * 2; d++) {
		struct top_cell *cell = cells[d < 2 ? TOP_SHARED + d : TOP_BOTH];
		const struct cost *cost = costs[d % 2];

		cell->count += cost->count;
		cell->ns += cost->ns;
		cell->pages += cost->pages;
		cell->wait_ns += cost->wait_ns;
	}
	free(hists);
}

static void set_costs(struct top_row *row, const struct vm_stats *vm)
{
	struct top_view *views = row->view;
	const struct direction *dir = vm->dir;
	int i;

	for (i = 0; i < NR_SIZES; i++) {
		struct top_cell *cells[] = {
			&views[0].size[i], &views[1].size[i], &views[2].size[i],
		};
		const struct cost *costs[] = { &dir[0].by_size[i], &dir[1].by_size[i] };

		set_cost(cells, costs);
	}
	for (i = 0; i < NR_CROWDS; i++) {
		struct top_cell *cells[] = {
			&views[0].crowd[i], &views[1].crowd[i], &views[2].crowd[i],
		};
		const struct cost *costs[] = { &dir[0].by_crowd[i], &dir[1].by_crowd[i] };

		set_cost(cells, costs);
	}
}

static void find_worst(struct top_view *view)
{
	int p;

	view->worst = PHASE_EXIT;
	for (p = 0; p < PHASE_TOTAL; p++) {
		if (view->phase[p].ns > view->phase[view->worst].ns)
			view->worst = p;
	}
	if (view->phase[PHASE_TOTAL].ns)
		view->share = (double)view->phase[view->worst].ns / view->phase[PHASE_TOTAL].ns;
}

static void on_vm(__u32 tgid, const struct vm_stats *all, const struct vm_stats *vm)
{
	struct top_row *row;
	int i;

	if (!is_shown(tgid))
		return;
	row = row_of(tgid, vm->comm);
	for (i = 0; i < NR_PHASES; i++)
		set_phase(row, vm, i);
	set_costs(row, vm);
	for (i = 0; i < NR_TOP_DIRS; i++)
		find_worst(&row->view[i]);
	row->conversions = all->dir[0].conversions + all->dir[1].conversions;
	row->joined = all->joined;
	row->unasked = all->unasked;
	row->unanswered = all->unanswered;
	row->partial = all->partial;
	row->converting = all->converting;
}

static void on_series(const struct series_key *key, const struct series *all,
		      const struct series *series)
{
	struct top_row *row;

	if (key->kind != SERIES_FAULT || !is_shown(key->tgid))
		return;
	row = row_of(key->tgid, NULL);
	row->fault_ns += series->ns.sum;
	/* Those come again, or were none of the guest's. */
	if (key->c & (FAULT_RACED | FAULT_FAILED | FAULT_PREFETCH))
		return;
	row->faults += series->ns.count;
	row->all_faults += all->ns.count;
}

/* ---- Order ---- */

static double sort_value(const struct top_row *row)
{
	const struct top_view *view = &row->view[top.dir];

	switch (top.sort) {
	case FIELD_LOST:
		return row_lost(&top, row);
	case FIELD_CONVERSIONS:
		return view->phase[PHASE_TOTAL].count;
	case FIELD_PHASE:
		return view->share;
	case FIELD_P99:
		return view->phase[PHASE_TOTAL].p99;
	case FIELD_FAULTS:
		return row->faults;
	case FIELD_FAULT_TIME:
		return row->fault_ns;
	default:
		return row->tgid;
	}
}

/* Large numbers come first, names in their order; what is the same is in the order of pids. */
static int compare_rows(const void *a, const void *b)
{
	const struct top_row *x = a, *y = b;
	int order;

	if (top.sort == FIELD_NAME)
		order = strcmp(x->name, y->name);
	else
		order = (sort_value(x) < sort_value(y)) - (sort_value(x) > sort_value(y));
	if (!order)
		return (x->tgid > y->tgid) - (x->tgid < y->tgid);
	return top.reverse ? -order : order;
}

static int selected_row(void)
{
	int i;

	for (i = 0; i < top.nr; i++) {
		if (top.rows[i].tgid == top.selected)
			return i;
	}
	return -1;
}

static void sort_rows(void)
{
	qsort(top.rows, top.nr, sizeof(*top.rows), compare_rows);
}

/* What happened since the last time. Series first: conversions forget VMs that ended. */
static void refresh_rows(void)
{
	static __u64 last;
	__u64 now;

	top.nr = 0;
	series_since(on_series);
	conversions_since(on_vm);
	now = now_ns();
	top.interval_ns = last ? now - last : 0;
	last = now;
	sort_rows();
}

/* ---- Keys ---- */

static void (*take_input)(const char *text);

static void ask(const char *prompt, void (*take)(const char *text))
{
	top.prompt = prompt;
	*top.input = '\0';
	take_input = take;
}

static void complain(const char *text, const char *what)
{
	snprintf(top.message, sizeof(top.message), "'%s' is not %s", text, what);
}

static void take_delay(const char *text)
{
	char *end;
	double value = strtod(text, &end);

	if (!*text)
		return;
	if (*end || !(value >= 0.1 && value <= 1e6))
		complain(text, "a number of seconds, from 0.1");
	else
		top.delay = value;
}

static void take_pid(const char *text)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*end || value > 1 << 22)
		complain(text, "the id of a process");
	else
		top.only = value;
}

static void take_field(const char *text)
{
	int i;

	for (i = 0; *text && i < NR_FIELDS; i++) {
		if (!strncmp(field_names[i], text, strlen(text))) {
			top.sort = i;
			top.reverse = false;
			return;
		}
	}
	if (*text)
		complain(text, "a column");
}

/* A key while something is asked for; whether that is answered. */
static bool edit(int key)
{
	size_t len = strlen(top.input);

	if (key == '\n' || key == '\r' || key == KEY_ENTER) {
		top.prompt = NULL;
		take_input(top.input);
		return true;
	}
	if (key == ESCAPE)
		top.prompt = NULL;
	else if ((key == KEY_BACKSPACE || key == 127 || key == '\b') && len)
		top.input[len - 1] = '\0';
	else if (key >= ' ' && key < 127 && len < sizeof(top.input) - 1)
		snprintf(top.input + len, sizeof(top.input) - len, "%c", key);
	return false;
}

/* Select another row, the one @by rows further. */
static void move_by(int by)
{
	int i = selected_row();

	if (!top.nr)
		return;
	i = (i < 0 ? 0 : i) + by;
	if (i >= top.nr)
		i = top.nr - 1;
	top.selected = top.rows[i < 0 ? 0 : i].tgid;
}

static void sort_by(int field)
{
	if (field >= 0 && field < NR_FIELDS)
		top.sort = field;
}

/* Whether it wants new figures */
static bool command(int key, int page)
{
	switch (key) {
	case 'q':
		stop_now();
		break;
	case 'h':
	case '?':
		top.help = true;
		break;
	case ' ':
		return true;
	case 'd':
	case 's':
		ask("seconds between updates", take_delay);
		break;
	case 'o':
		ask("sort by pid, name, lost, conv, phase, p99, fault, flost", take_field);
		break;
	case 'p':
		ask("only the VM of this pid (0: all)", take_pid);
		break;
	case '<':
		sort_by(top.sort - 1);
		break;
	case '>':
		sort_by(top.sort + 1);
		break;
	case 'R':
		top.reverse = !top.reverse;
		break;
	case 't':
		top.dir = (top.dir + 1) % NR_TOP_DIRS;
		break;
	case 'z':
		top.colour = !top.colour;
		break;
	case KEY_UP:
		move_by(-1);
		break;
	case KEY_DOWN:
		move_by(1);
		break;
	case KEY_PPAGE:
		move_by(-page);
		break;
	case KEY_NPAGE:
		move_by(page);
		break;
	case KEY_HOME:
		move_by(-top.nr);
		break;
	case KEY_END:
		move_by(top.nr);
		break;
	}
	return false;
}

static bool on_key(int key, int page)
{
	if (key == KEY_RESIZE)
		return false;
	*top.message = '\0';
	if (top.prompt)
		return edit(key);
	if (top.help) {
		top.help = false;
		return false;
	}
	return command(key, page);
}

/* ---- The loop ---- */

/* Show what there is and take keys, until @when or until new figures are wanted. */
static void show_until(__u64 when)
{
	int key, page;

	do {
		sort_rows();
		page = screen_draw(&top);
		key = screen_key(ms_until(when));
		if (key >= 0 && on_key(key, page))
			return;
		conversions_look();
	} while (!stopped() && now_ns() < when);
}

static void run(void)
{
	__u64 start = now_ns(), end, next, n;

	end = opt.duration ? start + opt.duration * NSEC_PER_SEC : ~0ULL;
	refresh_rows();
	for (n = 0; !stopped() && now_ns() < end && (!opt.count || n < opt.count); n++) {
		next = now_ns() + top.delay * NSEC_PER_SEC;
		show_until(next < end ? next : end);
		refresh_rows();
	}
}

int cmd_top(void)
{
	static const char *const programs[] = { "conv_*", "count_fault", NULL };
	static const char *const events[] = { "kvm_gmem_convert_end", NULL };
	const struct needs needs = {
		.programs = programs, .events = events,
		.vms = true, .cost_latencies = true, .series = true,
	};

	if (opt.json)
		return usage_error("top is for people; 'gmem-trace conversions -j' is for programs");
	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
		fail(ENOTTY, "top needs a terminal");
		fail_hint("Without one: 'gmem-trace conversions 1' tells the same line by line.");
		return -1;
	}
	if (opt.interval)
		top.delay = opt.interval;
	if (tracer_open(&needs, 0))
		return -1;
	catch_signals();
	catch_signal(SIGHUP);
	catch_signal(SIGQUIT);
	if (screen_open())
		return -1;
	run();
	screen_close();
	free(top.rows);
	return EXIT_OK;
}
