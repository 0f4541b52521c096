// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What gmem-policy prints: failures, JSON, tables, and values for people. */
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "gmem-policy.h"

#define NR_BUFS		32
#define LOG_TAIL	20

static struct {
	bool set;
	bool log;
	int err;
	char *message;
	char *hint;
	char *text;
	json_object *json;
} failure;

/* Messages of libbpf, which has the verifier's in it. */
static struct {
	char *text;
	size_t size;
	FILE *file;
} log_buf;

const char *fmt(const char *format, ...)
{
	static char bufs[NR_BUFS][256];
	static unsigned int next;
	char *buf = bufs[next++ % NR_BUFS];
	va_list ap;

	va_start(ap, format);
	vsnprintf(buf, sizeof(bufs[0]), format, ap);
	va_end(ap);
	return buf;
}

const char *fmt_size(__u64 bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
	double value = bytes;
	unsigned int unit = 0;

	while (value >= 1024 && unit < ARRAY_SIZE(units) - 1) {
		value /= 1024;
		unit++;
	}
	if (value >= 100 || value == (unsigned int)value)
		return fmt("%.0f %s", value, units[unit]);
	return fmt("%.1f %s", value, units[unit]);
}

const char *fmt_age(__u64 ns)
{
	__u64 s = ns / 1000000000;

	if (s < 60)
		return fmt("%llu s", s);
	if (s < 3600)
		return fmt("%llu min", s / 60);
	if (s < 48 * 3600)
		return fmt("%llu h %llu min", s / 3600, s / 60 % 60);
	return fmt("%llu days", s / 86400);
}

__u64 boottime_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

const char *process_name(__u32 pid, char *buf, size_t size)
{
	FILE *f = fopen(fmt("/proc/%u/comm", pid), "r");

	if (!f || !fgets(buf, size, f))
		snprintf(buf, size, "(gone)");
	if (f)
		fclose(f);
	buf[strcspn(buf, "\n")] = '\0';
	return buf;
}

const char *user_name(__u32 uid)
{
	struct passwd *pw = getpwuid(uid);

	return pw ? fmt("%s", pw->pw_name) : fmt("uid %u", uid);
}

int screen_width(void)
{
	struct winsize ws;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) || ws.ws_col < 80)
		return ws.ws_col && isatty(STDOUT_FILENO) ? 80 : 100;
	return ws.ws_col > 120 ? 120 : ws.ws_col;
}

/* @text, wrapped at words: the first line is @indent wide already. */
void print_wrapped(FILE *f, const char *text, int indent, int width)
{
	int len;

	while ((len = strlen(text)) > width) {
		int cut = width;

		while (cut > 0 && text[cut] != ' ')
			cut--;
		if (!cut)
			cut = strcspn(text, " ");
		if (!text[cut])
			break;
		fprintf(f, "%.*s\n%*s", cut, text, indent, "");
		text += cut + 1;
	}
	fprintf(f, "%s\n", text);
}

/* ---- Failures ---- */

int fail(int err, const char *format, ...)
{
	va_list ap;

	if (failure.set)
		return -1;

	failure.set = true;
	failure.err = err;
	va_start(ap, format);
	if (vasprintf(&failure.message, format, ap) < 0)
		failure.message = NULL;
	va_end(ap);
	return -1;
}

void fail_hint(const char *format, ...)
{
	va_list ap;

	if (failure.hint)
		return;
	va_start(ap, format);
	if (vasprintf(&failure.hint, format, ap) < 0)
		failure.hint = NULL;
	va_end(ap);
}

/* What follows the message for people; @text becomes ours. */
void fail_text(char *text)
{
	free(failure.text);
	failure.text = text;
}

void fail_json(const char *key, json_object *value)
{
	if (!failure.json)
		failure.json = json_object_new_object();
	json_object_object_add(failure.json, key, value);
}

void fail_log(void)
{
	failure.log = true;
}

static int log_print(enum libbpf_print_level level, const char *format, va_list ap)
{
	if (level == LIBBPF_DEBUG || !log_buf.file)
		return 0;
	return vfprintf(log_buf.file, format, ap);
}

/* From now on libbpf's messages are kept, for the case that something fails. */
void log_begin(void)
{
	if (log_buf.file)
		fclose(log_buf.file);
	free(log_buf.text);
	log_buf.text = NULL;
	log_buf.file = open_memstream(&log_buf.text, &log_buf.size);
	libbpf_set_print(log_print);
}

static const char *log_tail(bool *cut)
{
	const char *p;
	int lines = 0;

	fflush(log_buf.file);
	*cut = false;
	for (p = log_buf.text + log_buf.size; p > log_buf.text; p--) {
		if (p[-1] == '\n' && lines++ == LOG_TAIL) {
			*cut = !opt.verbose;
			break;
		}
	}
	return opt.verbose ? log_buf.text : p;
}

