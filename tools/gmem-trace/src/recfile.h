/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Recordings of gmem-trace, version 1.
 *
 * A header of 32 bytes, little endian: "GMTRACE\n", the version (4 bytes), the size of the header
 * (4), the clock of events (8) and that on the wall (8) when it began, both in ns. Then records,
 * each preceded by its length. Numbers are LEB128: seven bits in a byte, the lowest first, the
 * highest bit set in all bytes but the last. Signed ones have their sign in bit 0.
 *
 *   number of bytes that follow
 *   type		below 64: an event (enum event_type); else enum rec_type
 *   event:	signed ns since the record before, tgid, tid, cpu, id, and each word, signed
 *   REC_VM:	tgid, then the bytes of its name
 *   REC_MEMORY: signed ns since the record before, tgid, what is known (REC_KNOWS_*), private and
 *		shared bytes
 *   REC_LOSSES: events dropped, events of VMs too many, of threads; since later: of series too
 *		many, and VMs that ended before it was known whether they are wanted
 *   REC_END:	number of records before it
 *
 * Later versions may add types, and fields at the end of records; readers skip what they do not
 * know.
 */
#ifndef __GMEM_TRACE_RECFILE_H
#define __GMEM_TRACE_RECFILE_H

#include <stdbool.h>
#include <stdio.h>
#include <linux/types.h>

#include "gmem_trace.h"

#define REC_VERSION	1
#define REC_MAX_WORDS	32
#define REC_NAME_LEN	64
#define REC_MAX_LEN	512

enum rec_type {
	REC_VM = 64,
	REC_MEMORY,
	REC_LOSSES,
	REC_END,
};

#define REC_KNOWS_PRIVATE	1
#define REC_KNOWS_SHARED	2

struct rec_losses {
	struct losses kernel;
	__u64 unknown_vms;
};

struct rec {
	unsigned int type;
	union {
		struct {
			struct event event;
			__u64 words[REC_MAX_WORDS];	/* event.v */
		};
		struct {
			__u32 tgid;
			char name[REC_NAME_LEN];
		} vm;
		struct {
			__u64 ns;
			__u32 tgid;
			unsigned int known;
			__u64 private;
			__u64 shared;
		} memory;
		struct rec_losses losses;
	};
};

/* What ended the reading of a file. */
enum rec_end {
	REC_MORE,	/* nothing yet */
	REC_WHOLE,	/* the record that ends it */
	REC_UNFINISHED,	/* the file, after a whole record or in the middle of one */
	REC_DAMAGED,	/* a record that cannot be */
};

struct rec_file {
	FILE *f;
	__u64 last_ns;
	__u64 records;
	__u64 start_ns;
	__u64 start_wall_ns;
	enum rec_end end;
};

int rec_create(struct rec_file *r, const char *path, __u64 ns, __u64 wall_ns);
int rec_write(struct rec_file *r, const struct rec *rec);
int rec_write_event(struct rec_file *r, const struct event *e);
int rec_finish(struct rec_file *r);

/* NULL, or what is wrong with the file */
const char *rec_open(struct rec_file *r, const char *path);
bool rec_read(struct rec_file *r, struct rec *rec);
void rec_rewind(struct rec_file *r);
void rec_close(struct rec_file *r);

#endif /* __GMEM_TRACE_RECFILE_H */
