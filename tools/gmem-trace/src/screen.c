// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The screen of gmem-trace top. It fits 80x24; what does not fit a smaller one is left out. */
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <ncursesw/curses.h>

#include "top.h"

#define ALERT		COLOR_PAIR(1)
#define MAX_CLASSES	NR_SIZES	/* there are fewer crowds */
#define PHASES_WIDTH	36	/* columns that phases take, left of sizes and crowds */

static SCREEN *screen;

/* ---- The terminal ---- */

void screen_close(void)
{
	if (!screen)
		return;
	endwin();
	delscreen(screen);
	screen = NULL;
}

/* Out of memory: say so on a terminal that can be used. */
static void on_abort(int sig __attribute__((unused)))
{
	endwin();
}

int screen_open(void)
{
	const char *type = getenv("TERM");

	setlocale(LC_CTYPE, "");
	screen = newterm(NULL, stdout, stdin);
	if (!screen) {
		fail(ENOTTY, "top does not know the terminal '%s'", type ?: "");
		fail_hint("Set TERM to what it is, or use 'gmem-trace conversions 1'.");
		return -1;
	}
	signal(SIGABRT, on_abort);
	cbreak();
	noecho();
	keypad(stdscr, TRUE);
	nodelay(stdscr, TRUE);
	set_escdelay(25);
	curs_set(0);
	if (has_colors()) {
		start_color();
		use_default_colors();
		init_pair(1, COLOR_RED, -1);
	}
	return 0;
}

/* A key that is pressed within @ms, else -1. */
int screen_key(int ms)
{
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
	int key = getch();

	if (key != ERR)
		return key;
	if (poll(&in, 1, ms) > 0 && in.revents & (POLLHUP | POLLERR | POLLNVAL))
		stop_now();
	key = getch();
	return key == ERR ? -1 : key;
}

/* ---- Lines ---- */

/* At (@y, @x), cut off after @width columns, and at the edge. */
static void put(int y, int x, int width, const char *format, ...) __printf(4, 5);
static void put(int y, int x, int width, const char *format, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (y < 0 || y >= LINES || x >= COLS)
		return;
	mvaddnstr(y, x, text, width < COLS - x ? width : COLS - x);
}

static void put_line(int y, const char *text)
{
	put(y, 0, COLS, "%s", text);
}

/* Aligned right, in columns that end before @end. */
static int put_right(int y, int end, const char *text)
{
	int x = end - (int)strlen(text);

	put(y, x < 0 ? 0 : x, end, "%s", text);
	return end;
}

static const char *fmt_rate(const struct top *top, __u64 n)
{
	double rate = per_second(top, n);

	return fmt(rate < 99.95 ? "%.1f" : "%.0f", rate);
}

/* ---- The head ---- */

static int draw_head(const struct top *top)
{
	__u64 conversions = 0, conv_ns = 0, faults = 0, fault_ns = 0;
	__u64 all = 0, unasked = 0, unanswered = 0, partial = 0;
	time_t now = time(NULL);
	char clock[16];
	int i, y = 0;

	for (i = 0; i < top->nr; i++) {
		const struct top_row *row = &top->rows[i];

		conversions += row->view[top->dir].phase[PHASE_TOTAL].count;
		conv_ns += row->view[top->dir].phase[PHASE_TOTAL].ns;
		faults += row->faults;
		fault_ns += row->fault_ns;
		all += row->conversions;
		unasked += row->unasked;
		unanswered += row->unanswered;
		partial += row->partial;
	}
	strftime(clock, sizeof(clock), "%H:%M:%S", localtime(&now));
	put_line(y++, fmt("gmem-trace top - %s, every %g s: %d VMs, %s, by %s%s; h: help", clock,
			  top->delay, top->nr, top_dir_names[top->dir], field_names[top->sort],
			  top->reverse ? " reversed" : ""));
	put_line(y++, fmt("conversions: %s/s, lost %s/s; faults: %s/s, lost %s/s",
			  fmt_rate(top, conversions), fmt_ns(per_second(top, conv_ns)),
			  fmt_rate(top, faults), fmt_ns(per_second(top, fault_ns))));
	put_line(y++, fmt("these VMs: %llu conversions, %llu unasked, %llu partial; %llu requests unanswered",
			  all, unasked, partial, unanswered));
	put_line(y++, losses_text());
	if (vms_unknown())
		put_line(y++, fmt("not shown: %llu VMs that ended before it was known who they are",
				  vms_unknown()));
	if (tracer_lacks(0))
		put_line(y++, fmt("this kernel does not tell: %s%s", tracer_lacks(0),
				  tracer_lacks(1) ? ", and more (h)" : ""));
	return y;
}

