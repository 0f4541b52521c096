/* SPDX-License-Identifier: GPL-2.0-only */
/* Values of options of gmem_model and gmem_workload: what is wrong with one ends the program. */
#ifndef SELFTEST_KVM_GMEM_OPTIONS_H
#define SELFTEST_KVM_GMEM_OPTIONS_H

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gmem_guest.h"

/**
 * gmem_usage_error - say what is wrong with the options, and exit with status 2
 * @fmt: printf-style
 */
static inline void __printf(1, 2) __noreturn gmem_usage_error(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputs("; see --help\n", stderr);
	exit(2);
}

/**
 * gmem_number - the value of an option that takes a number
 * @name: the option
 * @s: text, which may end in K, M, G or T
 * @least: smallest value that is right
 * @most: largest one
 *
 * Return: the value
 */
static inline u64 gmem_number(const char *name, const char *s, u64 least, u64 most)
{
	u64 v;

	if (!gmem_parse_u64(s, &v))
		gmem_usage_error("%s: '%s' is not a number", name, s);
	if (v < least || v > most)
		gmem_usage_error("%s: %s is not from %lu to %lu", name, s, least, most);
	return v;
}

/**
 * gmem_choice - the value of an option that takes a word
 * @name: the option
 * @s: text
 * @names: the words
 * @nr: number of words
 *
 * Return: which of the words @s is
 */
static inline int gmem_choice(const char *name, const char *s, const char * const *names,
			      int nr)
{
	char all[128] = "";
	int i;

	for (i = 0; i < nr; i++) {
		if (!strcmp(s, names[i]))
			return i;
		strcat(strcat(all, " "), names[i]);
	}
	gmem_usage_error("%s: '%s' is none of%s", name, s, all);
}

#endif /* SELFTEST_KVM_GMEM_OPTIONS_H */
