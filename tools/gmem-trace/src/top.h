/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* gmem-trace top: what top.c knows, and screen.c shows. */
#ifndef __GMEM_TOP_H
#define __GMEM_TOP_H

#include "gmem-trace.h"

/* Which conversions are looked at. */
enum top_dir {
	TOP_BOTH,
	TOP_SHARED,	/* TOP_SHARED + to_private is one direction */
	TOP_PRIVATE,
	NR_TOP_DIRS,
};

/* Latencies of something, in one interval. */
struct top_cell {
	__u64 count;
	__u64 ns;
	__u64 pages;
	__u64 wait_ns;
	__u64 p50;
	__u64 p99;
};

struct top_view {
	struct top_cell phase[NR_PHASES];
	struct top_cell size[NR_SIZES];
	struct top_cell crowd[NR_CROWDS];
	enum phase worst;	/* that most time is lost in */
	double share;		/* of it, of 1 */
};

/* A VM */
struct top_row {
	__u32 tgid;
	char name[64];

	/* in this interval */
	struct top_view view[NR_TOP_DIRS];
	__u64 faults;
	__u64 fault_ns;

	/* since it is traced */
	__u64 conversions;
	__u64 joined;
	__u64 unasked;
	__u64 unanswered;
	__u64 partial;
	__u64 all_faults;
	__s64 converting;	/* now */
};

enum top_field {
	FIELD_PID,
	FIELD_NAME,
	FIELD_LOST,
	FIELD_CONVERSIONS,
	FIELD_PHASE,
	FIELD_P99,
	FIELD_FAULTS,
	FIELD_FAULT_TIME,
	NR_FIELDS,
};

struct top {
	struct top_row *rows;	/* sorted */
	int nr;
	__u64 interval_ns;	/* of what they have */
	double delay;		/* seconds until the next */
	__u32 selected;		/* tgid */
	int first;		/* row on the screen */
	enum top_field sort;
	bool reverse;
	bool colour;
	bool help;
	enum top_dir dir;
	__u32 only;		/* tgid; 0: all */
	const char *prompt;	/* what is asked for; NULL: nothing */
	char input[64];
	char message[80];	/* what was wrong with it */
};

extern const char *const field_names[NR_FIELDS];
extern const char *const top_dir_names[NR_TOP_DIRS];

/* top.c */
double per_second(const struct top *top, __u64 n);
__u64 row_lost(const struct top *top, const struct top_row *row);

/* screen.c */
int screen_open(void);
void screen_close(void);
int screen_key(int ms);
int screen_draw(struct top *top);

#endif /* __GMEM_TOP_H */
