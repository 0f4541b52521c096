/* SPDX-License-Identifier: GPL-2.0-only */
/* Random numbers that a seed reproduces (splitmix64). */
#ifndef SELFTEST_KVM_GMEM_RANDOM_H
#define SELFTEST_KVM_GMEM_RANDOM_H

#include <linux/types.h>

#define GMEM_RANDOM_STEP	0x9e3779b97f4a7c15ULL

/* Any value to one that looks like no relative of it. */
static inline u64 gmem_mix(u64 v)
{
	v += GMEM_RANDOM_STEP;
	v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9ULL;
	v = (v ^ v >> 27) * 0x94d049bb133111ebULL;
	return v ^ v >> 31;
}

static inline u64 gmem_random(u64 *state)
{
	*state += GMEM_RANDOM_STEP;
	return gmem_mix(*state);
}

/* 0 to n - 1 */
static inline u64 gmem_below(u64 *state, u64 n)
{
	return (gmem_random(state) >> 16) % n;
}

#endif /* SELFTEST_KVM_GMEM_RANDOM_H */
