// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * huge_adaptive: large folios, but not where memory is converted to and fro.
 *
 * A guest's bounce buffers are converted between private and shared in small pieces, again and
 * again. In a large folio each such piece costs a split, and the memory around it stays small for
 * good. This policy begins with the largest folios that fit, as huge does; keeps a block small
 * while parts of it are being converted; and has it made one folio again when that has stopped.
 *
 * Tunables
 *	min_mb		only guest memory of at least so many MiB (default: 16)
 *	often		conversions in a block from which on it is kept small (default: 2)
 *	busy_order	largest folio in a block that is kept small (default: 6, which is 256K: as
 *			large as a bounce buffer is; within the hole that one leaves, less fits)
 *	quiet_ms	time without conversions after which it is rebuilt (default: 10000)
 *	max_holes	pages of a block that may be missing when it is rebuilt; they are filled
 *			with zeroes (default: 511, all but one)
 *
 * Limits
 *	What is known of a block is lost when another one is converted that has its place in a table
 *	of 65536. Those of one VM of up to 128 GiB have one each.
 *	The kernel remembers 32 ranges of a VM that wait to become quiet, and rebuilds at most
 *	kvm.gmem_rebuild_mib a second. A conversion of whole blocks breaks none, and is not counted.
 */
#include "gmem_policy.bpf.h"

char _license[] SEC("license") = "GPL";

TUNABLE(__u32, min_mb, 16, "only guest memory of at least so many MiB");
TUNABLE(__u32, often, 2, "conversions in a block from which on it is kept small");
TUNABLE(__u32, busy_order, 6, "largest folio order in a block that is kept small");
TUNABLE(__u32, quiet_ms, 10000, "ms without conversions after which a block is rebuilt");
TUNABLE(__u32, max_holes, 511, "missing pages of a block that a rebuild may fill");

COUNTER(blocks, "allocations of a whole block");
COUNTER(smaller, "allocations of less, because that is what fitted");
COUNTER(left_small, "allocations left small because of min_mb");
COUNTER(kept_small, "allocations kept small because the block is converted often");
COUNTER(shared_small, "allocations kept small because part of the block is shared");
COUNTER(broken, "conversions of part of a block");
COUNTER(quiet, "ranges that became quiet, and are rebuilt");

/* Read and written by all CPUs as they come: it is advice, and may be that of another block. */
struct block {
	__u64 obj;
	__u64 nr;
	__u64 last_ns;
	__u64 count;
};

#define NR_BLOCKS	65536	/* a power of two, as block_at() has it */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NR_BLOCKS);
	__type(key, __u32);
	__type(value, struct block);
} busy SEC(".maps");

static __u64 quiet_ns(void)
{
	return (__u64)quiet_ms * 1000000;
}

/* The place of a block: neighbours lie side by side, objects anywhere. */
static struct block *block_at(__u64 obj, __u64 nr)
{
	__u32 at = (nr + (obj * 0x9e3779b97f4a7c15ULL >> 48)) & (NR_BLOCKS - 1);

	return bpf_map_lookup_elem(&busy, &at);
}

static bool converted_often(__u64 obj, __u64 nr)
{
	struct block *block = block_at(obj, nr);

	return block && block->obj == obj && block->nr == nr && block->count >= often &&
	       bpf_ktime_get_ns() - block->last_ns < quiet_ns();
}

/* Two that count at the same time may count one: it is about often, not about how often. */
static void count_conversion(__u64 obj, __u64 nr)
{
	struct block *block = block_at(obj, nr);
	__u64 now = bpf_ktime_get_ns();

	COUNT(broken);
	if (!block)
		return;
	if (block->obj != obj || block->nr != nr || now - block->last_ns >= quiet_ns()) {
		block->obj = obj;
		block->nr = nr;
		block->count = 0;
	}
	block->count++;
	block->last_ns = now;
}

GMEM_OP(alloc, ctx)
{
	if (ctx->obj.size < (__u64)min_mb << 20) {
		COUNT(left_small);
		return;
	}
	if (!ctx->max_order) {
		COUNT(smaller);
		return;
	}
	if (ctx->partly_shared) {
		COUNT(shared_small);
		return;
	}
	if (converted_often(ctx->obj.id, ctx->index >> GMEM_BLOCK_ORDER)) {
		COUNT(kept_small);
		ctx->order = ctx->max_order < busy_order ? ctx->max_order : busy_order;
		return;
	}

	ctx->order = ctx->max_order;
	if (ctx->order >= GMEM_BLOCK_ORDER)
		COUNT(blocks);
	else
		COUNT(smaller);
}

GMEM_OP(convert, ctx)
{
	__u64 first = ctx->start >> GMEM_BLOCK_ORDER;
	__u64 last = (ctx->start + ctx->nr - 1) >> GMEM_BLOCK_ORDER;
	bool first_broken = ctx->start & (GMEM_BLOCK_PAGES - 1);
	bool last_broken = (ctx->start + ctx->nr) & (GMEM_BLOCK_PAGES - 1);

	if (ctx->obj.size < (__u64)min_mb << 20)
		return;

	if (ctx->why == GMEM_WHY_QUIET) {
		COUNT(quiet);
		ctx->rebuild = 1;
		ctx->max_holes = max_holes;
		return;
	}

	if (first_broken || (last_broken && first == last))
		count_conversion(ctx->obj.id, first);
	if (last_broken && first != last)
		count_conversion(ctx->obj.id, last);
	if (first_broken || last_broken)
		ctx->quiet_ms = quiet_ms;
}

GMEM_POLICY(huge_adaptive, "large folios where memory is not converted to and fro",
	    GMEM_USE(alloc), GMEM_USE(convert),
	    .flags = GMEM_POLICY_LARGE);
