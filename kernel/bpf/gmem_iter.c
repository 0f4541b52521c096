// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF iterators over guest memory objects ("gmem_obj"), their policies ("gmem_policy") and the
 * pools that they share ("gmem_pool"): how gmem-policy sees every guest_memfd on the host and what
 * decides for it. Loading an iterator program needs CAP_BPF and CAP_PERFMON, as for all kernel
 * objects.
 */
#include <linux/bpf.h>
#include <linux/btf_ids.h>
#include <linux/gmem_policy.h>
#include <linux/init.h>
#include <linux/seq_file.h>

struct gmem_iter {
	u64 id;
	struct gmem_obj_report report;
};

struct bpf_iter__gmem_obj {
	__bpf_md_ptr(struct bpf_iter_meta *, meta);
	__bpf_md_ptr(struct gmem_obj *, obj);
	__bpf_md_ptr(struct gmem_obj_report *, report);
};

struct bpf_iter__gmem_policy {
	__bpf_md_ptr(struct bpf_iter_meta *, meta);
	__bpf_md_ptr(struct gmem_policy *, policy);
};

struct gmem_pool_iter {
	u64 pos;
	struct gmem_pool_report report;
};

struct bpf_iter__gmem_pool {
	__bpf_md_ptr(struct bpf_iter_meta *, meta);
	__bpf_md_ptr(struct gmem_pool_report *, pool);
};

DEFINE_BPF_ITER_FUNC(gmem_obj, struct bpf_iter_meta *meta, struct gmem_obj *obj,
		     struct gmem_obj_report *report)
DEFINE_BPF_ITER_FUNC(gmem_policy, struct bpf_iter_meta *meta, struct gmem_policy *policy)
DEFINE_BPF_ITER_FUNC(gmem_pool, struct bpf_iter_meta *meta, struct gmem_pool_report *pool)

static void *gmem_obj_seq_start(struct seq_file *seq, loff_t *pos)
{
	struct gmem_iter *iter = seq->private;
	struct gmem_obj *obj = gmem_obj_next(&iter->id);

	if (obj && !*pos)
		++*pos;
	return obj;
}

static void *gmem_obj_seq_next(struct seq_file *seq, void *v, loff_t *pos)
{
	struct gmem_iter *iter = seq->private;

	gmem_obj_put(v);
	++*pos;
	iter->id++;
	return gmem_obj_next(&iter->id);
}

static int gmem_obj_run(struct seq_file *seq, struct gmem_obj *obj, bool in_stop)
{
	struct gmem_iter *iter = seq->private;
	struct bpf_iter__gmem_obj ctx = { .obj = obj };
	struct bpf_iter_meta meta = { .seq = seq };
	struct bpf_prog *prog;

	ctx.meta = &meta;
	ctx.report = obj ? &iter->report : NULL;
	prog = bpf_iter_get_info(&meta, in_stop);
	if (!prog)
		return 0;
	if (obj) {
		gmem_obj_report(obj, &iter->report);
		gmem_obj_resident(obj, &iter->report.resident);
	}
	return bpf_iter_run_prog(prog, &ctx);
}

static int gmem_obj_seq_show(struct seq_file *seq, void *v)
{
	return gmem_obj_run(seq, v, false);
}

static void gmem_obj_seq_stop(struct seq_file *seq, void *v)
{
	if (v)
		gmem_obj_put(v);
	else
		gmem_obj_run(seq, NULL, true);
}

static const struct seq_operations gmem_obj_seq_ops = {
	.start	= gmem_obj_seq_start,
	.next	= gmem_obj_seq_next,
	.stop	= gmem_obj_seq_stop,
	.show	= gmem_obj_seq_show,
};

static void *gmem_policy_seq_start(struct seq_file *seq, loff_t *pos)
{
	struct gmem_iter *iter = seq->private;
	struct gmem_policy *policy = gmem_policy_next(&iter->id);

	if (policy && !*pos)
		++*pos;
	return policy;
}

static void *gmem_policy_seq_next(struct seq_file *seq, void *v, loff_t *pos)
{
	struct gmem_iter *iter = seq->private;

	gmem_policy_put(v);
	++*pos;
	iter->id++;
	return gmem_policy_next(&iter->id);
}

static int gmem_policy_run(struct seq_file *seq, struct gmem_policy *policy, bool in_stop)
{
	struct bpf_iter__gmem_policy ctx = { .policy = policy };
	struct bpf_iter_meta meta = { .seq = seq };
	struct bpf_prog *prog;

	ctx.meta = &meta;
	prog = bpf_iter_get_info(&meta, in_stop);
	return prog ? bpf_iter_run_prog(prog, &ctx) : 0;
}

static int gmem_policy_seq_show(struct seq_file *seq, void *v)
{
	return gmem_policy_run(seq, v, false);
}

static void gmem_policy_seq_stop(struct seq_file *seq, void *v)
{
	if (v)
		gmem_policy_put(v);
	else
		gmem_policy_run(seq, NULL, true);
}

