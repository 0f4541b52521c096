// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* gmem-trace export: metrics for Prometheus, by HTTP or into a file of node_exporter's. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>

#include "metrics.h"

#define DEFAULT_LISTEN		"127.0.0.1:10920"
#define DEFAULT_INTERVAL	15
#define DEFAULT_MAX_LABELS	64
#define POLICY_RING		(64 << 10)

static bool samples_memory;
static __u64 textfile_errors;

static char *metrics_text(bool openmetrics, size_t *len)
{
	static struct metrics m;

	metrics_collect(&m);
	m.textfile_errors = textfile_errors;
	return expose(&m, openmetrics, len);
}

/* ---- The file ---- */

static int write_all(int fd, const char *text, size_t len)
{
	ssize_t n;

	for (; len; text += n, len -= n) {
		n = write(fd, text, len);
		if (n < 0)
			return -errno;
	}
	return 0;
}

/* Whoever reads the file sees all of it, or all of the one before. */
static int replace_file(const char *path, const char *text, size_t len)
{
	char *tmp;
	int fd, err;

	if (asprintf(&tmp, "%s.XXXXXX", path) < 0)
		return -ENOMEM;
	fd = mkostemp(tmp, O_CLOEXEC);
	if (fd < 0) {
		err = -errno;
		goto out;
	}
	err = write_all(fd, text, len);
	/* node_exporter is another user */
	if (!err && fchmod(fd, 0644))
		err = -errno;
	if (close(fd) && !err)
		err = -errno;
	if (!err && rename(tmp, path))
		err = -errno;
	if (err)
		unlink(tmp);
out:
	free(tmp);
	return err;
}

static int write_textfile(void)
{
	size_t len;
	char *text = metrics_text(false, &len);
	int err = text ? replace_file(opt.textfile, text, len) : -ENOMEM;

	free(text);
	return err;
}

/* A file that could be written once may be so again: a full disk does not stay full. */
static void update_textfile(void)
{
	static int last;
	int err = write_textfile();

	if (err)
		textfile_errors++;
	if (err && err != last)
		fprintf(stderr, "gmem-trace: %s cannot be written: %s\n", opt.textfile,
			strerror(-err));
	last = err;
}

/* ---- The command ---- */

static void on_tick(__u64 interval_ns)
{
	http_run();
	metrics_look();
	if (!interval_ns)
		return;
	if (samples_memory)
		metrics_memory();
	if (opt.textfile)
		update_textfile();
}

static int begin(void)
{
	int err;

	metrics_begin(opt.max_vms ?: DEFAULT_MAX_LABELS);
	samples_memory = !memory_open();
	if (samples_memory) {
		metrics_memory();
	} else {
		fail_forget();
		fprintf(stderr, "gmem-trace: this kernel does not tell: the memory of VMs\n");
	}
	err = opt.textfile ? write_textfile() : 0;
	if (err)
		return fail(-err, "%s cannot be written: %s", opt.textfile, strerror(-err));
	return opt.listen ? http_start(metrics_text) : 0;
}

int cmd_export(void)
{
	static const char *const programs[] = {
		"conv_*", "count_*", "source_*", "ev_create", "ev_policy_attach", "ev_policy_detach",
		"ev_policy_trip", NULL
	};
	static const char *const events[] = { "kvm_gmem_convert_end", NULL };
	const struct needs needs = {
		.programs = programs, .events = events, .vms = true, .series = true,
		.decisions = true, .ring = POLICY_RING,
	};
	const char *where;
	int ret = 0;

	if (!opt.listen && !opt.textfile)
		opt.listen = DEFAULT_LISTEN;
	if (!opt.interval)
		opt.interval = DEFAULT_INTERVAL;
	if (opt.listen)
		ret = http_open(opt.listen);
	if (!ret)
		ret = tracer_open(&needs, 0);
	if (!ret)
		ret = begin();
	if (!ret) {
		where = opt.listen ? http_url() : opt.textfile;
		ret = run_reports(fmt("guest memory for %s", where), on_tick, metrics_event);
	}
	http_close();
	memory_close();
	return ret;
}
