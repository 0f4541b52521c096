// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * scrub: zero guest memory before it is given back.
 *
 * The kernel zeroes memory before a guest gets it, so nothing of a VM reaches the next one. But
 * what a VM wrote stays in free memory until that memory is used again. This policy zeroes it on
 * its way out, for hosts that must not keep a dead VM's data.
 *
 * Tunables
 *	at_punch	zero what is punched out, as balloons and conversions do (default: yes)
 *	at_end		zero all memory of a VM when it ends (default: yes)
 *
 * Limits
 *	Punching and the end of a VM take as much longer as zeroing takes. What a device or I/O
 *	still refers to is given back as it is, and counted ("scrub failed"). Memory that hardware
 *	protects (SEV-SNP, TDX) cannot be read by the host and is not scrubbed. What is freed was
 *	zeroed when it came and is zeroed again when it is used next.
 */
#include "gmem_policy.bpf.h"

char _license[] SEC("license") = "GPL";

TUNABLE(bool, at_punch, true, "zero what is punched out");
TUNABLE(bool, at_end, true, "zero all memory of a VM when it ends");

COUNTER(punches, "ranges that were punched out and zeroed");
COUNTER(ends, "VMs' memory that was zeroed at its end");
COUNTER(left_alone, "ranges that were given back as they were");

GMEM_OP(free, ctx)
{
	if (ctx->why == GMEM_WHY_PUNCH && at_punch) {
		ctx->mode = GMEM_FREE_SCRUB;
		COUNT(punches);
	} else if (ctx->why == GMEM_WHY_EVICT && at_end) {
		ctx->mode = GMEM_FREE_SCRUB;
		COUNT(ends);
	} else {
		COUNT(left_alone);
	}
}

GMEM_POLICY(scrub, "zero memory before it is given back", GMEM_USE(free));
