// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Recordings: writing and reading. The format is in recfile.h. Nothing that is read is trusted. */
#include <errno.h>
#include <string.h>

#include "gmem-trace.h"
#include "recfile.h"

#define HEADER_SIZE	32

static const char magic[8] = "GMTRACE\n";

/* A record that is put together, or taken apart. */
struct buf {
	unsigned char data[REC_MAX_LEN];
	unsigned int len;
	unsigned int at;
	bool bad;
};

/* ---- Writing ---- */

static void put(struct buf *b, __u64 value)
{
	do {
		b->data[b->len++] = (value & 0x7f) | (value > 0x7f ? 0x80 : 0);
		value >>= 7;
	} while (value);
}

static void put_signed(struct buf *b, __s64 value)
{
	put(b, (__u64)value << 1 ^ (__u64)(value >> 63));
}

static void put_le(unsigned char *p, __u64 value, int bytes)
{
	for (; bytes--; value >>= 8)
		*p++ = value;
}

int rec_create(struct rec_file *r, const char *path, __u64 ns, __u64 wall_ns)
{
	unsigned char header[HEADER_SIZE];

	memset(r, 0, sizeof(*r));
	r->f = fopen(path, "w");
	if (!r->f)
		return -errno;
	r->last_ns = ns;
	r->start_ns = ns;
	memcpy(header, magic, sizeof(magic));
	put_le(header + 8, REC_VERSION, 4);
	put_le(header + 12, HEADER_SIZE, 4);
	put_le(header + 16, ns, 8);
	put_le(header + 24, wall_ns, 8);
	return fwrite(header, sizeof(header), 1, r->f) == 1 ? 0 : -errno;
}

static int write_buf(struct rec_file *r, const struct buf *b)
{
	struct buf len = {};

	put(&len, b->len);
	r->records++;
	if (fwrite(len.data, len.len, 1, r->f) == 1 && fwrite(b->data, b->len, 1, r->f) == 1)
		return 0;
	return -errno;
}

static void put_time(struct rec_file *r, struct buf *b, __u64 ns)
{
	put_signed(b, ns - r->last_ns);
	r->last_ns = ns;
}

int rec_write_event(struct rec_file *r, const struct event *e)
{
	struct buf b = {};
	unsigned int i;

	put(&b, e->type);
	put_time(r, &b, e->ns);
	put(&b, e->tgid);
	put(&b, e->tid);
	put(&b, e->cpu);
	put(&b, e->id);
	for (i = 0; i < e->words && i < REC_MAX_WORDS; i++)
		put_signed(&b, e->v[i]);
	return write_buf(r, &b);
}

/* Anything but an event. */
int rec_write(struct rec_file *r, const struct rec *rec)
{
	struct buf b = {};
	size_t len;

	put(&b, rec->type);
	switch (rec->type) {
	case REC_VM:
		put(&b, rec->vm.tgid);
		len = strnlen(rec->vm.name, sizeof(rec->vm.name));
		memcpy(b.data + b.len, rec->vm.name, len);
		b.len += len;
		break;
	case REC_MEMORY:
		put_time(r, &b, rec->memory.ns);
		put(&b, rec->memory.tgid);
		put(&b, rec->memory.known);
		put(&b, rec->memory.private);
		put(&b, rec->memory.shared);
		break;
	case REC_LOSSES:
		put(&b, rec->losses.kernel.dropped);
		put(&b, rec->losses.kernel.vms_full);
		put(&b, rec->losses.kernel.threads_full);
		put(&b, rec->losses.kernel.series_full);
		put(&b, rec->losses.unknown_vms);
		break;
	default:
		return -EINVAL;
	}
	return write_buf(r, &b);
}

int rec_finish(struct rec_file *r)
{
	struct buf b = {};
	int err;

	put(&b, REC_END);
	put(&b, r->records);
	err = write_buf(r, &b);
	if (fclose(r->f) && !err)
		err = -errno;
	r->f = NULL;
	return err;
}

/* ---- Reading ---- */

static __u64 get(struct buf *b)
{
	__u64 value = 0;
	unsigned int shift;

	for (shift = 0; shift < 64; shift += 7) {
		if (b->at >= b->len)
			break;
		value |= (__u64)(b->data[b->at] & 0x7f) << shift;
		if (!(b->data[b->at++] & 0x80))
			return value;
	}
	b->bad = true;
	return 0;
}

static __s64 get_signed(struct buf *b)
{
	__u64 value = get(b);

	return (__s64)(value >> 1 ^ -(value & 1));
}

static __u64 get_le(const unsigned char *p, int bytes)
{
	__u64 value = 0;

	while (bytes--)
		value = value << 8 | p[bytes];
	return value;
}