/* ---- The table ---- */

static const struct {
	const char *head;
	int end;	/* column after it; names are aligned left */
} columns[NR_FIELDS] = {
	[FIELD_PID]		= { "PID", 8 },
	[FIELD_NAME]		= { "NAME", 24 },
	[FIELD_LOST]		= { "LOST/s", 32 },
	[FIELD_CONVERSIONS]	= { "CONV/s", 40 },
	[FIELD_PHASE]		= { "PHASE", 51 },
	[FIELD_P99]		= { "P99", 60 },
	[FIELD_FAULTS]		= { "FAULT/s", 70 },
	[FIELD_FAULT_TIME]	= { "FLOST/s", 79 },
};

static void put_field(int y, int field, const char *text)
{
	int x = columns[FIELD_NAME - 1].end + 1;

	if (field == FIELD_NAME)
		put(y, x, columns[FIELD_NAME].end - x, "%s", text);
	else
		put_right(y, columns[field].end, text);
}

static void draw_columns(const struct top *top, int y)
{
	int i;

	attron(A_REVERSE);
	mvhline(y, 0, ' ', COLS);
	for (i = 0; i < NR_FIELDS; i++) {
		if (i == (int)top->sort)
			attron(A_BOLD | A_UNDERLINE);
		put_field(y, i, columns[i].head);
		attroff(A_BOLD | A_UNDERLINE);
	}
	attroff(A_REVERSE);
}

static const char *worst_phase(const struct top_view *view)
{
	if (!view->phase[PHASE_TOTAL].ns)
		return "-";
	return fmt("%s %.0f%%", phase_names[view->worst], 100 * view->share);
}

static void draw_row(const struct top *top, const struct top_row *row, int y, bool selected)
{
	const struct top_view *view = &row->view[top->dir];

	if (selected) {
		attron(A_BOLD);
		put(y, 0, 1, ">");
	}
	put_field(y, FIELD_PID, fmt("%u", row->tgid));
	put_field(y, FIELD_NAME, row->name);
	put_field(y, FIELD_LOST, fmt_ns(per_second(top, row_lost(top, row))));
	put_field(y, FIELD_CONVERSIONS, fmt_rate(top, view->phase[PHASE_TOTAL].count));
	put_field(y, FIELD_PHASE, worst_phase(view));
	put_field(y, FIELD_P99, fmt_ns(view->phase[PHASE_TOTAL].p99));
	put_field(y, FIELD_FAULTS, fmt_rate(top, row->faults));
	put_field(y, FIELD_FAULT_TIME, fmt_ns(per_second(top, row->fault_ns)));
	attroff(A_BOLD);
}

/* ---- One VM ---- */

static void draw_phases(const struct top *top, const struct top_view *view, int y, int lines)
{
	const struct top_cell *cell;
	bool worst;
	int p;

	put(y, 1, PHASES_WIDTH, "%-12s%5s%9s%9s", "phase", "share", "p50", "p99");
	for (p = 0; p < NR_PHASES && p + 1 < lines; p++) {
		cell = &view->phase[p];
		worst = p == (int)view->worst && cell->ns;
		if (worst)
			attron(A_BOLD | (top->colour ? ALERT : 0));
		put(y + 1 + p, 1, PHASES_WIDTH, "%-12s%5s%9s%9s", phase_names[p],
		    p < PHASE_TOTAL && view->phase[PHASE_TOTAL].ns ?
		    fmt("%.0f%%", 100.0 * cell->ns / view->phase[PHASE_TOTAL].ns) : "",
		    cell->count ? fmt_ns(cell->p50) : "-", cell->count ? fmt_ns(cell->p99) : "-");
		attroff(A_BOLD | ALERT);
	}
}

