// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A report as a page and as a drawing. The page has no scripts and loads nothing: drawings are SVG,
 * colours are variables that follow the reader's choice of light or dark, and wide drawings scroll
 * on narrow screens.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "report.h"

/* All drawings are as wide, with names on the left. */
#define WIDTH		960.0
#define LEFT		215.0
#define SPAN		(WIDTH - LEFT - 10)
#define BIN		(SPAN / NR_BINS)
#define FINE_LANES	64	/* more vCPUs than that are drawn coarser */

static const char *const phase_titles[NR_DRAWN] = {
	"exit to the VMM", "VMM's own time", "wait for slots_lock", "zap and flush",
	"store attributes", "punch or populate", "back into the guest",
};

/* The style sheets, as strings: made from the .css files. */
static const char style[] =
#include "drawing.css.h"
;

static const char page_style[] =
#include "page.css.h"
;

/* A drawing: its text, and how high it is. */
struct drawing {
	const char *id;
	const char *title;
	const char *about;
	char *text;
	size_t size;
	double height;
};

/* How many bytes a character of UTF-8 has that begins here; 0 if none does. */
static int utf8_length(const char *s)
{
	static const struct {
		unsigned char mask, is;
		__u32 least;
	} forms[] = {
		{ 0x80, 0x00, 0x20 }, { 0xe0, 0xc0, 0x80 }, { 0xf0, 0xe0, 0x800 },
		{ 0xf8, 0xf0, 0x10000 },
	};
	__u32 c;
	int i, n;

	for (n = 0; n < (int)ARRAY_SIZE(forms); n++) {
		if ((*s & forms[n].mask) == forms[n].is)
			break;
	}
	if (n == ARRAY_SIZE(forms))
		return 0;
	c = (unsigned char)*s & ~forms[n].mask;
	for (i = 1; i <= n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	/* not longer than need be, no halves of UTF-16, no control characters */
	if (c < forms[n].least || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ||
	    (c >= 0x7f && c < 0xa0) || c == 0xfffe || c == 0xffff)
		return 0;
	return n + 1;
}

static void escape(FILE *f, const char *s)
{
	int len;

	for (; *s; s += len) {
		len = utf8_length(s);
		if (!len)
			fputc('?', f);
		else if (strchr("<>&\"", *s))
			fprintf(f, "&#%d;", *s);
		else
			fwrite(s, len, 1, f);
		len = len ?: 1;
	}
}

/* At most so many characters of a name, for what has limited room. */
static const char *cut(const char *s, int chars)
{
	const char *end = s;

	for (; *end && chars; chars--)
		end += utf8_length(end) ?: 1;
	return fmt("%.*s", (int)(end - s), s);
}

static void put_text(FILE *f, double x, double y, const char *anchor, const char *class,
		     const char *s)
{
	fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" class=\"%s\">", x, y, anchor,
		class);
	escape(f, s);
	fputs("</text>\n", f);
}

static void put_rect(FILE *f, double x, double y, double w, double h, int colour, double opacity,
		     const char *hint)
{
	fprintf(f, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" class=\"f%d\"", x, y,
		w, h, colour);
	if (opacity < 1)
		fprintf(f, " opacity=\"%.2f\"", opacity);
	if (hint) {
		fputs("><title>", f);
		escape(f, hint);
		fputs("</title></rect>\n", f);
	} else {
		fputs("/>\n", f);
	}
}

/* The time, below a drawing */
static void time_axis(FILE *f, const struct report *r, double y)
{
	double s = (r->end - r->start) / 1e9;
	int i;

	for (i = 0; i <= 5; i++) {
		double x = LEFT + SPAN * i / 5;

		fprintf(f, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"0\" y2=\"%.1f\" class=\"l\"/>\n",
			x, x, y);
		put_text(f, x, y + 14, i == 5 ? "end" : "middle", "d",
			 fmt(s < 1 ? "%.4f s" : "%.2f s", s * i / 5));
	}
}

/* In as many lines as it takes; where it ends. Colours begin with @colour. */
static double legend(FILE *f, const char *const *names, int nr, int colour)
{
	double x = LEFT, y = 0, w;
	int i;

	for (i = 0; i < nr; i++, x += w) {
		w = 28 + 7 * strlen(names[i]);
		if (x + w > WIDTH) {
			x = LEFT;
			y += 16;
		}
		put_rect(f, x, y, 10, 10, (colour + i) % 7, 1, NULL);
		put_text(f, x + 14, y + 9, "start", "d", names[i]);
	}
	return y + 18;
}

