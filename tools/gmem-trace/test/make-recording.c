// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A recording of any size: make-recording FILE EVENTS VMS VCPUS SEED. Written by the code of
 * gmem-trace record, of VMs that convert, fault, allocate and zero all the time. It fills what a
 * report has: latencies spread over all sizes, each vCPU busy in each part of the time, losses that
 * grow.
 */
#include <stdlib.h>

#include "../src/recfile.h"

#define START_NS	1000000000ULL
#define WALL_NS		1700000000000000000ULL
#define MEAN_GAP_NS	20000
#define MEMORY_EVERY_NS	1000000000ULL
#define CONVERSION_WORDS 19
#define PHASES_AT	9	/* word of the first phase in EV_CONVERSION */

static struct rec_file out;
static __u64 state, now = START_NS;
static unsigned int nr_vms, nr_vcpus;

static __u64 next_random(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static __u64 below(__u64 n)
{
	return (next_random() >> 16) % n;
}

/* Any size is as likely as twice as much. */
static __u64 latency(void)
{
	return below(1ULL << (4 + below(22)));
}

static void check(int err)
{
	if (err)
		exit(1);
}

static void name_vms(void)
{
	struct rec rec = { .type = REC_VM };
	unsigned int i;

	for (i = 0; i < nr_vms; i++) {
		rec.vm.tgid = 1000 + i;
		snprintf(rec.vm.name, sizeof(rec.vm.name), "guest-%u.example", i);
		check(rec_write(&out, &rec));
	}
}

static void write_memory(void)
{
	struct rec rec = { .type = REC_MEMORY };
	unsigned int i;

	for (i = 0; i < nr_vms; i++) {
		rec.memory.ns = now;
		rec.memory.tgid = 1000 + i;
		rec.memory.known = REC_KNOWS_PRIVATE | REC_KNOWS_SHARED;
		rec.memory.private = below(1ULL << 32);
		rec.memory.shared = below(1ULL << 28);
		check(rec_write(&out, &rec));
	}
}

/* Phases that make up the total, all since the clock began. */
static void fill_conversion(__u64 *v, unsigned int vcpu)
{
	__u64 sum = 0;
	int p;

	v[0] = vcpu;
	v[1] = 0x100000 + below(1 << 20);
	v[2] = 1ULL << below(10);
	v[3] = below(2);
	v[4] = below(16) != 0;
	v[5] = below(2);
	v[6] = below(4);
	v[7] = now;
	v[8] = now;
	for (p = 0; p < PHASE_TOTAL; p++) {
		v[PHASES_AT + p] = latency() / PHASE_TOTAL;
		sum += v[PHASES_AT + p];
	}
	v[PHASES_AT + PHASE_TOTAL] = sum;
	v[17] = v[1];
	v[18] = v[2];
}

static void fill_event(struct event *e, unsigned int vcpu)
{
	e->words = 10;
	switch (e->type) {
	case EV_CONVERSION:
		e->words = CONVERSION_WORDS;
		fill_conversion(e->v, vcpu);
		break;
	case EV_FIRST_FAULT:
		e->words = 4;
		e->v[0] = vcpu;
		e->v[3] = latency();
		break;
	case EV_FAULT:
		e->words = 11;
		e->v[0] = vcpu;
		e->v[1] = below(1 << 20);
		e->v[5] = below(2);
		e->v[8] = below(32) ? 5 : 1;
		e->v[9] = latency();
		/* with those of which it is not known */
		e->v[10] = below(NR_SOURCES + 1);
		break;
	case EV_ZERO:
		e->words = 4;
		e->v[0] = below(1 << 20);
		e->v[1] = below(64) ? 1 : 512;
		e->v[2] = below(4);
		e->v[3] = latency();
		break;
	default:
		e->v[0] = below(1 << 20);
		e->v[9] = latency();
	}
}

static void write_event(void)
{
	static const __u16 types[] = {
		EV_CONVERSION, EV_FIRST_FAULT, EV_FAULT, EV_ZERO, EV_ALLOC,
	};
	union {
		struct event e;
		__u64 room[4 + EVENT_WORDS];
	} u = {};
	unsigned int vcpu = below(nr_vcpus);

	now += below(2 * MEAN_GAP_NS);
	u.e.type = types[below(sizeof(types) / sizeof(*types))];
	u.e.ns = now;
	u.e.tgid = 1000 + below(nr_vms);
	u.e.tid = u.e.tgid + 1 + vcpu;
	u.e.cpu = below(64);
	u.e.id = u.e.tgid;
	fill_event(&u.e, vcpu);
	check(rec_write_event(&out, &u.e));
}

/* So many are lost in the end: the last record has all. */
static const struct rec_losses all_losses = {
	.kernel = { .dropped = 100, .vms_full = 20, .threads_full = 3, .series_full = 4 },
	.unknown_vms = 5,
};

static void write_losses(const struct rec_losses *losses)
{
	struct rec rec = { .type = REC_LOSSES, .losses = *losses };

	check(rec_write(&out, &rec));
}

int main(int argc, char **argv)
{
	struct rec_losses losses = { };
	__u64 i, events, next_memory = START_NS;

	if (argc != 6)
		return 2;
	events = strtoull(argv[2], NULL, 0);
	nr_vms = strtoul(argv[3], NULL, 0);
	nr_vcpus = strtoul(argv[4], NULL, 0);
	state = strtoull(argv[5], NULL, 0) | 1;
	if (!events || !nr_vms || !nr_vcpus)
		return 2;

	check(rec_create(&out, argv[1], now, WALL_NS));
	name_vms();
	for (i = 0; i < events; i++) {
		if (now >= next_memory) {
			write_memory();
			if (losses.kernel.dropped < all_losses.kernel.dropped)
				losses.kernel.dropped++;
			write_losses(&losses);
			next_memory += MEMORY_EVERY_NS;
		}
		write_event();
	}
	write_losses(&all_losses);
	check(rec_finish(&out));
	return 0;
}
