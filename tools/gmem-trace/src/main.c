// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* gmem-trace: what VMs' guest_memfd memory costs them, and where conversions spend their time. */
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <bpf/libbpf.h>

#include "gmem-trace.h"

#define CGROUP_MOUNT	"/sys/fs/cgroup"

struct options opt;

enum {
	OPT_VM = 256,
	OPT_CGROUP,
	OPT_DURATION,
	OPT_ONCE,
	OPT_EVENT,
	OPT_SLOWER,
	OPT_NUMBER,
	OPT_OUTPUT,
	OPT_TEXT,
	OPT_SVG,
	OPT_PERFETTO,
};

static const struct option long_options[] = {
	{ "pid",	required_argument,	NULL, 'p' },
	{ "timestamp",	no_argument,		NULL, 'T' },
	{ "json",	no_argument,		NULL, 'j' },
	{ "verbose",	no_argument,		NULL, 'v' },
	{ "help",	no_argument,		NULL, 'h' },
	{ "version",	no_argument,		NULL, 'V' },
	{ "vm",		required_argument,	NULL, OPT_VM },
	{ "cgroup",	required_argument,	NULL, OPT_CGROUP },
	{ "duration",	required_argument,	NULL, OPT_DURATION },
	{ "once",	no_argument,		NULL, OPT_ONCE },
	{ "event",	required_argument,	NULL, OPT_EVENT },
	{ "slower",	required_argument,	NULL, OPT_SLOWER },
	{ "number",	required_argument,	NULL, OPT_NUMBER },
	{ "output",	required_argument,	NULL, OPT_OUTPUT },
	{ "text",	no_argument,		NULL, OPT_TEXT },
	{ "svg",	no_argument,		NULL, OPT_SVG },
	{ "perfetto",	no_argument,		NULL, OPT_PERFETTO },
	{ }
};

#define OPT(option)	BIT((option) - OPT_VM)
#define COMMON		(OPT(OPT_VM) | OPT(OPT_CGROUP) | OPT(OPT_DURATION) | OPT(OPT_ONCE))

