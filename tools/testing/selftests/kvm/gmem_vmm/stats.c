// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the guest's memory cost: KVM's own counters (KVM_GET_STATS_FD, see
 * Documentation/virt/kvm/api.rst), and what a kernel with gmem policies tells of a
 * guest_memfd in /proc/PID/fdinfo (Documentation/virt/kvm/gmem/policy.rst).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "vmm.h"

static void read_all(int fd, void *to, size_t size, off_t offset)
{
	if (pread(fd, to, size, offset) != (ssize_t)size)
		die("KVM's statistics cannot be read: %s", strerror(errno));
}

/* One counter of a VM or a vCPU */
static __u64 counter(int fd, const char *name)
{
	struct kvm_stats_header header;
	struct kvm_stats_desc *desc;
	size_t size, i;
	__u64 value = 0;
	int stats;

	stats = ioctl(fd, KVM_GET_STATS_FD, 0);
	if (stats < 0)
		die("KVM_GET_STATS_FD: %s", strerror(errno));
	read_all(stats, &header, sizeof(header), 0);
	size = sizeof(*desc) + header.name_size;
	desc = malloc(size);
	if (!desc)
		die("out of memory");
	for (i = 0; i < header.num_desc; i++) {
		read_all(stats, desc, size, header.desc_offset + i * size);
		if (strcmp(desc->name, name))
			continue;
		read_all(stats, &value, sizeof(value), header.data_offset + desc->offset);
		break;
	}
	if (i == header.num_desc)
		die("KVM counts no '%s'", name);
	free(desc);
	close(stats);
	return value;
}

static __u64 of_vcpus(struct vm *vm, const char *name)
{
	__u64 sum = 0;
	int i;

	for (i = 0; i < vm->nr_vcpus; i++)
		sum += counter(vm->vcpus[i].fd, name);
	return sum;
}

/* The lines of fdinfo that tell how much memory there is, and in which folios */
static void print_resident(struct vm *vm)
{
	char path[64], line[128], value[32];
	bool told = false;
	int order;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", vm->gmem);
	f = fopen(path, "re");
	if (!f)
		die("%s: %s", path, strerror(errno));
	printf("stats: ");
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "gmem-resident: %31s", value) == 1) {
			printf("resident=%s", value);
			told = true;
		} else if (sscanf(line, "gmem-folios-order-%d: %31s", &order, value) == 2) {
			printf(" order-%d=%s", order, value);
		} else if (sscanf(line, "gmem-policy: %31s", value) == 1) {
			printf(" policy=%s", value);
		}
	}
	puts(told ? "" : "this kernel does not tell what is resident");
	fclose(f);
}

static __u64 ms(const struct timeval *tv)
{
	return tv->tv_sec * 1000ULL + tv->tv_usec / 1000;
}

/**
 * stats_print - print what is known at the end of a guest, as lines of KEY=VALUE
 * @vm: the guest
 * @wall_ms: how long it ran
 */
void stats_print(struct vm *vm, __u64 wall_ms)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	printf("stats: faults=%llu mapped=%llu pages-4k=%llu pages-2m=%llu\n",
	       of_vcpus(vm, "pf_taken"), of_vcpus(vm, "pf_fixed"), counter(vm->fd, "pages_4k"),
	       counter(vm->fd, "pages_2m"));
	print_resident(vm);
	printf("stats: wall-ms=%llu user-ms=%llu system-ms=%llu\n", wall_ms, ms(&usage.ru_utime),
	       ms(&usage.ru_stime));
}