/* "4K", "1M" */
static const char *short_size(__u64 pages)
{
	static const char units[] = "KMGT";
	__u64 size = pages * PAGE_BYTES / 1024;
	int unit = 0;

	while (size >= 1024 && unit < 3) {
		size /= 1024;
		unit++;
	}
	return fmt("%llu%c", size, units[unit]);
}

/* "4K", "8K-<16K" */
static const char *size_label(int i)
{
	return i ? fmt("%s-<%s", short_size(1ULL << i), short_size(2ULL << i)) : short_size(1);
}

/* "1", "2", "3-4" */
static const char *crowd_label(int i)
{
	return crowd_from(i) == 1ULL << i ? fmt("%llu", 1ULL << i) :
					    fmt("%llu-%llu", crowd_from(i), 1ULL << i);
}

/* Mark those of @cells that are shown in @room lines: those with most time in them. */
static void choose(const struct top_cell *cells, int nr, int room, bool *shown)
{
	int i, best;

	memset(shown, 0, nr * sizeof(*shown));
	while (room--) {
		best = -1;
		for (i = 0; i < nr; i++) {
			if (cells[i].count && !shown[i] &&
			    (best < 0 || cells[i].ns > cells[best].ns))
				best = i;
		}
		if (best < 0)
			break;
		shown[best] = true;
	}
}

static int count_cells(const struct top_cell *cells, int nr)
{
	int i, n = 0;

	for (i = 0; i < nr; i++)
		n += !!cells[i].count;
	return n;
}

static __u64 ns_per_page(const struct top_cell *cell)
{
	return cell->pages ? cell->ns / cell->pages : 0;
}

static __u64 mean_wait(const struct top_cell *cell)
{
	return cell->wait_ns / cell->count;
}

/* A table of conversions by a class of theirs. */
struct classes {
	const char *head;
	const char *(*label)(int i);
	const char *last_head;
	__u64 (*last)(const struct top_cell *cell);
	int nr;
};

static const struct classes sizes_table = {
	"range", size_label, "/page", ns_per_page, NR_SIZES,
};

static const struct classes crowds_table = {
	"at once", crowd_label, "lock", mean_wait, NR_CROWDS,
};

/* With @room rows, from line @y on; the line after it. */
static int draw_cells(const struct top *top, const struct classes *t,
		      const struct top_cell *cells, int y, int room)
{
	const int x = PHASES_WIDTH + 2;
	bool shown[MAX_CLASSES];
	int i;

	put(y++, x, COLS, "%-10s%7s%8s%8s%8s", t->head, "conv/s", "p50", "p99", t->last_head);
	choose(cells, t->nr, room, shown);
	for (i = 0; i < t->nr; i++) {
		const struct top_cell *c = &cells[i];

		if (shown[i])
			put(y++, x, COLS, "%-10s%7s%8s%8s%8s", t->label(i),
			    fmt_rate(top, c->count), c->p50 ? fmt_ns(c->p50) : "-",
			    c->p99 ? fmt_ns(c->p99) : "-", fmt_ns(t->last(c)));
	}
	return y;
}

/* Sizes get what crowds leave, but half of the lines for certain. */
static void draw_costs(const struct top *top, const struct top_view *view, int y, int lines)
{
	int sizes = count_cells(view->size, NR_SIZES), crowds = count_cells(view->crowd, NR_CROWDS);
	int room = lines - 2;

	if (room < 2)
		return;
	if (sizes + crowds > room) {
		sizes = room - crowds > room / 2 ? room - crowds : room / 2;
		crowds = room - sizes;
	}
	y = draw_cells(top, &sizes_table, view->size, y, sizes);
	draw_cells(top, &crowds_table, view->crowd, y, crowds);
}

