// SPDX-License-Identifier: GPL-2.0-only
/*
 * The only program of the guest: tests its memory, reports on the second serial
 * port, and switches off.
 *
 * On each processor, a process has its share of most of the free memory. It writes a
 * pattern that says which word it is, and reads all of it again; then it gives back
 * every fourth MiB, must find zeros there, and writes and reads again. So a page that
 * is missing, old, or that of another address is found.
 *
 * What stands on the kernel's command line is in the environment:
 *	seed=N	of the patterns (1)
 *	break=1	flip a bit between writing and reading, which must be found
 */
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define REPORT		"/dev/ttyS1"
#define PERCENT		75	/* of the free memory */
#define MIB		(1UL << 20)
#define MIB_WORDS	(MIB / sizeof(uint64_t))

/* A number from the kernel's command line */
static unsigned long parameter(const char *name, unsigned long otherwise)
{
	const char *value = getenv(name);

	return value ? strtoul(value, NULL, 0) : otherwise;
}

/* Bytes, from /proc/meminfo */
static unsigned long memory(const char *name)
{
	unsigned long kib, bytes = 0;
	char line[128], key[64];
	FILE *f;

	f = fopen("/proc/meminfo", "r");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%63[^:]: %lu", key, &kib) == 2 && !strcmp(key, name))
			bytes = kib * 1024;
	}
	if (f)
		fclose(f);
	return bytes;
}

static int nr_cpus(void)
{
	cpu_set_t cpus;

	return sched_getaffinity(0, sizeof(cpus), &cpus) ? 0 : CPU_COUNT(&cpus);
}

static void run_on(int cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
}

/* What was written must be read again: the compiler must not know it. */
static void barrier(void)
{
	asm volatile("" : : : "memory");
}

static uint64_t pattern(uint64_t seed, const uint64_t *word)
{
	return (seed + (uintptr_t)word) * 0x9e3779b97f4a7c15ULL;
}

static void fill(uint64_t *mem, unsigned long words, uint64_t seed)
{
	unsigned long i;

	for (i = 0; i < words; i++)
		mem[i] = pattern(seed, mem + i);
}

/* Return the number of words that differ. */
static unsigned long check(const uint64_t *mem, unsigned long words, uint64_t seed)
{
	unsigned long errors = 0, i;

	for (i = 0; i < words; i++)
		errors += mem[i] != pattern(seed, mem + i);
	return errors;
}

static unsigned long check_zero(const uint64_t *mem, unsigned long words)
{
	unsigned long errors = 0, i;

	for (i = 0; i < words; i++)
		errors += mem[i] != 0;
	return errors;
}

/* Return the number of words that were not what they should be. */
static unsigned long test(unsigned long mib, uint64_t seed)
{
	unsigned long words = mib * MIB_WORDS, errors, i;
	uint64_t *mem;

	mem = mmap(NULL, mib * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		return words;

	fill(mem, words, seed);
	if (parameter("break", 0))
		mem[words / 2] ^= 1;
	barrier();
	errors = check(mem, words, seed);
	for (i = 0; i < words; i += 4 * MIB_WORDS) {
		madvise(mem + i, MIB, MADV_DONTNEED);
		errors += check_zero(mem + i, MIB_WORDS);
	}
	fill(mem, words, ~seed);
	barrier();
	return errors + check(mem, words, ~seed);
}

/* A process for each of @cpus tests @mib. */
static unsigned long test_all(int cpus, unsigned long mib, uint64_t seed)
{
	unsigned long *errors, sum = 0;
	int cpu, status;

	errors = mmap(NULL, cpus * sizeof(*errors), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (errors == MAP_FAILED)
		return 1;
	for (cpu = 0; cpu < cpus; cpu++) {
		if (fork())
			continue;
		run_on(cpu);
		errors[cpu] = test(mib, seed + cpu);
		exit(0);
	}
	for (cpu = 0; cpu < cpus; cpu++) {
		/* One that was killed, or could not be started, has tested nothing. */
		if (wait(&status) < 0 || status)
			sum++;
	}
	for (cpu = 0; cpu < cpus; cpu++)
		sum += errors[cpu];
	return sum;
}

static void report(const char *line)
{
	int fd = open(REPORT, O_WRONLY | O_NOCTTY);

	if (fd < 0 || write(fd, line, strlen(line)) < 0 || tcdrain(fd))
		perror(REPORT);
}

int main(void)
{
	unsigned long seed = parameter("seed", 1), mib, errors;
	int cpus = nr_cpus();
	char line[256];

	mount("proc", "/proc", "proc", 0, NULL);
	mount("dev", "/dev", "devtmpfs", 0, NULL);

	mib = memory("MemAvailable") / MIB * PERCENT / 100 / cpus;
	errors = mib ? test_all(cpus, mib, seed) : 1;
	snprintf(line, sizeof(line), "%d cpus=%d memory-kib=%lu tested-mib=%lu seed=%lu errors=%lu\n",
		 errors != 0, cpus, memory("MemTotal") / 1024, mib * cpus, seed, errors);
	report(line);
	reboot(RB_POWER_OFF);
	return 1;
}
