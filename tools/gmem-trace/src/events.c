// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* gmem-trace events: a line for each event. And the names of events, fields and numbers. */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "gmem-trace.h"

const char *const why_names[NR_WHY] = {
	"create", "bind", "guest_fault", "host_fault", "fallocate", "populate", "prealloc",
	"convert", "quiet", "punch", "evict",
};

const char *const zero_names[NR_ZERO] = { "first_use", "alloc", "pool" };
const char *const zeroed_names[NR_ZEROED] = { "first_use", "alloc", "ahead", "free" };
const char *const free_names[NR_FREE] = { "give_back", "scrub", "recycle" };
const char *const source_names[NR_SOURCES] = { "found", "first_use", "alloc", "pool" };
const char *const op_names[NR_OPS] = { "alloc", "prealloc", "convert", "free" };
static const char *const pool_names[NR_POOL] = { "fill", "take", "recycle", "shrink", "drain" };

/* The word for a number; the number, if this program is older than the kernel. */
const char *word(const char *const *names, unsigned int nr, __u64 value)
{
	return value < nr ? names[value] : fmt("%llu", value);
}

enum kind {
	NUM,
	SIGNED,
	HEX,
	BOOL,
	NS,
	WHY,
	ZERO,
	ZEROED,
	MODE,
	OP,
	POOL,
	SOURCE,
	CROWD,
	TEXT,		/* takes words until the next field, or the end */
};

struct field {
	const char *name;
	enum kind kind;
	unsigned int words;	/* of a text */
};

#define NAME		{ "name", TEXT, NAME_LEN / 8 }
#define REASON		{ "reason", TEXT, REASON_LEN / 8 }
#define MAX_FIELDS	19
#define EVENTS_RING	(4 << 20)

