// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A struct_ops of another type that calls what is for policies: refused by the verifier. */
#include "gmem_policy.bpf.h"

char _license[] SEC("license") = "GPL";

SEC("struct_ops/ssthresh")
__u32 BPF_PROG(foreign_ssthresh, struct sock *sk)
{
	return gmem_pool_want(1, 1);
}

SEC("struct_ops/undo_cwnd")
__u32 BPF_PROG(foreign_undo_cwnd, struct sock *sk)
{
	return 0;
}

SEC("struct_ops/cong_avoid")
void BPF_PROG(foreign_cong_avoid, struct sock *sk, __u32 ack, __u32 acked)
{
}

SEC(".struct_ops")
struct tcp_congestion_ops foreign = {
	.ssthresh = (void *)foreign_ssthresh,
	.undo_cwnd = (void *)foreign_undo_cwnd,
	.cong_avoid = (void *)foreign_cong_avoid,
	.name = "foreign",
};
