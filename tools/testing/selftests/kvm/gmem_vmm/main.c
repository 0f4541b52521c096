// SPDX-License-Identifier: GPL-2.0-only
/* gmem_vmm: boot a Linux kernel on guest_memfd memory; see vmm.h for what is where. */
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vmm.h"

static struct {
	const char *kernel;
	const char *initrd;
	const char *cmdline;
	const char *policy;
	__u64 mem;
	unsigned int cpus;
	unsigned int timeout;
	bool stats;
} opt = {
	.cmdline = "console=ttyS0 panic=-1",
	.mem = 256 * MIB,
	.cpus = 1,
	.timeout = 300,
};

static const char * const ends[] = {
	[VM_POWER_OFF]		= "the guest switched itself off",
	[VM_RESET]		= "the guest asked for a reset",
	[VM_TRIPLE_FAULT]	= "the guest died of a triple fault",
	[VM_TIMEOUT]		= "the guest ran out of time",
	[VM_ERROR]		= "the guest could not be run on",
};

void complain(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fputs("gmem_vmm: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

void die(const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	complain("%s", text);
	exit(EXIT_NOT_STARTED);
}

static void print_help(void)
{
	puts("usage: gmem_vmm --kernel FILE [OPTION]...\n"
	     "Boot Linux in a VM whose memory is a guest_memfd.\n"
	     "\n"
	     "  -k, --kernel FILE    a bzImage\n"
	     "  -i, --initrd FILE    an initramfs\n"
	     "  -a, --cmdline TEXT   the kernel's command line (console=ttyS0 panic=-1)\n"
	     "  -m, --mem SIZE       memory, 32M to 2G, a multiple of 2M (256M)\n"
	     "  -c, --cpus N         vCPUs, 1 to 4 (1)\n"
	     "  -p, --policy NAME    ask for this gmem policy (a kernel with GMEM_BPF)\n"
	     "  -t, --timeout S      end it after so many seconds (300)\n"
	     "  -s, --stats          at the end print what its memory cost, as KEY=VALUE\n"
	     "  -h, --help\n"
	     "\n"
	     "The guest's first serial port (ttyS0) is the standard output. To the second (ttyS1)\n"
	     "the guest writes its verdict, a line that begins with a number from 0 to 99; it is\n"
	     "printed after 'guest: '.\n"
	     "\n"
	     "Exit status: the guest's verdict; 124 it ran out of time; 125 it ended without a\n"
	     "verdict; 126 it could not be started, or not be run on.\n"
	     "\n"
	     "Examples:\n"
	     "  gmem_vmm -k bzImage -i initramfs.cpio -m 512M -c 2 -s\n"
	     "  gmem_vmm -k bzImage -i initramfs.cpio -p huge -a 'console=ttyS0 panic=-1 quiet'");
}

/* A number, and for sizes K, M or G */
static __u64 parse_number(const char *name, const char *s, bool size, __u64 least, __u64 most)
{
	static const char units[] = "KMG";
	const char *unit;
	__u64 value;
	char *end;

	value = strtoull(s, &end, 10);
	unit = size && *end ? strchr(units, *end) : NULL;
	if (unit) {
		if (value <= most)
			value <<= 10 * (unit - units + 1);
		end++;
	}
	if (*s < '0' || *s > '9' || *end)
		die("%s: '%s' is not a %s; see --help", name, s, size ? "size" : "number");
	if (value < least || value > most)
		die("%s: %s is too %s; see --help", name, s, value < least ? "little" : "much");
	return value;
}

static void parse_options(int argc, char **argv)
{
	static const struct option options[] = {
		{ "kernel", required_argument, NULL, 'k' },
		{ "initrd", required_argument, NULL, 'i' },
		{ "cmdline", required_argument, NULL, 'a' },
		{ "mem", required_argument, NULL, 'm' },
		{ "cpus", required_argument, NULL, 'c' },
		{ "policy", required_argument, NULL, 'p' },
		{ "timeout", required_argument, NULL, 't' },
		{ "stats", no_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{}
	};
	int c;

	while ((c = getopt_long(argc, argv, "k:i:a:m:c:p:t:sh", options, NULL)) != -1) {
		switch (c) {
		case 'k':
			opt.kernel = optarg;
			break;
		case 'i':
			opt.initrd = optarg;
			break;
		case 'a':
			opt.cmdline = optarg;
			break;
		case 'm':
			opt.mem = parse_number("--mem", optarg, true, VMM_MIN_MEM, VMM_MAX_MEM);
			if (opt.mem % (2 * MIB))
				die("--mem: %s is not a multiple of 2M", optarg);
			break;
		case 'c':
			opt.cpus = parse_number("--cpus", optarg, false, 1, VMM_MAX_CPUS);
			break;
		case 'p':
			if (strlen(optarg) >= VMM_POLICY_LEN)
				die("--policy: names have at most %d characters",
				    VMM_POLICY_LEN - 1);
			opt.policy = optarg;
			break;
		case 't':
			opt.timeout = parse_number("--timeout", optarg, false, 1, 1000000);
			break;
		case 's':
			opt.stats = true;
			break;
		case 'h':
			print_help();
			exit(0);
		default:
			die("see --help");
		}
	}
	if (optind < argc)
		die("unexpected '%s'; see --help", argv[optind]);
	if (!opt.kernel)
		die("--kernel is needed; see --help");
}

static void put_console(struct vm *vm, char c)
{
	(void)vm;
	putchar(c);
	if (c == '\n')
		fflush(stdout);
}

/* Only whole lines count: what the guest could not say to the end, it did not say. */
static void put_report(struct vm *vm, char c)
{
	char *end;
	long n;

	if (c == '\r')
		return;
	if (c != '\n') {
		if (vm->line_len < sizeof(vm->line) - 1)
			vm->line[vm->line_len++] = c;
		return;
	}
	vm->line[vm->line_len] = '\0';
	vm->line_len = 0;
	printf("guest: %s\n", vm->line);
	n = strtol(vm->line, &end, 10);
	if (end != vm->line && n >= 0 && n <= EXIT_VERDICT_MAX)
		vm->verdict = n;
}

static __u64 now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

static int exit_status(const struct vm *vm, enum vm_end end)
{
	if (end == VM_TIMEOUT)
		return EXIT_TIMEOUT;
	if (end == VM_ERROR)
		return EXIT_NOT_STARTED;
	return vm->verdict < 0 ? EXIT_NO_VERDICT : vm->verdict;
}

int main(int argc, char *argv[])
{
	static struct vm vm = {
		.console = { .port = 0x3f8, .irq = IRQ_COM1, .vm = &vm, .put = put_console },
		.report = { .port = 0x2f8, .irq = IRQ_COM2, .vm = &vm, .put = put_report },
	};
	enum vm_end end;
	__u64 start;

	parse_options(argc, argv);
	vm_create(&vm, opt.cpus, opt.mem, opt.policy);
	boot_load(&vm, opt.kernel, opt.initrd, opt.cmdline);

	start = now_ms();
	end = vm_run(&vm, opt.timeout);
	if (opt.stats)
		stats_print(&vm, now_ms() - start);
	complain("%s", ends[end]);
	return exit_status(&vm, end);
}
