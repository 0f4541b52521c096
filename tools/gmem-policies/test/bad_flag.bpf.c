// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Has a flag that does not exist: refused with EOPNOTSUPP. */
#include "gmem_policy.bpf.h"

char _license[] SEC("license") = "GPL";

GMEM_OP(alloc, ctx)
{
}

GMEM_POLICY(bad_flag, "a flag that does not exist", GMEM_USE(alloc), .flags = 1U << 31);