const char *rec_open(struct rec_file *r, const char *path)
{
	unsigned char header[HEADER_SIZE];

	memset(r, 0, sizeof(*r));
	r->f = fopen(path, "r");
	if (!r->f)
		return strerror(errno);
	if (fread(header, sizeof(header), 1, r->f) != 1) {
		rec_close(r);
		return "it is no recording of gmem-trace: it is shorter than the header of one";
	}
	if (fseek(r->f, HEADER_SIZE, SEEK_SET)) {
		rec_close(r);
		return "it is read twice, which this file cannot be";
	}
	if (memcmp(header, magic, sizeof(magic))) {
		rec_close(r);
		return "it is no recording of gmem-trace";
	}
	if (get_le(header + 8, 4) != REC_VERSION) {
		rec_close(r);
		return "its version is none that this gmem-trace reads, which is 1";
	}
	if (get_le(header + 12, 4) != HEADER_SIZE) {
		rec_close(r);
		return "its header is damaged";
	}
	r->start_ns = get_le(header + 16, 8);
	r->start_wall_ns = get_le(header + 24, 8);
	rec_rewind(r);
	return NULL;
}

void rec_rewind(struct rec_file *r)
{
	fseek(r->f, HEADER_SIZE, SEEK_SET);
	r->last_ns = r->start_ns;
	r->records = 0;
	r->end = REC_MORE;
}

void rec_close(struct rec_file *r)
{
	if (r->f)
		fclose(r->f);
	r->f = NULL;
}

static __u64 get_time(struct rec_file *r, struct buf *b)
{
	r->last_ns += (__u64)get_signed(b);
	return r->last_ns;
}

static void read_event(struct rec_file *r, struct buf *b, struct rec *rec)
{
	struct event *e = &rec->event;

	e->type = rec->type;
	e->ns = get_time(r, b);
	e->tgid = get(b);
	e->tid = get(b);
	e->cpu = get(b);
	e->id = get(b);
	for (e->words = 0; b->at < b->len && e->words < REC_MAX_WORDS; e->words++)
		rec->words[e->words] = get_signed(b);
}

static void read_vm(struct buf *b, struct rec *rec)
{
	unsigned int len;

	rec->vm.tgid = get(b);
	len = b->len - b->at;
	if (len > sizeof(rec->vm.name) - 1)
		len = sizeof(rec->vm.name) - 1;
	memcpy(rec->vm.name, b->data + b->at, len);
	rec->vm.name[len] = '\0';
	make_printable(rec->vm.name);
}

static void read_losses(struct buf *b, struct rec_losses *losses)
{
	losses->kernel.dropped = get(b);
	losses->kernel.vms_full = get(b);
	losses->kernel.threads_full = get(b);
	if (b->at == b->len)
		return;
	losses->kernel.series_full = get(b);
	losses->unknown_vms = get(b);
}

/* Fill the buffer with the next record; false at the end. */
static bool read_buf(struct rec_file *r, struct buf *b)
{
	struct buf len = {};
	int c;

	do {
		c = getc(r->f);
		if (c == EOF) {
			r->end = REC_UNFINISHED;
			return false;
		}
		len.data[len.len++] = c;
	} while (c & 0x80 && len.len < 3);
	b->len = get(&len);
	b->at = 0;
	b->bad = false;
	if (len.bad || !b->len || b->len > sizeof(b->data)) {
		r->end = REC_DAMAGED;
		return false;
	}
	if (fread(b->data, b->len, 1, r->f) == 1)
		return true;
	r->end = REC_UNFINISHED;
	return false;
}

/* The next record; false at the end, which r->end tells. */
bool rec_read(struct rec_file *r, struct rec *rec)
{
	struct buf b;

	for (;;) {
		if (r->end != REC_MORE || !read_buf(r, &b))
			return false;
		memset(rec, 0, sizeof(*rec));
		rec->type = get(&b);
		if (rec->type < NR_EVENTS) {
			read_event(r, &b, rec);
		} else if (rec->type == REC_VM) {
			read_vm(&b, rec);
		} else if (rec->type == REC_MEMORY) {
			rec->memory.ns = get_time(r, &b);
			rec->memory.tgid = get(&b);
			rec->memory.known = get(&b);
			rec->memory.private = get(&b);
			rec->memory.shared = get(&b);
		} else if (rec->type == REC_LOSSES) {
			read_losses(&b, &rec->losses);
		} else if (rec->type == REC_END) {
			r->end = get(&b) == r->records && !b.bad ? REC_WHOLE : REC_DAMAGED;
			return false;
		} else if (!b.bad) {
			/* Of a later version. */
			r->records++;
			continue;
		}
		if (b.bad) {
			r->end = REC_DAMAGED;
			return false;
		}
		r->records++;
		return true;
	}
}