static const char *bin_time(const struct report *r, int bin)
{
	return fmt("%.4f s", (r->end - r->start) / 1e9 * bin / NR_BINS);
}

/* ---- Phases ---- */

static double draw_phases(FILE *f, const struct report *r)
{
	const struct direction *dir;
	double y = legend(f, phase_titles, NR_DRAWN, 0), x, w;
	const char *name;
	int i, d, p;

	for (i = 0; i < 2 * r->nr_vms; i++) {
		d = !(i & 1);
		dir = &r->vms[i / 2]->stats.dir[d];
		if (!dir->conversions || !dir->phase[PHASE_TOTAL].sum)
			continue;
		name = report_vm_name(r, r->vms[i / 2]->tgid);
		put_text(f, LEFT - 8, y + 12, "end", "",
			 fmt("%s to %s", cut(name, 22), dir_names[d]));
		for (x = LEFT, p = 0; p < NR_DRAWN; p++) {
			w = SPAN * dir->phase[p].sum / dir->phase[PHASE_TOTAL].sum;
			if (w > 0.05)
				put_rect(f, x, y, w, 16, p, 1,
					 fmt("%s: %s of %s, %.1f %%", phase_titles[p],
					     fmt_ns(dir->phase[p].sum),
					     fmt_ns(dir->phase[PHASE_TOTAL].sum), 100 * w / SPAN));
			x += w;
		}
		put_text(f, LEFT, y + 28, "start", "d",
			 fmt("%llu conversions, %s; each %s on average", dir->conversions,
			     fmt_size(dir->pages * PAGE_BYTES),
			     fmt_ns(dir->phase[PHASE_TOTAL].sum / dir->phase[PHASE_TOTAL].count)));
		y += 36;
	}
	return y > 20 ? y : 0;
}

/* ---- Timeline ---- */

static int dominant(const __u64 *ns)
{
	int p, most = 0;

	for (p = 1; p < NR_DRAWN; p++) {
		if (ns[p] > ns[most])
			most = p;
	}
	return most;
}

/* 0 to 4: how much of a bin is taken */
static int occupied(const __u64 *ns, double width)
{
	double sum = 0;
	int p;

	for (p = 0; p < NR_DRAWN; p++)
		sum += ns[p];
	if (sum <= 0)
		return 0;
	return sum >= width ? 4 : 1 + (int)(sum / width * 3.999);
}

/* What a lane shows of a time: how much is taken, and by what mostly. */
struct shade {
	int level;
	int phase;
};

static struct shade shade_of(const struct lane *lane, int bin, int bins, double width)
{
	__u64 ns[NR_DRAWN] = {};
	int i, p;

	for (i = bin; i < bin + bins && i < NR_BINS; i++) {
		for (p = 0; p < NR_DRAWN; p++)
			ns[p] += lane->ns[i][p];
	}
	return (struct shade) { occupied(ns, width * bins), dominant(ns) };
}

/* Where there are many lanes, each is drawn coarser: the drawing does not grow. */
static void draw_lane(FILE *f, const struct report *r, const struct lane *lane, double y)
{
	double width = ((double)(r->end - r->start) + 1) / NR_BINS;
	int bins = 1 + (r->nr_lanes - 1) / FINE_LANES, i, n, level, phase;
	struct shade shade, next;

	for (i = 0; i < NR_BINS; i = n) {
		shade = shade_of(lane, i, bins, width);
		level = shade.level;
		phase = shade.phase;
		for (n = i + bins; n < NR_BINS; n += bins) {
			next = shade_of(lane, n, bins, width);
			if (next.level != level || next.phase != phase)
				break;
		}
		if (level)
			put_rect(f, LEFT + i * BIN, y, (n - i) * BIN, 12, phase, 0.2 + 0.2 * level,
				 fmt("%s to %s: mostly %s", bin_time(r, i), bin_time(r, n),
				     phase_titles[phase]));
	}
}

