// SPDX-License-Identifier: GPL-2.0-only
/*
 * What guest memory policies can call.
 */
#include <linux/bpf.h>
#include <linux/bpf_verifier.h>
#include <linux/btf.h>
#include <linux/btf_ids.h>
#include <linux/gmem_policy.h>
#include <linux/init.h>

__bpf_kfunc_start_defs();

/**
 * gmem_pool_want - change what the calling policy wants in the pools of each node
 * @small_mb: zeroed single pages, MiB
 * @large_mb: zeroed folios of a PMD's order, MiB
 * @aux: the calling program, supplied by the verifier
 *
 * As the members pool_small_mb and pool_large_mb of struct gmem_policy_ops do when it is attached.
 * The pools become so large a moment later.
 *
 * Context: any op of a policy, and its timers.
 * Return: 0; -ENOENT if the policy is not attached
 */
__bpf_kfunc int gmem_pool_want(u32 small_mb, u32 large_mb, const struct bpf_prog_aux *aux)
{
	const struct gmem_policy_ops *ops = bpf_prog_get_assoc_struct_ops(aux);

	return ops ? gmem_policy_want_pools(ops, small_mb, large_mb) : -ENOENT;
}

__bpf_kfunc_end_defs();

BTF_KFUNCS_START(gmem_kfunc_ids)
BTF_ID_FLAGS(func, gmem_pool_want, KF_IMPLICIT_ARGS)
BTF_KFUNCS_END(gmem_kfunc_ids)

/* Other types of struct_ops share the hook: what is not ours is not our business. */
static int gmem_kfunc_filter(const struct bpf_prog *prog, u32 kfunc_id)
{
	if (!btf_id_set8_contains(&gmem_kfunc_ids, kfunc_id))
		return 0;
	/* The first pass of the verifier knows no type yet. */
	if (!prog->aux->st_ops)
		return 0;
	return prog->aux->st_ops == &bpf_gmem_policy_ops ? 0 : -EACCES;
}

static const struct btf_kfunc_id_set gmem_kfunc_set = {
	.owner	= THIS_MODULE,
	.set	= &gmem_kfunc_ids,
	.filter	= gmem_kfunc_filter,
};

static int __init gmem_kfuncs_init(void)
{
	return register_btf_kfunc_id_set(BPF_PROG_TYPE_STRUCT_OPS, &gmem_kfunc_set);
}
late_initcall(gmem_kfuncs_init);
