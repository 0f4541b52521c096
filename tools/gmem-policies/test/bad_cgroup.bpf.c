// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Is for a cgroup that does not exist: refused with ENOENT. */
#include "gmem_policy.bpf.h"

char _license[] SEC("license") = "GPL";

GMEM_OP(alloc, ctx)
{
}

GMEM_POLICY(bad_cgroup, "a cgroup that does not exist", GMEM_USE(alloc), .cgroup_id = 0x7fffffffff);