static double draw_timeline(FILE *f, const struct report *r)
{
	const struct lane *lane;
	double y = legend(f, phase_titles, NR_DRAWN, 0), top = y;
	const char *name;
	int i;

	if (!r->nr_lanes)
		return 0;
	fprintf(f, "<g transform=\"translate(0,%.1f)\">\n", top);
	time_axis(f, r, 15.0 * r->nr_lanes);
	fputs("</g>\n", f);
	for (i = 0; i < r->nr_lanes; i++, y += 15) {
		lane = r->lanes[i];
		name = report_vm_name(r, lane->tgid);
		put_text(f, LEFT - 8, y + 10, "end", "",
			 lane->vcpu == ~0U ? fmt("%s unasked", cut(name, 22)) :
					     fmt("%s vCPU %u", cut(name, 20), lane->vcpu));
		draw_lane(f, r, lane, y);
	}
	return y + 20;
}

/* ---- Heatmap ---- */

/* The smallest time of a row of the heatmap */
static __u64 heat_low(int row)
{
	return (2 + (row & 1)) * (1ULL << (row / 2)) / 2;
}

static void draw_heat_row(FILE *f, const struct report *r, int row, double y, __u32 most)
{
	double strength;
	int i;

	for (i = 0; i < NR_BINS; i++) {
		if (!r->heat[i][row])
			continue;
		strength = 0.25 + 0.75 * log1p(r->heat[i][row]) / log1p(most);
		put_rect(f, LEFT + i * BIN, y, BIN, 10, 1, strength,
			 fmt("%s: %u conversions of %s or more", bin_time(r, i), r->heat[i][row],
			     fmt_ns(heat_low(row))));
	}
}

static double draw_heat(FILE *f, const struct report *r)
{
	int low = NR_HEAT_ROWS, high = -1, i, row;
	__u32 most = 0;
	double y;

	for (i = 0; i < NR_BINS; i++) {
		for (row = 0; row < NR_HEAT_ROWS; row++) {
			if (!r->heat[i][row])
				continue;
			low = row < low ? row : low;
			high = row > high ? row : high;
			most = r->heat[i][row] > most ? r->heat[i][row] : most;
		}
	}
	if (high < 0)
		return 0;
	time_axis(f, r, 10.0 * (high - low + 1));
	for (row = high; row >= low; row--) {
		y = 10.0 * (high - row);
		if (!(row & 1))
			put_text(f, LEFT - 8, y + 10, "end", "d", fmt_ns(heat_low(row)));
		draw_heat_row(f, r, row, y, most);
	}
	return 10.0 * (high - low + 1) + 20;
}

/* ---- Amounts over time ---- */

static double draw_stacks(FILE *f, const struct report *r, const __u64 *values, int nr,
			  const char *const *names, const char *(*unit)(__u64))
{
	const double height = 120;
	double y = legend(f, names, nr, 1), at, h;
	__u64 most = 0, sum;
	int i, k;

	for (i = 0; i < NR_BINS; i++) {
		for (sum = 0, k = 0; k < nr; k++)
			sum += values[i * nr + k];
		most = sum > most ? sum : most;
	}
	if (!most)
		return 0;
	fprintf(f, "<g transform=\"translate(0,%.1f)\">\n", y);
	time_axis(f, r, height);
	put_text(f, LEFT - 8, 10, "end", "d", unit(most));
	put_text(f, LEFT - 8, height, "end", "d", "0");
	for (i = 0; i < NR_BINS; i++) {
		for (at = height, k = 0; k < nr; k++) {
			h = height * values[i * nr + k] / most;
			at -= h;
			if (h > 0)
				put_rect(f, LEFT + i * BIN, at, BIN, h < 0.5 ? 0.5 : h, k + 1, 1,
					 fmt("%s: %s %s", bin_time(r, i), unit(values[i * nr + k]),
					     names[k]));
		}
	}
	fputs("</g>\n", f);
	return y + height + 20;
}

static double draw_faults(FILE *f, const struct report *r)
{
	return draw_stacks(f, r, &r->faults[0][0], NR_FAULTS, fault_names, fmt_count);
}

static double draw_zero(FILE *f, const struct report *r)
{
	return draw_stacks(f, r, &r->zeroed[0][0], NR_ZEROED, zeroed_names, fmt_size);
}