static const struct seq_operations gmem_policy_seq_ops = {
	.start	= gmem_policy_seq_start,
	.next	= gmem_policy_seq_next,
	.stop	= gmem_policy_seq_stop,
	.show	= gmem_policy_seq_show,
};

static struct gmem_pool_report *gmem_pool_seq_this(struct gmem_pool_iter *iter)
{
	return gmem_pool_report(&iter->pos, &iter->report) ? &iter->report : NULL;
}

static void *gmem_pool_seq_start(struct seq_file *seq, loff_t *pos)
{
	struct gmem_pool_report *report = gmem_pool_seq_this(seq->private);

	if (report && !*pos)
		++*pos;
	return report;
}

static void *gmem_pool_seq_next(struct seq_file *seq, void *v, loff_t *pos)
{
	struct gmem_pool_iter *iter = seq->private;

	++*pos;
	iter->pos++;
	return gmem_pool_seq_this(iter);
}

static int gmem_pool_run(struct seq_file *seq, struct gmem_pool_report *pool, bool in_stop)
{
	struct bpf_iter__gmem_pool ctx = { .pool = pool };
	struct bpf_iter_meta meta = { .seq = seq };
	struct bpf_prog *prog;

	ctx.meta = &meta;
	prog = bpf_iter_get_info(&meta, in_stop);
	return prog ? bpf_iter_run_prog(prog, &ctx) : 0;
}

static int gmem_pool_seq_show(struct seq_file *seq, void *v)
{
	return gmem_pool_run(seq, v, false);
}

static void gmem_pool_seq_stop(struct seq_file *seq, void *v)
{
	if (!v)
		gmem_pool_run(seq, NULL, true);
}

static const struct seq_operations gmem_pool_seq_ops = {
	.start	= gmem_pool_seq_start,
	.next	= gmem_pool_seq_next,
	.stop	= gmem_pool_seq_stop,
	.show	= gmem_pool_seq_show,
};

static const struct bpf_iter_seq_info gmem_obj_seq_info = {
	.seq_ops		= &gmem_obj_seq_ops,
	.seq_priv_size		= sizeof(struct gmem_iter),
};

static const struct bpf_iter_seq_info gmem_policy_seq_info = {
	.seq_ops		= &gmem_policy_seq_ops,
	.seq_priv_size		= sizeof(struct gmem_iter),
};

static const struct bpf_iter_seq_info gmem_pool_seq_info = {
	.seq_ops		= &gmem_pool_seq_ops,
	.seq_priv_size		= sizeof(struct gmem_pool_iter),
};

static struct bpf_iter_reg gmem_obj_reg_info = {
	.target			= "gmem_obj",
	.feature		= BPF_ITER_RESCHED,
	.ctx_arg_info_size	= 2,
	.ctx_arg_info		= {
		{ offsetof(struct bpf_iter__gmem_obj, obj),
		  PTR_TO_BTF_ID_OR_NULL | PTR_TRUSTED },
		{ offsetof(struct bpf_iter__gmem_obj, report),
		  PTR_TO_BTF_ID_OR_NULL | PTR_TRUSTED },
	},
	.seq_info		= &gmem_obj_seq_info,
};

static struct bpf_iter_reg gmem_policy_reg_info = {
	.target			= "gmem_policy",
	.feature		= BPF_ITER_RESCHED,
	.ctx_arg_info_size	= 1,
	.ctx_arg_info		= {
		{ offsetof(struct bpf_iter__gmem_policy, policy),
		  PTR_TO_BTF_ID_OR_NULL | PTR_TRUSTED },
	},
	.seq_info		= &gmem_policy_seq_info,
};

static struct bpf_iter_reg gmem_pool_reg_info = {
	.target			= "gmem_pool",
	.feature		= BPF_ITER_RESCHED,
	.ctx_arg_info_size	= 1,
	.ctx_arg_info		= {
		{ offsetof(struct bpf_iter__gmem_pool, pool),
		  PTR_TO_BTF_ID_OR_NULL | PTR_TRUSTED },
	},
	.seq_info		= &gmem_pool_seq_info,
};

BTF_ID_LIST(gmem_iter_btf_ids)
BTF_ID(struct, gmem_obj)
BTF_ID(struct, gmem_obj_report)
BTF_ID(struct, gmem_policy)
BTF_ID(struct, gmem_pool_report)

static int __init gmem_iter_init(void)
{
	int ret;

	gmem_obj_reg_info.ctx_arg_info[0].btf_id = gmem_iter_btf_ids[0];
	gmem_obj_reg_info.ctx_arg_info[1].btf_id = gmem_iter_btf_ids[1];
	gmem_policy_reg_info.ctx_arg_info[0].btf_id = gmem_iter_btf_ids[2];
	gmem_pool_reg_info.ctx_arg_info[0].btf_id = gmem_iter_btf_ids[3];

	ret = bpf_iter_reg_target(&gmem_obj_reg_info);
	ret = ret ?: bpf_iter_reg_target(&gmem_policy_reg_info);
	return ret ?: bpf_iter_reg_target(&gmem_pool_reg_info);
}
late_initcall(gmem_iter_init);
