// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A tracing program that calls what is for policies: refused by the verifier. */
#include "gmem_policy.bpf.h"

char _license[] SEC("license") = "GPL";

SEC("tp_btf/sys_enter")
int foreign(void *ctx)
{
	return gmem_pool_want(1, 1);
}