static const char *errno_name(int err)
{
	const char *name = err ? strerrorname_np(err) : NULL;

	/* libbpf has errors of its own, for files that it cannot read. */
	return name ?: "EINVAL";
}

static void report_failure_json(void)
{
	json_object *root = json_root(), *o = json_object_new_object();
	bool cut;

	json_str(o, "code", errno_name(failure.err));
	json_str(o, "message", failure.message);
	if (failure.hint)
		json_str(o, "hint", failure.hint);
	if (failure.json) {
		json_object_object_foreach(failure.json, key, value)
			json_object_object_add(o, key, json_object_get(value));
	}
	if (failure.log && log_buf.file) {
		log_tail(&cut);
		json_str(o, "log", log_buf.text);
	}
	json_object_object_add(root, "error", o);
	print_json(root);
}

void report_failure(void)
{
	const char *tail;
	bool cut;

	if (opt.json) {
		report_failure_json();
		return;
	}

	fflush(stdout);
	if (failure.log && log_buf.file) {
		tail = log_tail(&cut);
		if (cut)
			fputs("... (-v shows all of it)\n", stderr);
		fputs(tail, stderr);
	}
	fputs("gmem-policy: ", stderr);
	print_wrapped(stderr, failure.message ?: "out of memory", 2, screen_width() - 15);
	if (failure.text)
		fputs(failure.text, stderr);
	if (failure.hint) {
		fputs("  ", stderr);
		print_wrapped(stderr, failure.hint, 2, screen_width() - 2);
	}
}

/* ---- JSON ---- */

json_object *json_root(void)
{
	json_object *root = json_object_new_object();

	json_object_object_add(root, "schema", json_object_new_int(JSON_SCHEMA));
	return root;
}

void print_json(json_object *root)
{
	puts(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY |
							  JSON_C_TO_STRING_SPACED |
							  JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(root);
}

void json_str(json_object *o, const char *key, const char *value)
{
	json_object_object_add(o, key, value ? json_object_new_string(value) : NULL);
}

void json_num(json_object *o, const char *key, __u64 value)
{
	json_object_object_add(o, key, json_object_new_uint64(value));
}

void json_flag(json_object *o, const char *key, bool value)
{
	json_object_object_add(o, key, json_object_new_boolean(value));
}

/* ---- Tables ---- */

#define MAX_COLS	10

struct table {
	int cols;
	int rows;
	bool right[MAX_COLS];
	int width[MAX_COLS];
	char **cells;
};

static void table_cell(struct table *t, int col, const char *text)
{
	int width;

	t->cells = realloc(t->cells, (t->rows * t->cols + col + 1) * sizeof(*t->cells));
	if (!t->cells)
		abort();
	t->cells[t->rows * t->cols + col] = strdup(text);
	width = strlen(text);
	if (width > t->width[col])
		t->width[col] = width;
}

/*
 * The heads of the columns, ending with NULL; a column whose head begins with '>' is aligned right.
 */
struct table *table_new(const char *head, ...)
{
	struct table *t = calloc(1, sizeof(*t));
	const char *heads[MAX_COLS];
	va_list ap;
	int i;

	if (!t)
		abort();
	va_start(ap, head);
	for (; head && t->cols < MAX_COLS; head = va_arg(ap, const char *)) {
		t->right[t->cols] = *head == '>';
		heads[t->cols++] = head + (*head == '>');
	}
	va_end(ap);
	for (i = 0; i < t->cols; i++)
		table_cell(t, i, heads[i]);
	t->rows++;
	return t;
}

void table_row(struct table *t, ...)
{
	va_list ap;
	int i;

	va_start(ap, t);
	for (i = 0; i < t->cols; i++)
		table_cell(t, i, va_arg(ap, const char *));
	va_end(ap);
	t->rows++;
}

static void table_write(struct table *t, FILE *f)
{
	int row, col, indent = 0, screen = screen_width();

	for (col = 0; col < t->cols - 1; col++)
		indent += t->width[col] + 2;

	for (row = 0; row < t->rows; row++) {
		char **cells = &t->cells[row * t->cols];

		for (col = 0; col < t->cols - 1; col++)
			fprintf(f, t->right[col] ? "%*s  " : "%-*s  ", t->width[col], cells[col]);
		if (t->right[col])
			fprintf(f, "%*s\n", t->width[col], cells[col]);
		else
			print_wrapped(f, cells[col], indent,
				      screen > indent + 30 ? screen - indent : 30);
	}

	for (row = 0; row < t->rows * t->cols; row++)
		free(t->cells[row]);
	free(t->cells);
	free(t);
}

void table_print(struct table *t)
{
	table_write(t, stdout);
}

char *table_text(struct table *t)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		abort();
	table_write(t, f);
	fclose(f);
	return text;
}