static const struct event_desc {
	const char *name;
	struct field fields[MAX_FIELDS];
} descs[NR_EVENTS] = {
	[EV_CREATE] = { "create", { { "size", NUM, 0 }, { "flags", HEX, 0 } } },
	[EV_RELEASE] = { "release", { } },
	[EV_BIND] = { "bind", { { "slot", NUM, 0 }, { "gfn", HEX, 0 }, { "index", NUM, 0 },
		{ "nr", NUM, 0 } } },
	[EV_UNBIND] = { "unbind", { { "slot", NUM, 0 }, { "gfn", HEX, 0 }, { "index", NUM, 0 },
		{ "nr", NUM, 0 } } },
	[EV_ALLOC] = { "alloc", { { "index", NUM, 0 }, { "gfn", HEX, 0 }, { "why", WHY, 0 },
		{ "asked", NUM, 0 }, { "fitted", NUM, 0 }, { "order", NUM, 0 },
		{ "node", SIGNED, 0 },
		{ "zero", ZERO, 0 }, { "ret", SIGNED, 0 }, { "ns", NS, 0 } } },
	[EV_ZERO] = { "zero", { { "index", NUM, 0 }, { "nr", NUM, 0 }, { "when", ZEROED, 0 },
		{ "ns", NS, 0 } } },
	[EV_FREE] = { "free", { { "index", NUM, 0 }, { "nr", NUM, 0 }, { "why", WHY, 0 },
		{ "mode", MODE, 0 }, { "pages", NUM, 0 }, { "failed", NUM, 0 },
		{ "ns", NS, 0 } } },
	[EV_FAULT] = { "fault", { { "vcpu", NUM, 0 }, { "gfn", HEX, 0 }, { "index", NUM, 0 },
		{ "order", NUM, 0 }, { "level", NUM, 0 }, { "allocated", BOOL, 0 },
		{ "private", BOOL, 0 }, { "prefetch", BOOL, 0 }, { "ret", SIGNED, 0 },
		{ "ns", NS, 0 }, { "source", SOURCE, 0 } } },
	[EV_PREALLOC] = { "prealloc", { { "index", NUM, 0 }, { "nr", NUM, 0 }, { "why", WHY, 0 },
		{ "background", BOOL, 0 }, { "done", NUM, 0 }, { "ret", SIGNED, 0 },
		{ "ns", NS, 0 } } },
	[EV_FALLOCATE] = { "fallocate", { { "index", NUM, 0 }, { "nr", NUM, 0 },
		{ "ret", SIGNED, 0 }, { "ns", NS, 0 } } },
	[EV_PUNCH_HOLE] = { "punch_hole", { { "index", NUM, 0 }, { "nr", NUM, 0 },
		{ "ret", SIGNED, 0 }, { "ns", NS, 0 } } },
	[EV_INVALIDATE] = { "invalidate", { { "index", NUM, 0 }, { "nr", NUM, 0 },
		{ "ret", SIGNED, 0 }, { "ns", NS, 0 } } },
	[EV_ERROR] = { "error", { { "index", NUM, 0 }, { "nr", NUM, 0 }, { "ret", SIGNED, 0 },
		{ "ns", NS, 0 } } },
	[EV_SPLIT] = { "split", { { "index", NUM, 0 }, { "order", NUM, 0 }, { "why", WHY, 0 },
		{ "ret", SIGNED, 0 }, { "ns", NS, 0 } } },
	[EV_COLLAPSE] = { "collapse", { { "index", NUM, 0 }, { "order", NUM, 0 },
		{ "holes", NUM, 0 }, { "why", WHY, 0 }, { "ret", SIGNED, 0 }, { "ns", NS, 0 } } },
	[EV_CONVERT_BEGIN] = { "convert_begin", { { "gfn", HEX, 0 }, { "nr", NUM, 0 },
		{ "attributes", HEX, 0 }, { "wait_ns", NS, 0 } } },
	[EV_CONVERT_END] = { "convert_end", { { "gfn", HEX, 0 }, { "nr", NUM, 0 },
		{ "attributes", HEX, 0 }, { "changed", BOOL, 0 }, { "ret", SIGNED, 0 },
		{ "zap_ns", NS, 0 }, { "ns", NS, 0 } } },
	[EV_CONVERT_REQUEST] = { "convert_request", { { "vcpu", NUM, 0 }, { "gfn", HEX, 0 },
		{ "nr", NUM, 0 }, { "to_private", BOOL, 0 }, { "hypercall", BOOL, 0 } } },
	[EV_POLICY_ATTACH] = { "policy_attach", { { "policy", NUM, 0 }, { "cgroup_id", NUM, 0 },
		{ "flags", HEX, 0 }, { "uid", NUM, 0 }, { "tag", HEX, 0 }, NAME,
		{ "comm", TEXT, 2 } } },
	[EV_POLICY_DETACH] = { "policy_detach", { { "policy", NUM, 0 }, NAME, REASON } },
	[EV_POLICY_TRIP] = { "policy_trip", { { "policy", NUM, 0 }, NAME, REASON } },
	[EV_POLICY_DECISION] = { "policy_decision", { { "op", OP, 0 }, { "why", WHY, 0 },
		{ "index", NUM, 0 }, { "nr", NUM, 0 }, { "a", NUM, 0 }, { "b", NUM, 0 },
		{ "fitted", BOOL, 0 }, { "clamped", BOOL, 0 }, { "shadow", BOOL, 0 }, NAME } },
	[EV_CONVERSION] = { "conversion", { { "vcpu", SIGNED, 0 }, { "gfn", HEX, 0 },
		{ "nr", NUM, 0 }, { "to_private", BOOL, 0 }, { "asked", BOOL, 0 },
		{ "hypercall", BOOL, 0 }, { "vcpus", CROWD, 0 }, { "exit_clock_ns", NUM, 0 },
		{ "end_clock_ns", NUM, 0 },
		{ "exit_ns", NS, 0 }, { "think_ns", NS, 0 }, { "lock_ns", NS, 0 },
		{ "zap_ns", NS, 0 }, { "store_ns", NS, 0 }, { "punch_ns", NS, 0 },
		{ "back_ns", NS, 0 }, { "total_ns", NS, 0 }, { "asked_gfn", HEX, 0 },
		{ "asked_nr", NUM, 0 } } },
	[EV_FIRST_FAULT] = { "first_fault", { { "vcpu", NUM, 0 }, { "gfn", HEX, 0 },
		{ "allocated", BOOL, 0 }, { "ns", NS, 0 } } },
	[EV_POOL] = { "pool", { { "node", SIGNED, 0 }, { "order", NUM, 0 }, { "action", POOL, 0 },
		{ "nr", NUM, 0 }, { "ready", NUM, 0 }, { "ns", NS, 0 } } },
};

/* Between the clock of events and that on the wall, ns. */
static __s64 wall_offset;

