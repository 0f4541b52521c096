// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* gmem-trace: what VMs' guest_memfd memory costs them, and where conversions spend their time. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "gmem-trace.h"
#include "metrics.h"

#define CGROUP_MOUNT	"/sys/fs/cgroup"

struct options opt;

enum {
	OPT_VM = FIRST_OPTION,
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
	OPT_LISTEN,
	OPT_TEXTFILE,
	OPT_MAX_VMS,
};

static const struct option long_options[] = {
	{ "pid",	required_argument,	NULL, 'p' },
	{ "timestamp",	no_argument,		NULL, 'T' },
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
	{ "listen",	required_argument,	NULL, OPT_LISTEN },
	{ "textfile",	required_argument,	NULL, OPT_TEXTFILE },
	{ "max-vms",	required_argument,	NULL, OPT_MAX_VMS },
	{ }
};

#define COMMON		(OPT(OPT_VM) | OPT(OPT_CGROUP) | OPT(OPT_DURATION) | OPT(OPT_ONCE))
#define INTERVALS	"[OPTION]... [INTERVAL [COUNT]]"
#define FILE_ARG	"[OPTION]... FILE"

static const struct command commands[] = {
	{ "conversions", cmd_conversions, 0, 2, COMMON, INTERVALS,
	  "where conversions between private and shared memory spend their time",
	  "For each VM and direction: how many, the phases of each from the guest's exit until it\n"
	  "runs again, and how the cost grows with the size of the range and with the number of\n"
	  "vCPUs that convert at once. Phases:\n"
	  "\n"
	  "  exit         from the hardware's exit until KVM_RUN returns to the VMM\n"
	  "  think        the VMM's own time until it calls KVM_SET_MEMORY_ATTRIBUTES\n"
	  "  lock         wait for slots_lock, which one conversion of a VM holds at a time\n"
	  "  zap          unmap the range from the guest, and flush TLBs\n"
	  "  store        the rest of the ioctl: the attributes of the range\n"
	  "  punch        what the VMM, or a policy, punches or populates for it\n"
	  "  back         the rest until the guest runs again\n"
	  "  total        the sum of these\n"
	  "  first_fault  later, handling the first fault on what became private\n" },
	{ "top", cmd_top, 0, 2, COMMON & ~OPT(OPT_ONCE), INTERVALS,
	  "a live screen: which VM loses most time, in which phase, with which ranges",
	  "VMs, those that lose most time in conversions and faults first. Below, one of them: its\n"
	  "phases (see 'help conversions'), and how long conversions take by the size of their range\n"
	  "and by the number of vCPUs that convert at once. New figures come every INTERVAL (2\n"
	  "seconds). Keys:\n"
	  "\n"
	  "  q              quit\n"
	  "  h, ?           help\n"
	  "  up, down       another VM; PgUp, PgDn, Home, End\n"
	  "  < >            sort by the column to the left, to the right; R: the other way round\n"
	  "  o              sort by a column that is asked for\n"
	  "  d, s           ask for the seconds between updates\n"
	  "  p              ask for the pid of the only VM to show\n"
	  "  t              conversions to private, to shared, or both\n"
	  "  z              colours\n"
	  "  space          update now\n" },
	{ "faults", cmd_faults, 0, 2, COMMON, INTERVALS,
	  "faults on guest memory: what they find, how large, how long",
	  "  access   private, shared (of guest_memfd), or prefault (KVM_PRE_FAULT_MEMORY, or\n"
	  "           mapped beside a fault by a policy)\n"
	  "  memory   allocated: the fault got it. found: it was there. raced: with an\n"
	  "           invalidation, and comes again. failed: left to the VMM\n"
	  "  source   of the memory's content: a pool had it zeroed; it was zeroed as it was\n"
	  "           allocated (alloc), or as it was mapped (first_use; memory that was found may be\n"
	  "           so, too); or found as it is\n"
	  "  largest  size as which the memory there could be mapped\n"
	  "  mapping  size that was mapped\n" },
	{ "zero", cmd_zero, 0, 2, COMMON, INTERVALS,
	  "when memory is zeroed, how much, and what it costs",
	  "  first_use  as it is mapped for the first time: a vCPU or the VMM waits\n"
	  "  alloc      as it is allocated, because a policy wants that\n"
	  "  ahead      while a policy populates memory ahead of its use\n"
	  "  free       scrubbed on its way out, because a policy wants that\n"
	  "\n"
	  "What pools zero is for VMs to come, and not here: see 'events --event pool'.\n" },
	{ "alloc", cmd_alloc, 0, 2, COMMON, INTERVALS,
	  "allocations: sizes asked for and got, failures; populating; freeing",
	  "  allocated  per reason: the size that a policy asked for and that it got; fitted: more\n"
	  "             did not fit there; fell back: the kernel had no more; the node; when it is\n"
	  "             zeroed (pool: a pool had it zeroed). Times are without zeroing.\n"
	  "  failed     allocations that found no memory\n"
	  "  populated  ahead of use, as policies want\n"
	  "  freed      memory that was punched out, or whose last user is gone: given back, scrubbed\n"
	  "             first, or recycled: into a pool\n"
	  "  split      large folios that a hole was punched into\n"
	  "  collapsed  small folios that were made a large one again, as policies want\n" },
	{ "policy", cmd_policy, 0, 2, COMMON, INTERVALS,
	  "what policies decide, what that costs, and what happens to them",
	  "Policies that are attached, detached or tripped are told as it happens. Decisions are\n"
	  "counted by policy, op and VM: fitted are those that did not fit as they were, clamped\n"
	  "those that were nonsense. Programs are all struct_ops programs that ran, with the time\n"
	  "that the kernel's statistics of BPF programs have for them.\n" },
	{ "memory", cmd_memory, 0, 2, COMMON, INTERVALS,
	  "what backs the memory of VMs now: private, shared, both",
	  "  private  resident in guest_memfd, with the sizes of its folios\n"
	  "  shared   memory of the VMM mapped at the same guest addresses, present or swapped\n"
	  "  doubly   backed by both. The kernel does not tell which private pages are there, so\n"
	  "           that this has a lower and an upper limit\n"
	  "  pools    zeroed memory that policies keep for allocations to come, of each node and\n"
	  "           size; it belongs to no VM yet\n"
	  "\n"
	  "Without an interval, once. Shared memory that the VMM has in no page table (a file's\n"
	  "that only another process has mapped) is not seen.\n" },
	{ "events", cmd_events, 0, 0,
	  (COMMON & ~OPT(OPT_ONCE)) | OPT(OPT_EVENT) | OPT(OPT_SLOWER) | OPT(OPT_NUMBER),
	  "[OPTION]...",
	  "a line for each event, as it happens",
	  "      --event LIST   only these: create release bind unbind alloc zero free fault\n"
	  "                     prealloc fallocate punch_hole invalidate error split collapse\n"
	  "                     convert_begin convert_end convert_request policy_attach\n"
	  "                     policy_detach policy_trip policy_decision pool; and conversion,\n"
	  "                     first_fault, which are joined from those\n"
	  "      --slower TIME  only those that took so long: 50us, 2ms\n"
	  "      --number N     end after so many\n"
	  "\n"
	  "Their fields are those of the tracepoints: Documentation/virt/kvm/gmem/tracepoints.rst.\n"
	  "fault has its source besides (see 'help faults').\n"
	  "conversion has the phases of one conversion (see 'help conversions').\n" },
	{ "record", cmd_record, 1, 1, COMMON & ~OPT(OPT_ONCE), FILE_ARG,
	  "conversions, faults, zeroing, allocations and memory, into a file",
	  "The file is whole when Ctrl-C or --duration has ended it; an unfinished one can be read\n"
	  "up to its last whole record. Then: gmem-trace report FILE.\n" },
	{ "report", cmd_report, 1, 1,
	  OPT(OPT_VM) | OPT(OPT_OUTPUT) | OPT(OPT_TEXT) | OPT(OPT_SVG) | OPT(OPT_PERFETTO),
	  FILE_ARG,
	  "a page, or something else, from a recording; needs no privileges",
	  "The page is one HTML file without scripts, which needs nothing else: a timeline of\n"
	  "conversions for each vCPU, their latencies, phases, the longest ones, faults, zeroing, and\n"
	  "memory over time.\n"
	  "\n"
	  "      --output FILE  the page; \"-\" is the standard output (FILE.html)\n"
	  "      --text         tables instead, on the standard output\n"
	  "      --svg          the drawings alone\n"
	  "      --perfetto     a trace for ui.perfetto.dev, or whatever reads Chrome's JSON\n" },
	{ "export", cmd_export, 0, 2,
	  (COMMON & ~OPT(OPT_ONCE)) | OPT(OPT_LISTEN) | OPT(OPT_TEXTFILE) | OPT(OPT_MAX_VMS),
	  INTERVALS,
	  "metrics for Prometheus: by HTTP, or into a file of node_exporter's",
	  "      --listen ADDR:PORT  serve /metrics there (127.0.0.1:10920, unless there is\n"
	  "                          --textfile). There is no password: beware of other addresses\n"
	  "      --textfile FILE     write the metrics into this file, each interval\n"
	  "      --max-vms N         so many VMs have labels of their own (64); what is too much is\n"
	  "                          vm=\"other\"\n"
	  "\n"
	  "Who scrapes gets what is counted then; memory is looked at once each INTERVAL (15\n"
	  "seconds). Counters go on where they were when a VM of the same name starts again. A\n"
	  "dashboard and alerts are in share/gmem-trace.\n" },
};