static const struct command {
	const char *name;
	int (*run)(void);
	unsigned int options;
	const char *args;
	const char *about;
	const char *help;
} commands[] = {
	{ "conversions", cmd_conversions, COMMON, "[INTERVAL [COUNT]]",
	  "where conversions between private and shared memory spend their time",
	  "For each VM and direction: how many, the phases of each from the guest's exit until it\n"
	  "runs again, and how the cost grows with the size of the range and with the number of\n"
	  "vCPUs that convert at once. Phases:\n"
	  "\n"
	  "  exit         from the hardware's exit until KVM_RUN returns to the VMM\n"
	  "  think        the VMM's own time until it calls KVM_SET_MEMORY_ATTRIBUTES\n"
	  "  lock         wait for slots_lock, which one conversion of a VM holds at a time\n"
	  "  zap          unmap the range from the guest, and flush TLBs\n"
	  "  store        the rest of the ioctl: one attribute for each 4K\n"
	  "  punch        what the VMM, or a policy, punches or populates for it\n"
	  "  back         the rest until the guest runs again\n"
	  "  total        the sum of these\n"
	  "  first_fault  later, handling the first fault on what became private\n" },
	{ "faults", cmd_faults, COMMON, "[INTERVAL [COUNT]]",
	  "faults on guest memory: what they find, how large, how long",
	  "  access   private, shared (of guest_memfd), or prefault (KVM_PRE_FAULT_MEMORY)\n"
	  "  memory   allocated: the fault got it. found: it was there. raced: with an\n"
	  "           invalidation, and comes again. failed: left to the VMM\n"
	  "  largest  size as which the memory there could be mapped\n"
	  "  mapping  size that was mapped\n" },
	{ "zero", cmd_zero, COMMON, "[INTERVAL [COUNT]]",
	  "when memory is zeroed, how much, and what it costs",
	  "  first_use  as it is mapped for the first time: a vCPU or the VMM waits\n"
	  "  alloc      as it is allocated, because a policy wants that\n"
	  "  ahead      while a policy populates memory ahead of its use\n"
	  "  free       scrubbed on its way out, because a policy wants that\n" },
	{ "alloc", cmd_alloc, COMMON, "[INTERVAL [COUNT]]",
	  "allocations: sizes asked for and got, failures; populating; freeing",
	  "  allocated  per reason: the size that a policy asked for and that it got; fitted: more\n"
	  "             did not fit there; fell back: the kernel had no more; the node; when it is\n"
	  "             zeroed. Times are without zeroing.\n"
	  "  failed     allocations that found no memory\n"
	  "  populated  ahead of use, as policies want\n"
	  "  freed      memory that was punched out, or whose last user is gone\n"
	  "  split      large folios that a hole was punched into\n"
	  "  collapsed  small folios that were made a large one again, as policies want\n" },
	{ "policy", cmd_policy, COMMON, "[INTERVAL [COUNT]]",
	  "what policies decide, what that costs, and what happens to them",
	  "Policies that are attached, detached or tripped are told as it happens. Decisions are\n"
	  "counted by policy, op and VM: fitted are those that did not fit as they were, clamped\n"
	  "those that were nonsense. Programs are all struct_ops programs that ran, with the time\n"
	  "that the kernel's statistics of BPF programs have for them.\n" },
	{ "memory", cmd_memory, COMMON, "[INTERVAL [COUNT]]",
	  "what backs the memory of VMs now: private, shared, both",
	  "  private  resident in guest_memfd, with the sizes of its folios\n"
	  "  shared   memory of the VMM mapped at the same guest addresses, present or swapped\n"
	  "  doubly   backed by both. The kernel does not tell which private pages are there, so\n"
	  "           that this has a lower and an upper limit\n"
	  "\n"
	  "Without an interval, once. Shared memory that the VMM has in no page table (a file's\n"
	  "that only another process has mapped) is not seen.\n" },
	{ "events", cmd_events,
	  (COMMON & ~OPT(OPT_ONCE)) | OPT(OPT_EVENT) | OPT(OPT_SLOWER) | OPT(OPT_NUMBER), "",
	  "a line for each event, as it happens",
	  "      --event LIST   only these: create release bind unbind alloc zero free fault\n"
	  "                     prealloc fallocate punch_hole invalidate error split collapse\n"
	  "                     convert_begin convert_end convert_request policy_attach\n"
	  "                     policy_detach policy_trip policy_decision; and conversion,\n"
	  "                     first_fault, which are joined from those\n"
	  "      --slower TIME  only those that took so long: 50us, 2ms\n"
	  "      --number N     end after so many\n"
	  "\n"
	  "Their fields are those of the tracepoints: Documentation/virt/kvm/gmem/tracepoints.rst.\n"
	  "conversion has the phases of one conversion (see 'help conversions').\n" },
	{ "record", cmd_record, COMMON & ~OPT(OPT_ONCE), "FILE",
	  "conversions, faults, zeroing, allocations and memory, into a file",
	  "The file is whole when Ctrl-C or --duration has ended it; an unfinished one can be read\n"
	  "up to its last whole record. Then: gmem-trace report FILE.\n" },
	{ "report", cmd_report,
	  OPT(OPT_VM) | OPT(OPT_OUTPUT) | OPT(OPT_TEXT) | OPT(OPT_SVG) | OPT(OPT_PERFETTO), "FILE",
	  "a page, or something else, from a recording; needs no privileges",
	  "The page is one HTML file without scripts, which needs nothing else: a timeline of\n"
	  "conversions for each vCPU, their latencies, phases, the longest ones, faults, zeroing, and\n"
	  "memory over time.\n"
	  "\n"
	  "      --output FILE  the page; \"-\" is the standard output (FILE.html)\n"
	  "      --text         tables instead, on the standard output\n"
	  "      --svg          the drawings alone\n"
	  "      --perfetto     a trace for ui.perfetto.dev, or whatever reads Chrome's JSON\n" },
};

