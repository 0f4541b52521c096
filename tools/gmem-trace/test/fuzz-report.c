// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Recordings with mistakes in them, given to gmem-trace report: fuzz-report DIRECTORY FILES SEED.
 * Linked with its objects, which are built with sanitizers. Ends with 0 if it lives.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../src/gmem-trace.h"
#include "../src/recfile.h"

#define MAX_FILE	65536

struct options opt;
const struct tool tool = { .name = "fuzz-report" };

static __u64 state;

static __u64 next_random(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static unsigned int below(unsigned int n)
{
	return (next_random() >> 16) % n;
}

/* As the first recordings had it, of three numbers: there is something else in it later. */
static void write_old_losses(struct rec_file *r)
{
	static const unsigned char rec[] = { 4, REC_LOSSES, 99, 98, 97 };

	if (fwrite(rec, sizeof(rec), 1, r->f) != 1)
		exit(1);
	r->records++;
}

/* A recording that has a bit of everything */
static void write_sample(const char *path)
{
	struct rec rec = { .type = REC_VM, .vm = { .tgid = 7, .name = "web-1" } };
	__u64 data[64] = {};
	struct event *e = (struct event *)data;
	struct rec_file r;
	int i, w;

	if (rec_create(&r, path, 1000000, 1700000000ULL * NSEC_PER_SEC))
		exit(1);
	rec_write(&r, &rec);
	write_old_losses(&r);
	for (i = 0; i < 3 * NR_EVENTS; i++) {
		e->type = i % NR_EVENTS;
		e->ns = 2000000 + 50000 * i;
		e->tgid = 7 + i % 3;
		e->tid = e->tgid;
		e->words = 19;
		for (w = 0; w < 19; w++)
			e->v[w] = i * w;
		if (e->type == EV_CONVERSION) {
			/* phases of 1000, which make up the total */
			for (w = 0; w < PHASE_TOTAL; w++)
				e->v[9 + w] = 1000;
			e->v[9 + PHASE_TOTAL] = 1000 * PHASE_TOTAL;
			e->v[4] = 1;
		}
		rec_write_event(&r, e);
	}
	rec = (struct rec) { .type = REC_MEMORY };
	rec.memory.ns = 3000000;
	rec.memory.tgid = 7;
	rec.memory.known = REC_KNOWS_PRIVATE | REC_KNOWS_SHARED;
	rec.memory.private = 1 << 20;
	rec.memory.shared = 1 << 18;
	rec_write(&r, &rec);
	rec = (struct rec) {
		.type = REC_LOSSES, .losses = {
			.kernel = {
				.dropped = 3, .vms_full = 400, .threads_full = 50000,
				.series_full = 1ULL << 40,
			},
			.unknown_vms = ~0ULL,
		},
	};
	rec_write(&r, &rec);
	if (rec_finish(&r))
		exit(1);
}

static size_t read_file(const char *path, unsigned char *data)
{
	FILE *f = fopen(path, "r");
	size_t len = f ? fread(data, 1, MAX_FILE, f) : 0;

	if (!len)
		exit(1);
	fclose(f);
	return len;
}

static void write_file(const char *path, const unsigned char *data, size_t len)
{
	FILE *f = fopen(path, "w");

	if (!f || fwrite(data, 1, len, f) != len)
		exit(1);
	fclose(f);
}

/* What the sample has lost, as its page tells it */
static bool tells_losses(const char *page)
{
	static unsigned char text[16 * MAX_FILE];
	FILE *f = fopen(page, "r");
	size_t len = f ? fread(text, 1, sizeof(text) - 1, f) : 0;

	if (f)
		fclose(f);
	text[len] = '\0';
	return strstr((char *)text, "lost: 3 events dropped, 400 of VMs too many, 50000 of threads, 1099511627776 of series too many; 18446744073709551615 VMs not known");
}

/* Change, cut, repeat or remove something; mostly behind the header. */
static size_t mutate(unsigned char *data, size_t len)
{
	size_t from = below(8) ? 32 : 0, at, n;
	int i, times = 1 + below(4);

	for (i = 0; i < times && len > from + 1; i++) {
		at = from + below(len - from);
		n = 1 + below(16);
		switch (below(5)) {
		case 0:
			data[at] ^= 1 << below(8);
			break;
		case 1:
			data[at] = below(2) ? 0xff : next_random();
			break;
		case 2:
			len = at;
			break;
		case 3:
			n = at + n > len ? len - at : n;
			memmove(data + at, data + at + n, len - at - n);
			len -= n;
			break;
		default:
			if (len + n > MAX_FILE)
				break;
			memmove(data + at + n, data + at, len - at);
			len += n;
		}
	}
	return len;
}

int main(int argc, char **argv)
{
	static unsigned char sample[MAX_FILE], data[MAX_FILE];
	char file[256], page[256];
	size_t len, changed;
	long i, files, good = 0;

	if (argc != 4)
		return 2;
	files = atol(argv[2]);
	state = strtoull(argv[3], NULL, 0) | 1;
	snprintf(file, sizeof(file), "%s/fuzz.gmt", argv[1]);
	snprintf(page, sizeof(page), "%s/fuzz.html", argv[1]);
	write_sample(file);
	len = read_file(file, sample);
	opt.file = file;
	opt.output = page;
	if (!freopen("/dev/null", "w", stdout))
		return 1;
	/* What is said of the files is not looked at; sanitizers write elsewhere. */
	if (cmd_report() || !tells_losses(page) || !freopen("/dev/null", "w", stderr))
		return 1;
	for (i = 0; i < files; i++) {
		memcpy(data, sample, len);
		changed = mutate(data, len);
		write_file(file, data, changed);
		/* Pages and drawings are made of the same, and take long. */
		opt.format = i % 32 ? FORMAT_TEXT : i / 32 % 2 ? FORMAT_HTML : FORMAT_SVG;
		if (i % 7 == 3)
			opt.format = FORMAT_PERFETTO;
		good += !cmd_report();
	}
	/* Some must be readable, and some not, or nothing was tried. */
	return good && good < files ? 0 : 3;
}
