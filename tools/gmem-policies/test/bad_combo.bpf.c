// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Has flags that exclude each other, named and enforced: refused with EINVAL. */
#include "gmem_policy.bpf.h"

char _license[] SEC("license") = "GPL";

GMEM_OP(alloc, ctx)
{
}

GMEM_POLICY(bad_combo, "flags that exclude each other", GMEM_USE(alloc),
	    .flags = 1U << 0 | 1U << 1);