static int detail_lines(const struct top_view *view)
{
	int costs = 2 + count_cells(view->size, NR_SIZES) + count_cells(view->crowd, NR_CROWDS);

	return 1 + (costs > 1 + NR_PHASES ? costs : 1 + NR_PHASES);
}

static void draw_detail(const struct top *top, const struct top_row *row, int y, int lines)
{
	const struct top_view *view = &row->view[top->dir];

	attron(A_REVERSE);
	mvhline(y, 0, ' ', COLS);
	put(y, 0, COLS, "%s (%u): %llu conversions, %llu unasked; %llu faults; %lld now", row->name,
	    row->tgid, row->conversions, row->unasked, row->all_faults, row->converting);
	attroff(A_REVERSE);
	draw_phases(top, view, y + 1, lines - 1);
	draw_costs(top, view, y + 1, lines - 1);
}

/* ---- All of it ---- */

static void draw_help(void)
{
	static const char *const lines[] = {
		"q           quit                      space  update now",
		"up, down    another VM                d, s   seconds between updates",
		"PgUp, PgDn  a page of them            p      only the VM of a pid",
		"< >         sort by another column    o      sort by a column's name",
		"R           the other way round       t      to private, to shared, or both",
		"z           colours                   h, ?   this; any key goes back",
		"",
		"LOST/s   time that vCPUs lose in conversions and faults, each second",
		"PHASE    of conversions, the one that most time is lost in",
		"FLOST/s  the part of LOST/s that is faults",
		"range    conversions by the size of their range, with the time for each page",
		"at once  by how many vCPUs converted at the time, with the wait for slots_lock",
	};
	int i, y;

	for (y = 0; y < (int)ARRAY_SIZE(lines); y++)
		put_line(y, lines[y]);
	for (i = 0; tracer_lacks(i); i++)
		put_line(++y, fmt("This kernel does not tell: %s", tracer_lacks(i)));
}

static void draw_prompt(const struct top *top)
{
	if (!top->prompt && !*top->message)
		return;
	move(LINES - 1, 0);
	clrtoeol();
	attron(A_BOLD);
	if (top->prompt)
		put_line(LINES - 1, fmt("%s: %s_", top->prompt, top->input));
	else
		put_line(LINES - 1, top->message);
	attroff(A_BOLD);
}

/* Unless one is selected, it is the first, whichever that is. */
static int selected_index(const struct top *top)
{
	int i;

	for (i = 0; i < top->nr; i++) {
		if (top->rows[i].tgid == top->selected)
			return i;
	}
	return 0;
}

/* Rows and, below, one VM, in as many lines as there are; the number of rows. */
static int draw_vms(struct top *top, int y)
{
	int lines = LINES - y, at = selected_index(top), detail, room, i;

	if (!top->nr) {
		put_line(y, "no VM has converted memory, or faulted, since this began");
		return 0;
	}
	detail = detail_lines(&top->rows[at].view[top->dir]);
	room = top->nr;
	if (room + detail > lines) {
		room = lines - detail > 3 ? lines - detail : 3;
		if (room > top->nr)
			room = top->nr;
	}
	if (room > lines)
		room = lines;
	/* The selected one is always there. */
	if (at < top->first)
		top->first = at;
	if (at >= top->first + room)
		top->first = at - room + 1;
	if (top->first + room > top->nr)
		top->first = top->nr - room;
	for (i = 0; i < room; i++)
		draw_row(top, &top->rows[top->first + i], y + i, top->first + i == at);
	if (lines - room > 1)
		draw_detail(top, &top->rows[at], y + room, lines - room);
	return room;
}

/* The number of rows that are shown */
int screen_draw(struct top *top)
{
	int y, rows = 0;

	erase();
	if (top->help) {
		draw_help();
	} else {
		y = draw_head(top);
		draw_columns(top, y++);
		rows = draw_vms(top, y);
	}
	draw_prompt(top);
	refresh();
	return rows;
}
