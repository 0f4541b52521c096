/* SPDX-License-Identifier: GPL-2.0-only */
/* Have allocations of the kernel fail: the N-th one of a thread, counted by its fail-nth file. */
#ifndef SELFTEST_KVM_GMEM_FAILING_H
#define SELFTEST_KVM_GMEM_FAILING_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/kernel.h>

static inline bool gmem_write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

/**
 * gmem_prepare_failing - let any allocation fail that is to
 *
 * Also those that could wait for memory, and single pages; nothing is printed of it. The knobs are
 * left so: they do nothing to threads that do not ask for it.
 *
 * Return: false if this kernel is built without, or we may not
 */
static inline bool gmem_prepare_failing(void)
{
	static const char * const knobs[][2] = {
		{ "failslab/ignore-gfp-wait", "N" },
		{ "failslab/verbose", "0" },
		{ "fail_page_alloc/ignore-gfp-wait", "N" },
		{ "fail_page_alloc/ignore-gfp-highmem", "N" },
		{ "fail_page_alloc/min-order", "0" },
		{ "fail_page_alloc/verbose", "0" },
	};
	bool ok = !access("/proc/thread-self/fail-nth", W_OK);
	char path[96];
	unsigned int i;

	for (i = 0; ok && i < ARRAY_SIZE(knobs); i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s", knobs[i][0]);
		ok = gmem_write_file(path, knobs[i][1]);
	}
	return ok;
}

/**
 * gmem_set_nth - have an allocation fail
 * @fd: fail-nth of the thread
 * @nth: which, counted from now; 0: none
 *
 * Return: whether that was possible
 */
static inline bool gmem_set_nth(int fd, unsigned long nth)
{
	char text[32];
	int len = snprintf(text, sizeof(text), "%lu", nth);

	return pwrite(fd, text, len, 0) == len;
}

/**
 * gmem_get_nth - see how far it got
 * @fd: fail-nth of the thread
 *
 * Return: how many allocations are left until the one that is to fail; 0: it failed, or none is to;
 * -1: it cannot be read
 */
static inline long gmem_get_nth(int fd)
{
	char text[32] = "";

	return pread(fd, text, sizeof(text) - 1, 0) > 0 ? strtol(text, NULL, 10) : -1;
}

#endif /* SELFTEST_KVM_GMEM_FAILING_H */
