// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Built for an ABI that does not exist: refused with EOPNOTSUPP. */
#include "gmem_policy.bpf.h"

char _license[] SEC("license") = "GPL";

GMEM_OP(alloc, ctx)
{
}

SEC(".struct_ops.link")
struct gmem_policy_ops bad_abi = {
	.abi_version = 9999,
	.name = "bad_abi",
	GMEM_USE(alloc),
};
