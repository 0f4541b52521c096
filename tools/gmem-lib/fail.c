// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Failures: noted where they happen, reported in the end, for people or as JSON. */
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/libbpf.h>

#include "gmem-lib.h"

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

/* What failed can be done without. */
void fail_forget(void)
{
	free(failure.message);
	free(failure.hint);
	free(failure.text);
	json_object_put(failure.json);
	memset(&failure, 0, sizeof(failure));
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

/* The log, if the failure has to do with it. */
static const char *log_text(void)
{
	if (!failure.log || !log_buf.file)
		return NULL;
	fflush(log_buf.file);
	return log_buf.text;
}

/* The last lines of the log, after a note that these are not all. */
static void print_log_tail(void)
{
	const char *p;
	int lines = 0;

	for (p = log_buf.text + log_buf.size; p > log_buf.text; p--) {
		if (p[-1] == '\n' && lines++ == tool.log_lines) {
			fputs("... (-v shows all of it)\n", stderr);
			break;
		}
	}
	fputs(p, stderr);
}

static const char *errno_name(int err)
{
	const char *name = err ? strerrorname_np(err) : NULL;

	/* libbpf has errors of its own, for files that it cannot read. */
	return name ?: "EINVAL";
}

static void report_json(const char *message)
{
	json_object *root = json_root(), *o = json_object_new_object();

	json_str(o, "code", errno_name(failure.err));
	json_str(o, "message", message);
	if (failure.hint)
		json_str(o, "hint", failure.hint);
	if (failure.json) {
		json_object_object_foreach(failure.json, key, value)
			json_object_object_add(o, key, json_object_get(value));
	}
	if (log_text())
		json_str(o, "log", log_text());
	json_object_object_add(root, "error", o);
	print_json(root);
}

void report_failure(void)
{
	const char *message = failure.message ?: "out of memory";
	int name = strlen(tool.name) + strlen(": ");

	if (*tool.json) {
		report_json(message);
		return;
	}

	fflush(stdout);
	if (log_text()) {
		if (*tool.verbose)
			fputs(log_text(), stderr);
		else if (tool.log_lines)
			print_log_tail();
	}
	fprintf(stderr, "%s: ", tool.name);
	print_wrapped(stderr, message, 2, tool.wrap ? screen_width() - name - 2 : INT_MAX);
	if (failure.text)
		fputs(failure.text, stderr);
	if (failure.hint) {
		fputs("  ", stderr);
		print_wrapped(stderr, failure.hint, 2, tool.wrap ? screen_width() - 2 : INT_MAX);
	}
}
