/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * gmem-lib: what the command lines and outputs of gmem-policy and gmem-trace have in common. Each
 * of them defines "tool", and main() calls tool_main().
 */
#ifndef __GMEM_LIB_H
#define __GMEM_LIB_H

#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <linux/types.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define BIT(n)		(1U << (n))
#define __printf(f, a)	__attribute__((format(printf, f, a)))

/* Exit codes; a tool may have more. */
enum {
	EXIT_OK		= 0,
	EXIT_FAILED	= 1,
	EXIT_USAGE	= 2,
};

struct command {
	const char *name;
	int (*run)(void);	/* an exit code, or -1 after fail() */
	int min_args;
	int max_args;
	unsigned int options;	/* which of those from FIRST_OPTION on it takes, OPT() each */
	const char *usage;	/* behind its name */
	const char *about;
	const char *help;
};

/* Long options of which each command says whether it takes them; those below, all take. */
#define FIRST_OPTION	256
#define OPT(option)	BIT((option) - FIRST_OPTION)

/* All have -j, -v, -h, -V and their long forms. */
struct tool {
	const char *name;
	const char *usage;		/* behind its name */
	const char *flags;		/* between its name and that of a command */
	const char *help;		/* behind the list of commands */
	const char *command_help;	/* behind the help of each */
	int column;			/* width of the names of commands in that list */
	const struct command *commands;
	int nr_commands;
	const char *short_options;	/* all of them, behind a colon */
	const struct option *options;	/* long ones, besides those that all have */
	int policy_abi;			/* 0: it has nothing to do with it */
	int json_schema;
	int json_flags;			/* JSON_C_TO_STRING_* */
	int log_lines;			/* of libbpf's that a failure shows without -v */
	bool wrap;			/* wrap what is said of a failure */
	bool *json;			/* -j */
	bool *verbose;			/* -v */

	/* Take an option of the tool's own; not 0: that is wrong, as usage_error() says. */
	int (*option)(int c);
	/* Take the arguments of the command; the same, or -1 after fail(). */
	int (*arguments)(const struct command *cmd, int argc, char **argv);
};

extern const struct tool tool;

/* command.c: the command line */
int tool_main(int argc, char **argv);
int usage_error(const char *format, ...) __printf(1, 2);

/* fail.c: the first failure is the one that is reported */
int fail(int err, const char *format, ...) __printf(2, 3);
void fail_hint(const char *format, ...) __printf(1, 2);
void fail_text(char *text);
void fail_json(const char *key, json_object *value);
void fail_log(void);
void report_failure(void);
void fail_forget(void);
void log_begin(void);

/* text.c; what returns text returns one of a few static buffers */
const char *fmt(const char *format, ...) __printf(1, 2);
const char *fmt_size(__u64 bytes);
int screen_width(void);
void print_wrapped(FILE *f, const char *text, int indent, int width);

/* json.c */
json_object *json_root(void);
void print_json(json_object *root);
void json_str(json_object *o, const char *key, const char *value);
void json_num(json_object *o, const char *key, __u64 value);
void json_int(json_object *o, const char *key, __s64 value);
void json_real(json_object *o, const char *key, double value);
void json_flag(json_object *o, const char *key, bool value);

#endif /* __GMEM_LIB_H */
