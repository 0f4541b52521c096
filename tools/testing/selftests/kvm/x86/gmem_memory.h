/* SPDX-License-Identifier: GPL-2.0-only */
/* What memory is there: of a file, by fdinfo; of the machine, to see whether some leaked. */
#ifndef SELFTEST_KVM_GMEM_MEMORY_H
#define SELFTEST_KVM_GMEM_MEMORY_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <linux/sizes.h>

#include "kvm_util.h"

/* Less than one folio of 2M; other programs may lock a page or two. */
#define GMEM_UNEVICTABLE_BOUND	SZ_1M

/**
 * struct gmem_resident - what of a file is in memory, by its fdinfo
 * @bytes: all
 * @ready: of them, zeroed or written
 * @folios: bytes, as the folios of all orders add up
 * @orders: a bit for each order that there is
 */
struct gmem_resident {
	u64 bytes;
	u64 ready;
	u64 folios;
	u64 orders;
};

/**
 * gmem_read_resident - look at the fdinfo of a file
 * @fd: guest_memfd
 * @res: filled in
 *
 * Return: 0 or a negative errno
 */
static inline int gmem_read_resident(int fd, struct gmem_resident *res)
{
	char path[64], line[256];
	int order, err;
	FILE *f;
	u64 n;

	memset(res, 0, sizeof(*res));
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "r");
	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "gmem-folios-order-%d: %lu", &order, &n) == 2) {
			res->folios += n * PAGE_SIZE << order;
			res->orders |= 1ULL << order;
		} else if (sscanf(line, "gmem-resident: %lu", &n) == 1) {
			res->bytes = n;
		} else if (sscanf(line, "gmem-ready: %lu", &n) == 1) {
			res->ready = n;
		}
	}
	err = ferror(f) ? -EIO : 0;
	fclose(f);
	return err;
}

/**
 * struct gmem_memory - memory of the machine, in bytes
 * @free: free, also what each CPU keeps on lists of its own, which MemFree leaves out, and what
 *	  pools of guest memory have
 * @unevictable: on the LRU lists where folios of guest_memfd are until they are freed,
 *		 also after they have left the file
 */
struct gmem_memory {
	u64 free;
	u64 unevictable;
};

/* What it does is part of a test, so a kernel that has no such file is none to run the test on. */
static inline void gmem_write_sysctl(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY);

	TEST_ASSERT(fd >= 0, "%s: %s", path, strerror(errno));
	TEST_ASSERT(write(fd, value, strlen(value)) > 0, "%s: %s", path, strerror(errno));
	close(fd);
}

static inline struct gmem_memory gmem_look_at_memory(void)
{
	struct gmem_memory m = {};
	char line[256];
	u64 n;
	FILE *f;

	/* What is in caches, or on its way to the LRU lists, is no business of a test. */
	gmem_write_sysctl("/proc/sys/vm/drop_caches", "3");
	/* CPUs keep some of the counts to themselves. */
	gmem_write_sysctl("/proc/sys/vm/stat_refresh", "1");
	f = fopen("/proc/zoneinfo", "r");
	TEST_ASSERT(f, "/proc/zoneinfo: %s", strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, " nr_free_pages %lu", &n) == 1 ||
		    sscanf(line, " count: %lu", &n) == 1 ||
		    sscanf(line, " nr_kernel_misc_reclaimable %lu", &n) == 1)
			m.free += n * PAGE_SIZE;
		else if (sscanf(line, " nr_zone_unevictable %lu", &n) == 1)
			m.unevictable += n * PAGE_SIZE;
	}
	fclose(f);
	return m;
}

static inline u64 gmem_excess(u64 more, u64 less)
{
	return more > less ? more - less : 0;
}

/**
 * gmem_memory_is_back - has all memory returned that was free before?
 * @before: when nothing was used
 * @bound: bytes that may be missing: slabs that are not empty, what others got meanwhile
 *
 * Freeing may go on in the background, and others use memory too: waits a while.
 *
 * Return: whether no more than that is missing
 */
static inline bool gmem_memory_is_back(const struct gmem_memory *before, u64 bound)
{
	const struct timespec tick = { .tv_nsec = 200000000 };
	u64 missing, unevictable;
	struct gmem_memory now;
	int i;

	for (i = 0; i < 100; i++) {
		now = gmem_look_at_memory();
		missing = gmem_excess(before->free, now.free);
		unevictable = gmem_excess(now.unevictable, before->unevictable);
		if (missing <= bound && unevictable <= GMEM_UNEVICTABLE_BOUND)
			break;
		nanosleep(&tick, NULL);
	}
	printf("after close %lu KiB less are free, %lu KiB more unevictable\n", missing / 1024,
	       unevictable / 1024);
	return i < 100;
}

#endif /* SELFTEST_KVM_GMEM_MEMORY_H */