static void draw_line(FILE *f, const bool *known, const __u64 *values, __u64 most, int colour,
		      bool dashed)
{
	int i;

	fprintf(f, "<polyline fill=\"none\" stroke-width=\"2\" class=\"s%d\"%s points=\"", colour,
		dashed ? " stroke-dasharray=\"5 3\"" : "");
	for (i = 0; i < NR_BINS; i++) {
		if (known[i])
			fprintf(f, "%.1f,%.1f %.1f,%.1f ", LEFT + i * BIN,
				140 - 140.0 * values[i] / most, LEFT + (i + 1) * BIN,
				140 - 140.0 * values[i] / most);
	}
	fputs("\"/>\n", f);
}

static double draw_memory(FILE *f, const struct report *r)
{
	const char *names[MAX_REPORT_VMS];
	const struct report_vm *vm;
	__u64 most = 0;
	double y;
	int i, v;

	for (v = 0; v < r->nr_vms; v++) {
		vm = r->vms[v];
		names[v] = vm->name;
		for (i = 0; i < NR_BINS; i++) {
			most = vm->private[i] > most ? vm->private[i] : most;
			most = vm->shared[i] > most ? vm->shared[i] : most;
		}
	}
	if (!most)
		return 0;
	y = legend(f, names, r->nr_vms < 12 ? r->nr_vms : 12, 1);
	fprintf(f, "<g transform=\"translate(0,%.1f)\">\n", y);
	time_axis(f, r, 140);
	put_text(f, LEFT - 8, 10, "end", "d", fmt_size(most));
	put_text(f, LEFT - 8, 140, "end", "d", "0");
	for (v = 0; v < r->nr_vms; v++) {
		vm = r->vms[v];
		draw_line(f, vm->has_private, vm->private, most, (v + 1) % 7, false);
		draw_line(f, vm->has_shared, vm->shared, most, (v + 1) % 7, true);
	}
	fputs("</g>\n", f);
	return y + 160;
}

/* ---- All drawings ---- */

#define NR_DRAWINGS	6

static void draw(const struct report *r, struct drawing *drawings)
{
	static const struct {
		double (*fn)(FILE *f, const struct report *r);
		const char *id, *title, *about;
	} all[NR_DRAWINGS] = {
		{ draw_phases, "phases", "Where conversions spend their time", "" },
		{ draw_timeline, "timeline", "Conversions of each vCPU",
		  "Coloured by the phase that takes most of the time; stronger: more time." },
		{ draw_heat, "latency", "How long conversions take",
		  "From the exit until the vCPU runs again; the stronger, the more of them." },
		{ draw_faults, "faults", "Faults on guest memory", "" },
		{ draw_zero, "zeroing", "Memory zeroed", "" },
		{ draw_memory, "memory", "Memory of VMs",
		  "Solid: private. Dashed: shared, of the VMM at the same addresses." },
	};
	FILE *f;
	int i;

	for (i = 0; i < NR_DRAWINGS; i++) {
		drawings[i].id = all[i].id;
		drawings[i].title = all[i].title;
		drawings[i].about = all[i].about;
		f = open_memstream(&drawings[i].text, &drawings[i].size);
		if (!f)
			abort();
		drawings[i].height = all[i].fn(f, r);
		fclose(f);
	}
}

static void free_drawings(struct drawing *drawings)
{
	int i;

	for (i = 0; i < NR_DRAWINGS; i++)
		free(drawings[i].text);
}

/* ---- Tables ---- */

static void cell(FILE *f, const char *s)
{
	fputs("<td>", f);
	escape(f, s);
	fputs("</td>", f);
}

static void heads(FILE *f, const char *const *names)
{
	fputs("<div class=\"scroll\"><table><thead><tr>", f);
	for (; *names; names++) {
		fputs("<th>", f);
		escape(f, *names);
		fputs("</th>", f);
	}
	fputs("</tr></thead><tbody>\n", f);
}

static void times(FILE *f, const char *what, const struct hist *h, const char *amount)
{
	if (!h->count)
		return;
	fputs("<tr>", f);
	cell(f, what);
	cell(f, fmt_count(h->count));
	cell(f, fmt_ns(hist_percentile(h, 500)));
	cell(f, fmt_ns(hist_percentile(h, 900)));
	cell(f, fmt_ns(hist_percentile(h, 990)));
	cell(f, fmt_ns(hist_percentile(h, 999)));
	cell(f, fmt_ns(h->max));
	cell(f, amount);
	fputs("</tr>\n", f);
}