static const char help[] =
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
	"\n"
	"Examples:\n"
	"  gmem-trace conversions                 all VMs, until Ctrl-C\n"
	"  gmem-trace conversions -T 5            every 5 seconds, with the time\n"
	"  gmem-trace conversions --vm web-1 1 10 one VM by its name, ten times\n"
	"  gmem-trace conversions -j --duration 60 | jq .vms[].to.private.phases.lock.p99_ns\n"
	"  gmem-trace top                         which VM loses time, and what with, live\n"
	"  gmem-trace faults --once               one second of faults\n"
	"  gmem-trace memory                      what backs the memory of VMs now\n"
	"  gmem-trace events --event conversion --slower 10ms\n"
	"  gmem-trace record --duration 60 boot.gmt && gmem-trace report boot.gmt\n"
	"  gmem-trace export                      metrics at http://127.0.0.1:10920/metrics\n";

/* ---- Values: each is taken, or what is wrong with it is said ---- */

static int take_seconds(const char *what, const char *text, double *value)
{
	char *end;

	*value = strtod(text, &end);
	if (*text && !*end && *value >= 0.01 && *value <= 1e7)
		return 0;
	return usage_error("%s %s: it is a number of seconds, from 0.01", what, text);
}

static int take_number(const char *what, const char *text, __u64 max, __u64 *value,
		       const char *meaning)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 10);
	if (*text >= '0' && *text <= '9' && !*end && !errno && *value && *value <= max)
		return 0;
	return usage_error("%s %s: it is %s", what, text, meaning);
}