static void find_wall_offset(void)
{
	struct timespec wall, mono;

	clock_gettime(CLOCK_REALTIME, &wall);
	clock_gettime(CLOCK_MONOTONIC, &mono);
	wall_offset = (wall.tv_sec - mono.tv_sec) * (__s64)NSEC_PER_SEC + wall.tv_nsec -
		      mono.tv_nsec;
}

static const char *value_word(enum kind kind, __u64 value)
{
	switch (kind) {
	case WHY:
		return word(why_names, NR_WHY, value);
	case ZERO:
		return word(zero_names, NR_ZERO, value);
	case ZEROED:
		return word(zeroed_names, NR_ZEROED, value);
	case MODE:
		return word(free_names, NR_FREE, value);
	case OP:
		return word(op_names, NR_OPS, value);
	case POOL:
		return word(pool_names, NR_POOL, value);
	case SOURCE:
		return value < NR_SOURCES ? source_names[value] : "-";
	default:
		return NULL;
	}
}

/* "1", "2", "3-4": vCPUs that convert at once are known in classes. */
static const char *crowd_word(__u64 class)
{
	if (class < 2)
		return fmt("%llu", 1ULL << class);
	return fmt("%llu-%llu", (1ULL << (class - 1)) + 1, 1ULL << class);
}

static void print_text(const char *value, int len)
{
	char text[REASON_LEN + 1];

	snprintf(text, sizeof(text), "%.*s", len, value);
	make_printable(text);
	printf("\"%s\"", text);
}

static void print_field(const struct field *f, const __u64 *v)
{
	printf(" %s=", f->name);
	switch (f->kind) {
	case NUM:
	case NS:
	case BOOL:
		printf("%llu", *v);
		break;
	case SIGNED:
		printf("%lld", (__s64)*v);
		break;
	case HEX:
		printf("0x%llx", *v);
		break;
	case CROWD:
		fputs(crowd_word(*v), stdout);
		break;
	case TEXT:
		print_text((const char *)v, f->words * sizeof(*v));
		break;
	default:
		fputs(value_word(f->kind, *v), stdout);
	}
}

static void json_field(json_object *o, const struct field *f, const __u64 *v)
{
	switch (f->kind) {
	case NUM:
	case NS:
	case HEX:
		json_num(o, f->name, *v);
		break;
	case SIGNED:
		json_int(o, f->name, (__s64)*v);
		break;
	case BOOL:
		json_flag(o, f->name, *v);
		break;
	case CROWD:
		json_str(o, f->name, crowd_word(*v));
		break;
	case TEXT:
		json_str(o, f->name, fmt("%.*s", (int)(f->words * sizeof(*v)), (const char *)v));
		break;
	default:
		json_str(o, f->name, value_word(f->kind, *v));
	}
}

/* What the event took: its last time. */
static __u64 event_ns(const struct event *e)
{
	const struct event_desc *desc = &descs[e->type];
	unsigned int i, at = 0;
	__u64 ns = 0;

	for (i = 0; i < MAX_FIELDS && desc->fields[i].name && at < e->words; i++) {
		if (desc->fields[i].kind == NS)
			ns = e->v[at];
		at += desc->fields[i].words ? desc->fields[i].words : 1;
	}
	return ns;
}

/* Pools belong to no VM. */
static const char *vm_word(const struct event *e, const struct vm_info *vm)
{
	if (!e->tgid)
		return NULL;
	return *vm->name ? vm->name : vm->comm;
}

static void print_event(const struct event *e, const struct vm_info *vm)
{
	const struct event_desc *desc = &descs[e->type];
	__u64 wall = e->ns + wall_offset;
	unsigned int i, at = 0, words;
	time_t s = wall / NSEC_PER_SEC;
	char text[32];

	strftime(text, sizeof(text), "%H:%M:%S", localtime(&s));
	printf("%s.%09llu %-16s pid=%u vm=%s tid=%u id=%llu", text, wall % NSEC_PER_SEC,
	       desc->name, e->tgid, vm_word(e, vm) ?: "-", e->tid, e->id);
	for (i = 0; i < MAX_FIELDS && desc->fields[i].name; i++) {
		words = desc->fields[i].words ? desc->fields[i].words : 1;
		if (at + words > e->words)
			break;
		print_field(&desc->fields[i], &e->v[at]);
		at += words;
	}
	putchar('\n');
}

