// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Iterators over gmem policies, gmem objects and gmem pools: one record for each. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "introspect.h"

char _license[] SEC("license") = "GPL";

/* Too large for the stack. Only the process that loaded the programs runs them, one at a time. */
struct policy_rec policy_rec;
struct obj_rec obj_rec;
struct pool_rec pool_rec;

SEC("iter/gmem_policy")
int dump_policy(struct bpf_iter__gmem_policy *ctx)
{
	struct gmem_policy *policy = ctx->policy;
	struct policy_rec *rec = &policy_rec;
	const struct gmem_policy_ops *ops;

	if (!policy)
		return 0;

	ops = policy->ops;
	rec->id = policy->id;
	rec->cgroup_id = BPF_CORE_READ(ops, cgroup_id);
	rec->attached_ns = policy->attached_ns;
	rec->tag = policy->tag;
	bpf_core_read(&rec->decisions, sizeof(rec->decisions), &policy->stats.decisions);
	rec->fits = policy->stats.fits;
	rec->clamps = policy->stats.clamps;
	rec->declines = policy->stats.declines;
	rec->map_id = policy->map_id;
	rec->flags = BPF_CORE_READ(ops, flags);
	rec->uid = policy->uid;
	rec->pid = policy->pid;
	rec->objects = policy->objects.counter;
	rec->tripped = policy->tripped;
	rec->detached = policy->detached;
	rec->walked = policy->walked;
	BPF_CORE_READ_STR_INTO(&rec->name, ops, name);
	BPF_CORE_READ_STR_INTO(&rec->trip_reason, policy, trip_reason);
	BPF_CORE_READ_STR_INTO(&rec->comm, policy, comm);

	bpf_seq_write(ctx->meta->seq, rec, sizeof(*rec));
	return 0;
}

static void note_cgroups(struct gmem_obj *obj, struct obj_rec *rec)
{
	const __u32 self = bpf_core_field_offset(struct cgroup, self);
	struct cgroup *cgrp = BPF_CORE_READ(obj, cgrp);
	struct cgroup_subsys_state *css;
	__u32 i;

	for (i = 0; i < REC_CGROUPS && cgrp; i++) {
		rec->cgroups[i] = BPF_CORE_READ(cgrp, kn, id);
		css = BPF_CORE_READ(cgrp, self.parent);
		cgrp = css ? (void *)css - self : NULL;
	}
	rec->nr_cgroups = i;
}

SEC("iter/gmem_obj")
int dump_obj(struct bpf_iter__gmem_obj *ctx)
{
	struct gmem_obj_report *report = ctx->report;
	struct gmem_obj *obj = ctx->obj;
	struct obj_rec *rec = &obj_rec;

	if (!obj || !report)
		return 0;

	rec->id = obj->id;
	rec->size = obj->size;
	note_cgroups(obj, rec);
	rec->policy_id = report->policy_id;
	rec->shadow_id = report->shadow_id;
	rec->resident = report->resident.bytes;
	rec->ready = report->resident.ready;
	bpf_core_read(&rec->folios, sizeof(rec->folios), &report->resident.folios);
	rec->ahead_total = report->ahead_total;
	rec->ahead_done = report->ahead_done;
	rec->ahead_began = report->ahead_began;
	bpf_core_read(&rec->zeroed, sizeof(rec->zeroed), &obj->stats.zeroed);
	rec->decisions = obj->stats.decisions.counter;
	rec->fits = obj->stats.fits.counter;
	rec->clamps = obj->stats.clamps.counter;
	rec->faults = obj->stats.faults.counter;
	rec->prealloc_asked = obj->stats.prealloc_asked.counter;
	rec->prealloc_done = obj->stats.prealloc_done.counter;
	rec->scrub_failed = obj->stats.scrub_failed.counter;
	rec->quiet_joined = obj->stats.quiet_joined.counter;
	rec->pool_misses = obj->stats.pool_misses.counter;
	rec->recycled = obj->stats.recycled.counter;
	rec->fallbacks = obj->stats.fallbacks.counter;
	rec->splits = obj->stats.splits.counter;
	rec->splits_failed = obj->stats.splits_failed.counter;
	rec->holes_dropped = obj->stats.holes_dropped.counter;
	rec->rebuilds = obj->stats.rebuilds.counter;
	rec->rebuilds_failed = obj->stats.rebuilds_failed.counter;
	rec->cookie = obj->cookie;
	rec->flags = obj->flags;
	rec->tgid = obj->tgid;
	rec->scope = report->scope;
	BPF_CORE_READ_STR_INTO(&rec->asked_name, obj, asked_name);
	BPF_CORE_READ_STR_INTO(&rec->policy, report, policy);
	BPF_CORE_READ_STR_INTO(&rec->shadow, report, shadow);

	bpf_seq_write(ctx->meta->seq, rec, sizeof(*rec));
	return 0;
}

SEC("iter/gmem_pool")
int dump_pool(struct bpf_iter__gmem_pool *ctx)
{
	struct gmem_pool_report *pool = ctx->pool;
	struct pool_rec *rec = &pool_rec;

	if (!pool)
		return 0;

	rec->ready = pool->ready;
	rec->dirty = pool->dirty;
	rec->low = pool->low;
	rec->high = pool->high;
	rec->taken = pool->stats.taken;
	rec->returned = pool->stats.returned;
	rec->missed = pool->stats.missed;
	rec->filled = pool->stats.filled;
	rec->recycled = pool->stats.recycled;
	rec->given_back = pool->stats.given_back;
	rec->nid = pool->nid;
	rec->order = pool->order;
	rec->rate_mb = pool->rate_mb;

	bpf_seq_write(ctx->meta->seq, rec, sizeof(*rec));
	return 0;
}
