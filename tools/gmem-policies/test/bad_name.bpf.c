// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Has the name that stands for no policy: refused with EINVAL. */
#include "gmem_policy.bpf.h"

char _license[] SEC("license") = "GPL";

GMEM_OP(alloc, ctx)
{
}

GMEM_POLICY(builtin, "the name of what is built in", GMEM_USE(alloc));
