// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* gmem-trace record: what happens, into a file that gmem-trace report makes pages of. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gmem-trace.h"
#include "recfile.h"

#define MAX_KNOWN	4096
#define RECORD_RING	(16 << 20)

static struct rec_file out;
static int write_error;
static __u64 nr_events;
static bool samples_memory;

/* Processes whose names are in the file already. One may get the id of another that has ended. */
static struct {
	__u32 tgid;
	char name[REC_NAME_LEN];
} known[MAX_KNOWN];
static int nr_known, oldest_known;

static void note_error(int err)
{
	if (err && !write_error) {
		write_error = err;
		stop_now();
	}
}

static void name_vm(const struct vm_info *vm)
{
	struct rec rec = { .type = REC_VM };
	int i;

	rec.vm.tgid = vm->tgid;
	snprintf(rec.vm.name, sizeof(rec.vm.name), "%s", *vm->name ? vm->name : vm->comm);
	for (i = 0; i < nr_known && known[i].tgid != vm->tgid; i++)
		;
	if (i < nr_known && !strcmp(known[i].name, rec.vm.name))
		return;
	if (i == MAX_KNOWN)
		i = oldest_known++ % MAX_KNOWN;
	else if (i == nr_known)
		nr_known++;
	known[i].tgid = vm->tgid;
	memcpy(known[i].name, rec.vm.name, sizeof(known[i].name));
	note_error(rec_write(&out, &rec));
}

static int on_event(const struct event *e)
{
	/* Policies are loaded by processes that are no VMs, and concern all VMs. */
	bool of_vm = e->id || e->type < EV_POLICY_ATTACH || e->type > EV_POLICY_DECISION;
	const struct vm_info *vm;

	if (write_error)
		return 0;
	if (of_vm) {
		vm = vm_info(e->tgid, NULL);
		if (!vm->wanted)
			return 0;
		name_vm(vm);
	}
	note_error(rec_write_event(&out, e));
	nr_events++;
	return 0;
}

static void on_memory(const struct vm_info *vm, const struct memory_use *use)
{
	struct rec rec = { .type = REC_MEMORY };

	if (!vm->wanted || write_error)
		return;
	name_vm(vm);
	rec.memory.ns = now_ns();
	rec.memory.tgid = vm->tgid;
	if (use->private_known) {
		rec.memory.known |= REC_KNOWS_PRIVATE;
		rec.memory.private = use->private;
	}
	if (use->shared_known) {
		rec.memory.known |= REC_KNOWS_SHARED;
		rec.memory.shared = use->shared;
	}
	note_error(rec_write(&out, &rec));
}

/* Whenever there are more: the recording may remain unfinished. */
static void write_losses(void)
{
	static struct rec rec = { .type = REC_LOSSES };
	static bool written;
	struct rec_losses now = { .unknown_vms = vms_unknown() };

	tracer_losses(&now.kernel);
	if (written && !memcmp(&rec.losses, &now, sizeof(now)))
		return;
	rec.losses = now;
	written = true;
	note_error(rec_write(&out, &rec));
}

/* Make room in the kernel. What is counted there is not for recordings, which have events. */
static void drop_ended(void)
{
	struct vm_stats *vm = xalloc(sizeof(*vm));
	__u32 *tgids;
	int i, nr = tracer_vm_list(&tgids);

	for (i = 0; i < nr; i++) {
		if (vm_info(tgids[i], NULL)->gone)
			tracer_take_vm(tgids[i], vm);
	}
	free(tgids);
	free(vm);
}

/*
 * A few times a second, not as often as events come: what is written so far is in the file. Memory,
 * once a second.
 */
static void on_tick(__u64 interval_ns)
{
	static __u64 next, next_memory;
	__u64 now = now_ns();

	if (now < next && !interval_ns)
		return;
	next = now + NSEC_PER_SEC / 4;
	if (samples_memory && (now >= next_memory || interval_ns)) {
		memory_sample(on_memory);
		next_memory = now + NSEC_PER_SEC;
	}
	vms_refresh();
	drop_ended();
	write_losses();
	if (fflush(out.f))
		note_error(-errno);
}

static int finish(void)
{
	struct losses l;
	long size;

	note_error(rec_finish(&out));
	if (write_error)
		return fail(-write_error, "%s cannot be written: %s", opt.file,
			    strerror(-write_error));
	tracer_losses(&l);
	size = file_size(opt.file);
	fprintf(stderr, "%llu events in %s, %s\n", nr_events, opt.file, fmt_size(size));
	if (l.dropped || l.vms_full || l.threads_full || vms_unknown())
		fprintf(stderr, "gmem-trace: %s; %llu VMs ended before it was known whether they are wanted\n",
			losses_text(), vms_unknown());
	return EXIT_OK;
}

int cmd_record(void)
{
	static const char *const programs[] = {
		"conv_*", "source_*", "ev_fault", "ev_zero", "ev_alloc", "ev_policy_attach",
		"ev_policy_detach", "ev_policy_trip", NULL
	};
	static const char *const none[] = { NULL };
	const struct needs needs = {
		.programs = programs, .events = none, .vms = true, .ring = RECORD_RING,
	};
	struct timespec wall;
	int ret;

	if (tracer_open(&needs, BIT(EV_CONVERSION) | BIT(EV_FIRST_FAULT)))
		return -1;
	samples_memory = !memory_open();
	if (!samples_memory)
		fail_forget();
	clock_gettime(CLOCK_REALTIME, &wall);
	ret = rec_create(&out, opt.file, now_ns(), wall.tv_sec * NSEC_PER_SEC + wall.tv_nsec);
	if (ret)
		return fail(-ret, "%s cannot be written: %s", opt.file, strerror(-ret));
	ret = run_reports("into the recording", on_tick, on_event);
	if (finish())
		ret = -1;
	memory_close();
	return ret;
}