/* "100us", "2ms", "1s" */
static int take_time(const char *what, const char *text, __u64 *ns)
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
			return 0;
		}
	}
	return usage_error("%s %s: it is a time with its unit, such as 50us or 2ms", what, text);
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
static int set_pid(const struct command *cmd, const char *text)
{
	__u64 pid;
	int ret;

	ret = take_number("-p", text, 1 << 22, &pid, "the id of a process");
	if (ret)
		return ret;
	opt.pid = pid;
	if (cmd->run != cmd_report && kill(pid, 0) && errno == ESRCH)
		return fail(ESRCH, "there is no process %llu", pid);
	return 0;
}

/* ---- The command line ---- */

/* Values that are looked at when it is known which command they are for. */
static const char *given_pid, *given_cgroup;

static int take_option(int c)
{
	switch (c) {
	case 'p':
		given_pid = optarg;
		break;
	case 'T':
		opt.timestamp = true;
		break;
	case OPT_VM:
		opt.vm = optarg;
		break;
	case OPT_CGROUP:
		given_cgroup = optarg;
		break;
	case OPT_DURATION:
		return take_seconds("--duration", optarg, &opt.duration);
	case OPT_ONCE:
		opt.once = true;
		break;
	case OPT_EVENT:
		opt.event = optarg;
		break;
	case OPT_SLOWER:
		return take_time("--slower", optarg, &opt.slower_ns);
	case OPT_NUMBER:
		return take_number("--number", optarg, ~0ULL, &opt.number,
				   "a number of events, from 1");
	case OPT_OUTPUT:
		opt.output = optarg;
		break;
	case OPT_TEXT:
		opt.format = FORMAT_TEXT;
		break;
	case OPT_SVG:
		opt.format = FORMAT_SVG;
		break;
	case OPT_PERFETTO:
		opt.format = FORMAT_PERFETTO;
		break;
	case OPT_LISTEN:
		opt.listen = optarg;
		if (!http_address_valid(optarg))
			return usage_error("--listen %s: it is ADDRESS:PORT, such as 127.0.0.1:10920",
					   optarg);
		break;
	case OPT_TEXTFILE:
		opt.textfile = optarg;
		break;
	case OPT_MAX_VMS:
		return take_number("--max-vms", optarg, MAX_LABELS - 1, &opt.max_vms,
				   "a number from 1 to 512");
	}
	return 0;
}

/* [INTERVAL [COUNT]] */
static int take_intervals(int argc, char **argv)
{
	int ret = 0;

	if (argc > 0)
		ret = take_seconds("interval", argv[0], &opt.interval);
	if (!ret && argc > 1)
		ret = take_number("count", argv[1], ~0ULL, &opt.count, "a number, from 1");
	if (ret)
		return ret;
	if (opt.once && argc > 1)
		return usage_error("--once is one report; a count beside it makes no sense");
	if (opt.once) {
		opt.count = 1;
		if (!opt.interval)
			opt.interval = 1;
	}
	return 0;
}

static int take_arguments(const struct command *cmd, int argc, char **argv)
{
	int ret = 0;

	if (cmd->min_args)
		opt.file = argv[0];
	else
		ret = take_intervals(argc, argv);
	if (!ret && given_pid)
		ret = set_pid(cmd, given_pid);
	if (!ret && given_cgroup)
		ret = set_cgroup(given_cgroup);
	return ret;
}

const struct tool tool = {
	.name = "gmem-trace",
	.usage = "COMMAND [OPTION]... [INTERVAL [COUNT]]",
	.flags = "",
	.help = help,
	.command_help = "\nOptions: see 'gmem-trace help'.\n",
	.column = 12,
	.commands = commands,
	.nr_commands = ARRAY_SIZE(commands),
	.short_options = ":p:TjvhV",
	.options = long_options,
	.json_schema = 1,
	.json_flags = JSON_C_TO_STRING_PLAIN,
	.json = &opt.json,
	.verbose = &opt.verbose,
	.option = take_option,
	.arguments = take_arguments,
};

int main(int argc, char **argv)
{
	int ret = tool_main(argc, argv);

	tracer_close();
	return ret;
}