static void json_event(const struct event *e, const struct vm_info *vm)
{
	const struct event_desc *desc = &descs[e->type];
	json_object *o = json_root();
	unsigned int i, at = 0, words;

	json_str(o, "event", desc->name);
	json_num(o, "clock_ns", e->ns);
	json_real(o, "time", (e->ns + wall_offset) / 1e9);
	json_num(o, "pid", e->tgid);
	json_str(o, "vm", vm_word(e, vm));
	json_num(o, "tid", e->tid);
	json_num(o, "cpu", e->cpu);
	json_num(o, "id", e->id);
	for (i = 0; i < MAX_FIELDS && desc->fields[i].name; i++) {
		words = desc->fields[i].words ? desc->fields[i].words : 1;
		if (at + words > e->words)
			break;
		json_field(o, &desc->fields[i], &e->v[at]);
		at += words;
	}
	print_json(o);
}

/* Which events --event wants, a bit each. */
static __u32 wanted_events;
static __u64 nr_shown;

static bool is_host_wide(const struct event *e)
{
	return !e->id && (e->type == EV_POLICY_ATTACH || e->type == EV_POLICY_DETACH ||
			  e->type == EV_POOL);
}

int show_event(const struct event *e)
{
	const struct vm_info *vm;

	if (e->type >= NR_EVENTS || !(wanted_events & BIT(e->type)) ||
	    (opt.slower_ns && event_ns(e) < opt.slower_ns))
		return 0;
	vm = vm_info(e->tgid, NULL);
	if (!vm->wanted && !is_host_wide(e))
		return 0;
	if (opt.number && nr_shown >= opt.number)
		return 0;
	nr_shown++;
	if (opt.json)
		json_event(e, vm);
	else
		print_event(e, vm);
	if (nr_shown == opt.number)
		stop_now();
	return 0;
}

static void on_tick(__u64 interval_ns)
{
	json_object *root;

	fflush(stdout);
	conversions_look();
	if (!interval_ns)
		return;
	if (!opt.json) {
		print_losses();
		return;
	}
	root = json_report("events", interval_ns);
	json_num(root, "events", nr_shown);
	json_object_object_add(root, "vms", conversions_json(interval_ns));
	json_object_object_add(root, "cannot_show", lacks_json());
	json_object_object_add(root, "losses", losses_json());
	json_line(root);
}

/* The names in "a,b,c" */
static int choose_events(const char *list)
{
	const char *p;
	size_t len;
	int i;

	for (p = list; *p; p += len + (p[len] == ',')) {
		len = strcspn(p, ",");
		for (i = 0; i < NR_EVENTS; i++) {
			if (strlen(descs[i].name) == len && !strncmp(descs[i].name, p, len))
				break;
		}
		if (i == NR_EVENTS)
			return usage_error("--event %.*s: there is no such event; see 'gmem-trace help events'",
					   (int)len, p);
		wanted_events |= BIT(i);
	}
	if (!wanted_events)
		return usage_error("--event: it is a list of events; see 'gmem-trace help events'");
	return 0;
}

/* Those that gmem-trace policy tells. */
void choose_policy_events(void)
{
	wanted_events = BIT(EV_POLICY_ATTACH) | BIT(EV_POLICY_DETACH) | BIT(EV_POLICY_TRIP);
	find_wall_offset();
}

/*
 * The programs that an event needs: its own, or all that join conversions; and what tells faults
 * where their memory comes from.
 */
static const char *programs[NR_EVENTS + 2];

static void choose_programs(void)
{
	int i, n = 0;

	for (i = 0; i < NR_EVENTS; i++) {
		if (!(wanted_events & BIT(i)))
			continue;
		if (i == EV_CONVERSION || i == EV_FIRST_FAULT)
			programs[n++] = "conv_*";
		else
			programs[n++] = strdup(fmt("ev_%s", descs[i].name));
	}
	if (wanted_events & BIT(EV_FAULT))
		programs[n] = "source_*";
}

int cmd_events(void)
{
	static const char *const none[] = { NULL };
	const struct needs needs = {
		.programs = programs, .events = none, .vms = true, .ring = EVENTS_RING,
	};
	int ret = 0;

	if (opt.event)
		ret = choose_events(opt.event);
	else
		wanted_events = BIT(NR_EVENTS) - 1;
	if (ret)
		return ret;
	choose_programs();
	find_wall_offset();
	if (tracer_open(&needs, wanted_events))
		return -1;
	return run_reports("events of guest memory", on_tick, show_event);
}
