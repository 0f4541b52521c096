// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Registers without a link: refused with EOPNOTSUPP ("bpftool struct_ops register" asks the
 * kernel).
 */
#include "gmem_policy.bpf.h"

char _license[] SEC("license") = "GPL";

GMEM_OP(alloc, ctx)
{
}

SEC(".struct_ops")
struct gmem_policy_ops nonlink = {
	.abi_version = GMEM_POLICY_ABI,
	.name = "nonlink",
	GMEM_USE(alloc),
};