#define NR_COMMANDS	((int)ARRAY_SIZE(commands))

static const char examples[] =
	"  gmem-trace conversions                 all VMs, until Ctrl-C\n"
	"  gmem-trace conversions -T 5            every 5 seconds, with the time\n"
	"  gmem-trace conversions --vm web-1 1 10 one VM by its name, ten times\n"
	"  gmem-trace conversions -j --duration 60 | jq .vms[].to.private.phases.lock.p99_ns\n"
	"  gmem-trace faults --once               one second of faults\n"
	"  gmem-trace memory                      what backs the memory of VMs now\n"
	"  gmem-trace events --event conversion --slower 10ms\n"
	"  gmem-trace record --duration 60 boot.gmt && gmem-trace report boot.gmt\n";

static const struct command *find_command(const char *name)
{
	int i;

	for (i = 0; i < NR_COMMANDS; i++) {
		if (!strcmp(name, commands[i].name))
			return &commands[i];
	}
	return NULL;
}

int usage_error(const char *format, ...)
{
	json_object *root, *o;
	char text[256];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (!opt.json) {
		fprintf(stderr, "gmem-trace: %s\n", text);
		return EXIT_USAGE;
	}
	root = json_object_new_object();
	o = json_object_new_object();
	json_num(root, "schema", JSON_SCHEMA);
	json_str(o, "code", "USAGE");
	json_str(o, "message", text);
	json_object_object_add(root, "error", o);
	json_line(root);
	return EXIT_USAGE;
}

static void help_all(FILE *f)
{
	int i;

	fprintf(f, "usage: gmem-trace COMMAND [OPTION]... [INTERVAL [COUNT]]\n\n");
	for (i = 0; i < NR_COMMANDS; i++)
		fprintf(f, "  %-12s %s\n", commands[i].name, commands[i].about);
	fprintf(f, "  %-12s %s\n", "help", "this, or 'help COMMAND' for one in detail");
	fprintf(f, "\n"
		"With an interval (seconds), a report each time, of that time; COUNT times. Without,\n"
		"one at the end, which Ctrl-C or --duration brings.\n"
		"\n"
		"  -p, --pid PID      only the VM of this process\n"
		"      --vm NAME      only VMs of this name, a shell pattern: what QEMU has as -name,\n"
		"                     Firecracker as --id; or the process id\n"
		"      --cgroup PATH  only VMs in this cgroup (v2), or below it\n"
		"      --duration S   end after so many seconds\n"
		"      --once         one report, of one interval (1 second)\n"
		"  -T, --timestamp    print the time with each report\n"
		"  -j, --json         one line of JSON for each report; errors, too\n"
		"  -v, --verbose      show what the kernel says when it refuses the programs\n"
		"  -V, --version      print versions\n"
		"\n"
		"Exit status: 0 done; 1 failed; 2 wrong usage.\n"
		"\nExamples:\n%s", examples);
}

static void help_one(const struct command *cmd)
{
	printf("usage: gmem-trace %s [OPTION]... %s\n\n%s\n\n%s", cmd->name, cmd->args,
	       cmd->about, cmd->help);
	printf("\nOptions: see 'gmem-trace help'.\n");
}

static int help(const char *name)
{
	const struct command *cmd;

	if (!name) {
		help_all(stdout);
		return EXIT_OK;
	}
	cmd = find_command(name);
	if (!cmd)
		return usage_error("there is no command '%s'", name);
	help_one(cmd);
	return EXIT_OK;
}

static void print_version(void)
{
	json_object *root;

	if (!opt.json) {
		printf("gmem-trace: JSON schema %d, libbpf %s\n", JSON_SCHEMA,
		       libbpf_version_string());
		return;
	}
	root = json_object_new_object();
	json_num(root, "schema", JSON_SCHEMA);
	json_str(root, "libbpf", libbpf_version_string());
	json_line(root);
}