static void vm_table(FILE *f, const struct report_vm *vm)
{
	static const char *const names[] = {
		"", "count", "p50", "p90", "p99", "p99.9", "max", "", NULL
	};
	int d, p, i;

	heads(f, names);
	for (d = 1; d >= 0; d--) {
		const struct direction *dir = &vm->stats.dir[d];

		for (p = 0; p < NR_DRAWN; p++)
			times(f, fmt("to %s: %s", dir_names[d], phase_titles[p]), &dir->phase[p],
			      dir->phase[p].sum ? fmt("%.0f %%", 100.0 * dir->phase[p].sum /
						      dir->phase[PHASE_TOTAL].sum) : "");
		times(f, fmt("to %s: total", dir_names[d]), &dir->phase[PHASE_TOTAL], "");
	}
	times(f, "first fault after it", &vm->stats.dir[1].phase[PHASE_FAULT], "");
	for (i = 0; i < NR_FAULTS; i++)
		times(f, fmt("fault: %s", fault_names[i]), &vm->faults[i], "");
	for (i = 0; i < NR_ZEROED; i++)
		times(f, fmt("zeroing: %s", zeroed_names[i]), &vm->zero[i],
		      fmt_size(vm->zero_pages[i] * PAGE_BYTES));
	fputs("</tbody></table></div>\n", f);
}

static void cost_rows(FILE *f, const struct cost *c, int nr, bool sizes)
{
	int i;

	for (i = 0; i < nr; i++) {
		if (!c[i].count)
			continue;
		fputs("<tr>", f);
		cell(f, sizes ? fmt("ranges from %s", fmt_size(PAGE_BYTES << i)) :
		     fmt("up to %llu vCPUs at once", 1ULL << i));
		cell(f, fmt_count(c[i].count));
		cell(f, fmt_ns(c[i].ns / c[i].count));
		cell(f, fmt_ns(c[i].wait_ns / c[i].count));
		cell(f, c[i].pages ? fmt_ns(c[i].ns / c[i].pages) : "");
		fputs("</tr>\n", f);
	}
}

static void cost_table(FILE *f, const struct report_vm *vm)
{
	static const char *const names[] = {
		"", "conversions", "each", "of it waiting", "per 4 KiB", NULL
	};
	int d;

	for (d = 1; d >= 0; d--) {
		if (!vm->stats.dir[d].conversions)
			continue;
		fprintf(f, "<p class=\"dim\">to %s</p>\n", dir_names[d]);
		heads(f, names);
		cost_rows(f, vm->stats.dir[d].by_size, NR_SIZES, true);
		cost_rows(f, vm->stats.dir[d].by_crowd, NR_CROWDS, false);
		fputs("</tbody></table></div>\n", f);
	}
}

static void worst_table(FILE *f, const struct report *r)
{
	static const char *const names[] = {
		"VM", "at", "vCPU", "to", "frame", "size", "total", "exit", "think", "lock", "zap",
		"store", "punch", "back", NULL
	};
	const struct worst *w;
	int i, p;

	fputs("<section id=\"worst\"><h2>The longest conversions</h2>\n", f);
	heads(f, names);
	for (i = 0; i < r->nr_worst; i++) {
		w = &r->worst[i];
		fputs("<tr>", f);
		cell(f, report_vm_name(r, w->tgid));
		cell(f, fmt("%.4f s", (w->ns - r->start) / 1e9));
		cell(f, w->v[CV_ASKED] ? fmt("%llu", w->v[CV_VCPU]) : "unasked");
		cell(f, w->v[CV_TO_PRIVATE] ? "private" : "shared");
		cell(f, fmt("0x%llx", w->v[CV_GFN]));
		cell(f, fmt_size(w->v[CV_NR] * PAGE_BYTES));
		cell(f, fmt_ns(w->v[CV_TOTAL]));
		for (p = 0; p < NR_DRAWN; p++)
			cell(f, w->v[CV_PHASE + p] ? fmt_ns(w->v[CV_PHASE + p]) : "");
		fputs("</tr>\n", f);
	}
	fputs("</tbody></table></div></section>\n", f);
}

