// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What gmem-trace prints: values for people, JSON lines. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "gmem-trace.h"

void *xalloc(size_t size)
{
	void *p = calloc(1, size ? size : 1);

	if (!p)
		abort();
	return p;
}

/* In bytes; 0 if there is none. */
long file_size(const char *path)
{
	struct stat st;

	return stat(path, &st) ? 0 : st.st_size;
}

/* Three digits and a unit, which is as much as the histograms know. */
const char *fmt_ns(__u64 ns)
{
	static const char *const units[] = { "ns", "us", "ms", "s" };
	double value = ns;
	unsigned int unit = 0;

	while (value >= 999.5 && unit < ARRAY_SIZE(units) - 1) {
		value /= 1000;
		unit++;
	}
	if (!unit || value >= 99.95)
		return fmt("%.0f %s", value, units[unit]);
	return fmt(value >= 9.995 ? "%.1f %s" : "%.2f %s", value, units[unit]);
}

const char *fmt_count(__u64 n)
{
	return fmt("%llu", n);
}

void print_time(void)
{
	char text[32];
	time_t now = time(NULL);

	if (!opt.timestamp)
		return;
	strftime(text, sizeof(text), "%H:%M:%S", localtime(&now));
	printf("%s\n", text);
}

/* What each line of a report begins with. */
json_object *json_report(const char *command, __u64 interval_ns)
{
	json_object *root = json_root();
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	json_str(root, "command", command);
	json_real(root, "time", ts.tv_sec + ts.tv_nsec / 1e9);
	json_num(root, "interval_ns", interval_ns);
	return root;
}

void json_line(json_object *root)
{
	print_json(root);
	fflush(stdout);
}
