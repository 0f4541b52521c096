// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What gmem-policy prints: values for people, and tables. */
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gmem-policy.h"

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