/* ---- The page ---- */

static bool is_whole(const struct report *r)
{
	const struct losses *l = &r->losses.kernel;

	return !l->dropped && !l->vms_full && !l->threads_full && !l->series_full &&
	       !r->losses.unknown_vms && !r->other_vms && !r->other_lanes;
}

static void put_head(FILE *f, const struct report *r)
{
	time_t when = r->wall_ns / NSEC_PER_SEC;
	__u64 events = 0;
	struct tm tm;
	char text[64];
	int i;

	for (i = 0; i < NR_EVENTS; i++)
		events += r->events[i];
	if (!gmtime_r(&when, &tm) || !strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &tm))
		*text = '\0';
	fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n", f);
	fputs("<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n", f);
	fputs("<meta name=\"color-scheme\" content=\"light dark\">\n", f);
	fputs("<link rel=\"icon\" href=\"data:,\"><title>Guest memory: ", f);
	escape(f, r->file);
	fprintf(f, "</title>\n<style>\n%s%s</style></head><body><main>\n<h1>Guest memory</h1>\n",
		style, page_style);
	fputs("<p class=\"dim\">", f);
	escape(f, r->file);
	fprintf(f, ", from %s, %.3f s: %llu events of %d VMs</p>\n", text,
		(r->end - r->start) / 1e9, events, r->nr_vms);
	if (r->unfinished)
		fputs("<p class=\"warn\">It is unfinished; this is what it has.</p>\n", f);
	fprintf(f, "<p class=\"%s\">%s</p>\n", is_whole(r) ? "dim" : "warn", report_losses(r));
}

int write_html(const struct report *r, FILE *f)
{
	struct drawing drawings[NR_DRAWINGS];
	int i;

	draw(r, drawings);
	put_head(f, r);
	for (i = 0; i < NR_DRAWINGS; i++) {
		fprintf(f, "<section id=\"%s\"><h2>%s</h2>\n", drawings[i].id, drawings[i].title);
		if (!drawings[i].height) {
			fputs("<p class=\"dim\">Nothing of this was recorded.</p></section>\n", f);
			continue;
		}
		if (*drawings[i].about)
			fprintf(f, "<p class=\"dim\">%s</p>\n", drawings[i].about);
		fprintf(f, "<div class=\"scroll\"><svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"%s\">\n%s</svg></div></section>\n",
			WIDTH, drawings[i].height + 4, drawings[i].title, drawings[i].text);
	}
	if (r->nr_worst)
		worst_table(f, r);
	for (i = 0; i < r->nr_vms; i++) {
		fputs("<section><h2>VM ", f);
		escape(f, report_vm_name(r, r->vms[i]->tgid));
		fputs("</h2>\n", f);
		vm_table(f, r->vms[i]);
		cost_table(f, r->vms[i]);
		fputs("</section>\n", f);
	}
	fputs("</main></body></html>\n", f);
	free_drawings(drawings);
	return ferror(f) ? -EIO : 0;
}

/* All drawings, one below the other */
int write_svg(const struct report *r, FILE *f)
{
	struct drawing drawings[NR_DRAWINGS];
	double y = 30;
	int i;

	draw(r, drawings);
	for (i = 0; i < NR_DRAWINGS; i++)
		y += drawings[i].height ? drawings[i].height + 50 : 0;
	fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\">\n", WIDTH, y);
	fprintf(f, "<style>\n%s</style>\n", style);
	fputs("<rect width=\"100%\" height=\"100%\" style=\"fill:var(--bg)\"/>\n", f);
	put_text(f, 10, 16, "start", "d", report_losses(r));
	y = 30;
	for (i = 0; i < NR_DRAWINGS; i++) {
		if (!drawings[i].height)
			continue;
		put_text(f, 10, y + 14, "start", "", drawings[i].title);
		fprintf(f, "<g id=\"%s\" transform=\"translate(0,%.0f)\">\n%s</g>\n",
			drawings[i].id, y + 26, drawings[i].text);
		y += drawings[i].height + 50;
	}
	fputs("</svg>\n", f);
	free_drawings(drawings);
	return ferror(f) ? fail(EIO, "the drawing cannot be written") : 0;
}
