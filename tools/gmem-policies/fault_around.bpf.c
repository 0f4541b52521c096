// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * fault_around: when memory is missing, populate what is around it, too.
 *
 * A guest that reads or writes in sequence misses page after page. This policy answers each miss by
 * having the aligned window around it allocated and zeroed, so that the next faults only map. Or,
 * with "map", so that the vCPU has no more faults there.
 *
 * Tunables
 *	window_kb	size of the window, a power of 2 (default: 64)
 *	guest		for faults of the guest (default: yes)
 *	host		for accesses of user space through mmap() (default: no)
 *	background	let a worker do it; no: before the fault returns (default: no)
 *	zero		zero it as well; no: only allocate, and zero at first use (default: yes)
 *	map		map it as well, for the vCPU that faulted (default: no)
 *
 * Limits
 *	Windows of more than 2 MiB, and those of user space, are always left to a worker, which maps
 *	nothing. What is mapped is zeroed, too, and saves exits of the guest for pages that it uses;
 *	for those that it does not use it costs more than it saves. What lies around a page may be
 *	memory that the guest never uses, or has shared. Memory is charged to the VM's memory
 *	cgroup, and population stops without an error when that is nearly full.
 */
#include "gmem_policy.bpf.h"

char _license[] SEC("license") = "GPL";

TUNABLE(__u32, window_kb, 64, "size of the window, KiB, a power of 2");
TUNABLE(bool, guest, true, "for faults of the guest");
TUNABLE(bool, host, false, "for accesses of user space through mmap()");
TUNABLE(bool, background, false, "by a worker; false: before the fault returns");
TUNABLE(bool, zero, true, "zero it too; false: only allocate");
TUNABLE(bool, map, false, "map it too, for the vCPU that faulted");

COUNTER(windows, "windows that were asked to be populated");

GMEM_OP(prealloc, ctx)
{
	__u64 pages = (__u64)window_kb >> (GMEM_PAGE_SHIFT - 10);

	if (!(ctx->why == GMEM_WHY_GUEST_FAULT && guest) &&
	    !(ctx->why == GMEM_WHY_HOST_FAULT && host))
		return;
	/* One page is what the fault gets anyway. */
	if (pages < 2)
		return;

	ctx->how = background ? GMEM_HOW_BACKGROUND : GMEM_HOW_NOW;
	ctx->from = ctx->start & ~(pages - 1);
	ctx->count = pages;
	/* Not written if it is not wanted: there may be kernels that do not know it. */
	if (map && ctx->how == GMEM_HOW_NOW && ctx->why == GMEM_WHY_GUEST_FAULT)
		ctx->map = 1;
	COUNT(windows);
}

GMEM_OP(alloc, ctx)
{
	if (zero && ctx->why == GMEM_WHY_PREALLOC)
		ctx->zero = GMEM_ZERO_ALLOC;
}

GMEM_POLICY(fault_around, "populate what is around a page that is missing", GMEM_USE(prealloc),
	    GMEM_USE(alloc));