/* ---- Values of options ---- */

static bool parse_seconds(const char *text, double *value)
{
	char *end;

	*value = strtod(text, &end);
	return *text && !*end && *value >= 0.01 && *value <= 1e7;
}

static bool parse_number(const char *text, __u64 max, __u64 *value)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 10);
	return *text >= '0' && *text <= '9' && !*end && !errno && *value && *value <= max;
}

/* "100us", "2ms", "1s" */
static bool parse_time(const char *text, __u64 *ns)
{
	static const struct {
		const char *unit;
		__u64 ns;
	} units[] = { { "ns", 1 }, { "us", 1000 }, { "ms", 1000000 }, { "s", NSEC_PER_SEC } };
	char *end;
	double value = strtod(text, &end);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(units); i++) {
		if (end != text && !strcmp(end, units[i].unit) && value >= 0 && value < 1e9) {
			*ns = value * units[i].ns;
			return true;
		}
	}
	return false;
}

/* "/sys/fs/cgroup/a/" and "/a" are "/a". */
static int set_cgroup(const char *path)
{
	struct stat st;
	char *clean;
	size_t len;

	if (!strncmp(path, CGROUP_MOUNT, strlen(CGROUP_MOUNT)))
		path += strlen(CGROUP_MOUNT);
	if (asprintf(&clean, "%s%s", *path == '/' ? "" : "/", path) < 0)
		abort();
	for (len = strlen(clean); len > 1 && clean[len - 1] == '/'; len--)
		clean[len - 1] = '\0';
	opt.cgroup = clean;
	if (!stat(fmt("%s%s", CGROUP_MOUNT, clean), &st) && S_ISDIR(st.st_mode))
		return 0;
	return fail(ENOENT, "there is no cgroup %s below %s", clean, CGROUP_MOUNT);
}

/* A recording may be of one that is gone. */
static int check_pid(const struct command *cmd, __u64 pid)
{
	opt.pid = pid;
	if (cmd->run != cmd_report && kill(pid, 0) && errno == ESRCH)
		return fail(ESRCH, "there is no process %llu", pid);
	return 0;
}

/* ---- The command line ---- */

struct line {
	unsigned int given;
	bool help;
	bool version;
	const char *pid;
	const char *cgroup;
};

static int parse_option(int c, struct line *line, const char *arg)
{
	switch (c) {
	case 'p':
		line->pid = optarg;
		return 0;
	case 'T':
		opt.timestamp = true;
		return 0;
	case 'j':
		return 0;
	case 'v':
		opt.verbose = true;
		return 0;
	case 'h':
		line->help = true;
		return 0;
	case 'V':
		line->version = true;
		return 0;
	case OPT_VM:
		opt.vm = optarg;
		return 0;
	case OPT_CGROUP:
		line->cgroup = optarg;
		return 0;
	case OPT_DURATION:
		if (parse_seconds(optarg, &opt.duration))
			return 0;
		return usage_error("--duration %s: it is a number of seconds, from 0.01", optarg);
	case OPT_ONCE:
		opt.once = true;
		return 0;
	case OPT_EVENT:
		opt.event = optarg;
		return 0;
	case OPT_SLOWER:
		if (parse_time(optarg, &opt.slower_ns))
			return 0;
		return usage_error("--slower %s: it is a time with its unit, such as 50us or 2ms",
				   optarg);
	case OPT_NUMBER:
		if (parse_number(optarg, ~0ULL, &opt.number))
			return 0;
		return usage_error("--number %s: it is a number of events, from 1", optarg);
	case OPT_OUTPUT:
		opt.output = optarg;
		return 0;
	case OPT_TEXT:
		opt.format = FORMAT_TEXT;
		return 0;
	case OPT_SVG:
		opt.format = FORMAT_SVG;
		return 0;
	case OPT_PERFETTO:
		opt.format = FORMAT_PERFETTO;
		return 0;
	case ':':
		return usage_error("%s takes a value", arg);
	default:
		return usage_error("there is no option %s; try 'gmem-trace help'", arg);
	}
}

