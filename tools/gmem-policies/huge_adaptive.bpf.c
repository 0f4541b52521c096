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
 *	busy_order	largest folio in a block that is kept small, or of which part is shared
 *			(default: 6, which is 256K: as large as a bounce buffer is; within the hole
 *			that one leaves, less fits)
 *	quiet_ms	time without conversions after which it is rebuilt (default: 10000)
 *	max_holes	pages of a block that may be missing when it is rebuilt; they are filled
 *			with zeroes (default: 511, all but one)
 *
 * Limits
 *	What is known of a block is lost when another one is converted that has its place in a table
 *	of 65536. Those of one VM of up to 128 GiB have one each.
 *	From a block that is converted often on, conversions are not counted one by one: the kernel
 *	is asked to tell when that has stopped.
 *	The kernel remembers 32 ranges of a VM that wait to become quiet: where more wait,
 *	neighbours are rebuilt together, when the last of them is quiet. It rebuilds at most
 *	kvm.gmem_rebuild_mib a second. A conversion of whole blocks breaks none, and is not counted.
 */
#include "gmem_policy.bpf.h"

char _license[] SEC("license") = "GPL";

TUNABLE(__u32, min_mb, 16, "only guest memory of at least so many MiB");
TUNABLE(__u32, often, 2, "conversions in a block from which on it is kept small");
TUNABLE(__u32, busy_order, 6, "largest folio order in a block that is kept small or partly shared");
TUNABLE(__u32, quiet_ms, 10000, "ms without conversions after which a block is rebuilt");
TUNABLE(__u32, max_holes, 511, "missing pages of a block that a rebuild may fill");

COUNTER(blocks, "allocations of a whole block");
COUNTER(smaller, "allocations of less, because that is what fitted");
COUNTER(left_small, "allocations left small because of min_mb");
COUNTER(kept_small, "allocations kept small because the block is converted often");
COUNTER(shared_small, "allocations kept small because part of the block is shared");
COUNTER(broken, "conversions of part of a block, up to those that make it a busy one");
COUNTER(quiet, "ranges that became quiet, and are rebuilt");

/* Read and written by all CPUs as they come: it is advice, and may be that of another block. */
struct block {
	__u64 stay;
	__u64 nr;
	__u64 last_ns;
	__u32 count;
	__u32 muted;	/* we are told when it is quiet, and not before */
};

#define NR_BLOCKS	65536	/* a power of two, as block_at() has it */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NR_BLOCKS);
	__type(key, __u32);
	__type(value, struct block);
} busy SEC(".maps");

/* Objects that came under this policy, each time that they did. */
__u64 stays;

static __u64 quiet_ns(void)
{
	return (__u64)quiet_ms * 1000000;
}

/* The place of a block: neighbours lie side by side, objects anywhere. */
static struct block *block_at(__u64 stay, __u64 nr)
{
	__u32 at = (nr + (stay * 0x9e3779b97f4a7c15ULL >> 48)) & (NR_BLOCKS - 1);

	return bpf_map_lookup_elem(&busy, &at);
}

static bool is_block(const struct block *block, __u64 stay, __u64 nr)
{
	return block && block->stay == stay && block->nr == nr;
}

static bool converted_often(__u64 stay, __u64 nr)
{
	struct block *block = block_at(stay, nr);

	return is_block(block, stay, nr) && block->count >= often &&
	       (block->muted || bpf_ktime_get_ns() - block->last_ns < quiet_ns());
}

/*
 * Count a conversion; returns whether there were as many as often. Two that count at the same time
 * may count one: it is about often, not about how often. That a muted one is counted at all means
 * that the kernel has let it wait together with others, or dropped the wish.
 */
static bool count_conversion(__u64 stay, __u64 nr)
{
	struct block *block = block_at(stay, nr);
	__u64 now = bpf_ktime_get_ns();

	COUNT(broken);
	if (!block)
		return false;
	if (!is_block(block, stay, nr) || now - block->last_ns >= quiet_ns()) {
		block->stay = stay;
		block->nr = nr;
		block->count = 0;
	}
	block->count++;
	block->last_ns = now;
	block->muted = block->count >= often;
	return block->muted;
}

/*
 * Is anything known of the blocks from @first to @last? That is forgotten if @forget says so. There
 * may be more of them than the table has places.
 */
static bool any_broken(__u64 stay, __u64 first, __u64 last, bool forget)
{
	__u64 nr = last - first + 1;
	int end = nr < NR_BLOCKS ? nr : NR_BLOCKS, i;
	struct block *block;
	bool any = false;

	bpf_for(i, 0, end) {
		block = block_at(stay, first + i);
		if (!block || block->stay != stay || block->nr < first || block->nr > last ||
		    !block->count)
			continue;
		any = true;
		if (!forget)
			break;
		block->count = 0;
	}
	return any;
}

/*
 * What is known of an object's blocks is known for as long as it stays: under another policy, they
 * may have become quiet, and nobody told us.
 */
GMEM_INIT(ctx)
{
	ctx->obj.cookie = __sync_fetch_and_add(&stays, 1) + 1;
	return 0;
}

GMEM_OP(alloc, ctx)
{
	if (ctx->obj.size < (__u64)min_mb << 20) {
		COUNT(left_small);
		return;
	}

	/* What is small anyway needs no looking up. */
	ctx->order = ctx->max_order;
	if (ctx->order <= busy_order) {
		COUNT(smaller);
	} else if (ctx->partly_shared) {
		COUNT(shared_small);
		ctx->order = busy_order;
	} else if (converted_often(ctx->obj.cookie, ctx->index >> GMEM_BLOCK_ORDER)) {
		COUNT(kept_small);
		ctx->order = busy_order;
	} else if (ctx->order < GMEM_BLOCK_ORDER) {
		COUNT(smaller);
	} else {
		COUNT(blocks);
	}
}

GMEM_OP(convert, ctx)
{
	__u64 first = ctx->start >> GMEM_BLOCK_ORDER;
	__u64 last = (ctx->start + ctx->nr - 1) >> GMEM_BLOCK_ORDER;
	bool first_broken = ctx->start & (GMEM_BLOCK_PAGES - 1);
	bool last_broken = (ctx->start + ctx->nr) & (GMEM_BLOCK_PAGES - 1);
	bool mute = true;

	if (ctx->obj.size < (__u64)min_mb << 20)
		return;

	if (ctx->why == GMEM_WHY_QUIET) {
		COUNT(quiet);
		any_broken(ctx->obj.cookie, first, last, true);
		ctx->rebuild = 1;
		ctx->max_holes = max_holes;
		return;
	}

	if (!first_broken && !last_broken) {
		/* It breaks none, but has ended the wait for those that were broken before. */
		if (any_broken(ctx->obj.cookie, first, last, false))
			ctx->quiet_ms = quiet_ms;
		return;
	}
	if (first_broken || first == last)
		mute = count_conversion(ctx->obj.cookie, first);
	if (last_broken && first != last)
		mute = count_conversion(ctx->obj.cookie, last) && mute;
	ctx->quiet_ms = quiet_ms;
	ctx->mute = mute;
}

GMEM_POLICY(huge_adaptive, "large folios where memory is not converted to and fro",
	    GMEM_USE(init), GMEM_USE(alloc), GMEM_USE(convert),
	    .flags = GMEM_POLICY_LARGE);
