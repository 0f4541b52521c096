// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What gmem-trace prints: failures, values for people, JSON lines. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <bpf/libbpf.h>

#include "gmem-trace.h"

#define NR_BUFS		64

static struct {
	bool set;
	bool log;
	int err;
	char *message;
	char *hint;
} failure;

/* Messages of libbpf, which has the verifier's in it. */
static struct {
	char *text;
	size_t size;
	FILE *file;
} log_buf;

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

/* One of a few static buffers. */
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
	log_buf.file = open_memstream(&log_buf.text, &log_buf.size);
	libbpf_set_print(log_print);
}

static const char *log_text(void)
{
	if (!failure.log || !log_buf.file)
		return NULL;
	fflush(log_buf.file);
	return log_buf.text;
}

static const char *errno_name(int err)
{
	const char *name = err ? strerrorname_np(err) : NULL;

	return name ?: "EINVAL";
}

void report_failure(void)
{
	json_object *root, *o;

	fflush(stdout);
	if (!opt.json) {
		if (opt.verbose && log_text())
			fputs(log_text(), stderr);
		fprintf(stderr, "gmem-trace: %s\n", failure.message ?: "out of memory");
		if (failure.hint)
			fprintf(stderr, "  %s\n", failure.hint);
		return;
	}
	root = json_object_new_object();
	o = json_object_new_object();
	json_num(root, "schema", JSON_SCHEMA);
	json_str(o, "code", errno_name(failure.err));
	json_str(o, "message", failure.message ?: "out of memory");
	if (failure.hint)
		json_str(o, "hint", failure.hint);
	if (log_text())
		json_str(o, "log", log_text());
	json_object_object_add(root, "error", o);
	json_line(root);
}

/* ---- JSON ---- */

void json_str(json_object *o, const char *key, const char *value)
{
	json_object_object_add(o, key, value ? json_object_new_string(value) : NULL);
}

void json_num(json_object *o, const char *key, __u64 value)
{
	json_object_object_add(o, key, json_object_new_uint64(value));
}

void json_int(json_object *o, const char *key, __s64 value)
{
	json_object_object_add(o, key, json_object_new_int64(value));
}

void json_real(json_object *o, const char *key, double value)
{
	json_object_object_add(o, key, json_object_new_double(value));
}

void json_flag(json_object *o, const char *key, bool value)
{
	json_object_object_add(o, key, json_object_new_boolean(value));
}

/* What each line of a report begins with. */
json_object *json_report(const char *command, __u64 interval_ns)
{
	json_object *root = json_object_new_object();
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	json_num(root, "schema", JSON_SCHEMA);
	json_str(root, "command", command);
	json_real(root, "time", ts.tv_sec + ts.tv_nsec / 1e9);
	json_num(root, "interval_ns", interval_ns);
	return root;
}

void json_line(json_object *root)
{
	puts(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PLAIN |
							  JSON_C_TO_STRING_NOSLASHESCAPE));
	fflush(stdout);
	json_object_put(root);
}