/* Options may stand before and after the command, so all are parsed, and then judged. */
static int parse_options(int argc, char **argv, struct line *line)
{
	int c, ret;

	/* Errors are told as JSON too, wherever the option that asks for it stands. */
	for (c = 1; c < argc && strcmp(argv[c], "--"); c++)
		opt.json |= !strcmp(argv[c], "-j") || !strcmp(argv[c], "--json");

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":p:TjvhV", long_options, NULL)) != -1) {
		if (c >= OPT_VM)
			line->given |= OPT(c);
		ret = parse_option(c, line, argv[optind - 1]);
		if (ret)
			return ret;
	}
	return 0;
}

static const char *option_name(unsigned int bit)
{
	const struct option *o;

	for (o = long_options; o->name; o++) {
		if (o->val >= OPT_VM && OPT(o->val) == bit)
			return o->name;
	}
	return "?";
}

/* [INTERVAL [COUNT]], or FILE */
static int parse_args(const struct command *cmd, int argc, char **argv)
{
	if (!strcmp(cmd->args, "FILE")) {
		if (argc != 1)
			return usage_error("usage: gmem-trace %s [OPTION]... FILE", cmd->name);
		opt.file = argv[0];
		return 0;
	}
	if (argc > 2 || (argc && !*cmd->args))
		return usage_error("usage: gmem-trace %s [OPTION]... %s", cmd->name, cmd->args);
	if (argc > 0 && !parse_seconds(argv[0], &opt.interval))
		return usage_error("interval %s: it is a number of seconds, from 0.01", argv[0]);
	if (argc > 1 && !parse_number(argv[1], ~0ULL, &opt.count))
		return usage_error("count %s: it is a number, from 1", argv[1]);
	if (opt.once && argc > 1)
		return usage_error("--once is one report; a count beside it makes no sense");
	if (opt.once) {
		opt.count = 1;
		if (!opt.interval)
			opt.interval = 1;
	}
	return 0;
}

static int prepare(const struct command *cmd, const struct line *line)
{
	__u64 pid;

	if (line->pid) {
		if (!parse_number(line->pid, 1 << 22, &pid))
			return usage_error("-p %s: it is the id of a process", line->pid);
		if (check_pid(cmd, pid))
			return -1;
	}
	if (line->cgroup)
		return set_cgroup(line->cgroup);
	return 0;
}

static int run_command(int argc, char **argv, const struct line *line)
{
	const struct command *cmd = find_command(argv[0]);
	unsigned int foreign;
	int ret;

	if (!cmd)
		return usage_error("there is no command '%s'; try 'gmem-trace help'", argv[0]);
	foreign = line->given & ~cmd->options;
	if (foreign)
		return usage_error("%s has no option --%s; try 'gmem-trace help %s'", cmd->name,
				   option_name(foreign & -foreign), cmd->name);
	ret = parse_args(cmd, argc - 1, argv + 1);
	if (!ret)
		ret = prepare(cmd, line);
	if (ret)
		return ret;
	ret = cmd->run();
	tracer_close();
	return ret;
}

int main(int argc, char **argv)
{
	struct line line = {};
	int ret;

	ret = parse_options(argc, argv, &line);
	if (ret)
		return ret;
	argc -= optind;
	argv += optind;

	if (line.version) {
		print_version();
		return EXIT_OK;
	}
	if (argc && !strcmp(argv[0], "help"))
		return help(argc > 1 ? argv[1] : NULL);
	if (line.help)
		return help(argc ? argv[0] : NULL);
	if (!argc) {
		if (opt.json)
			return usage_error("a command is missing; try 'gmem-trace help'");
		help_all(stderr);
		return EXIT_USAGE;
	}

	ret = run_command(argc, argv, &line);
	if (ret < 0) {
		report_failure();
		ret = EXIT_FAILED;
	}
	return ret;
}
