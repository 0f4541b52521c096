// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The command line: options, of which some belong to a command; the command; its arguments. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/libbpf.h>

#include "gmem-lib.h"

static const struct option common_options[] = {
	{ "json",	no_argument,	NULL, 'j' },
	{ "verbose",	no_argument,	NULL, 'v' },
	{ "help",	no_argument,	NULL, 'h' },
	{ "version",	no_argument,	NULL, 'V' },
};

#define NR_COMMON	ARRAY_SIZE(common_options)

/* What stands on the command line, besides the command and its arguments. */
struct line {
	unsigned int given;	/* options from FIRST_OPTION on */
	bool help;
	bool version;
};

int usage_error(const char *format, ...)
{
	json_object *root, *o;
	char text[256];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (!*tool.json) {
		fprintf(stderr, "%s: %s\n", tool.name, text);
		return EXIT_USAGE;
	}
	root = json_root();
	o = json_object_new_object();
	json_str(o, "code", "USAGE");
	json_str(o, "message", text);
	json_object_object_add(root, "error", o);
	print_json(root);
	return EXIT_USAGE;
}

static const struct command *find_command(const char *name)
{
	int i;

	for (i = 0; i < tool.nr_commands; i++) {
		if (!strcmp(name, tool.commands[i].name))
			return &tool.commands[i];
	}
	return NULL;
}

/* ---- Help ---- */

static void help_all(FILE *f)
{
	int i;

	fprintf(f, "usage: %s %s\n\n", tool.name, tool.usage);
	for (i = 0; i < tool.nr_commands; i++)
		fprintf(f, "  %-*s %s\n", tool.column, tool.commands[i].name,
			tool.commands[i].about);
	fprintf(f, "  %-*s %s\n", tool.column, "help", "this, or 'help COMMAND' for one in detail");
	fprintf(f, "\n%s", tool.help);
}

/* "load NAME", "check" */
static const char *command_usage(const struct command *cmd)
{
	return fmt("%s%s%s", cmd->name, *cmd->usage ? " " : "", cmd->usage);
}

static void help_one(const struct command *cmd)
{
	printf("usage: %s %s%s\n\n%s\n", tool.name, tool.flags, command_usage(cmd), cmd->about);
	if (*cmd->help)
		printf("\n%s", cmd->help);
	fputs(tool.command_help, stdout);
}

static int help(const char *name)
{
	const struct command *cmd;

	if (!name) {
		help_all(stdout);
		return EXIT_OK;
	}
	cmd = find_command(name);
	if (!cmd)
		return usage_error("there is no command '%s'", name);
	help_one(cmd);
	return EXIT_OK;
}

static int print_version(void)
{
	json_object *root;

	if (*tool.json) {
		root = json_root();
		if (tool.policy_abi)
			json_num(root, "abi_version", tool.policy_abi);
		json_str(root, "libbpf", libbpf_version_string());
		print_json(root);
		return EXIT_OK;
	}
	printf("%s: ", tool.name);
	if (tool.policy_abi)
		printf("policy ABI %d, ", tool.policy_abi);
	printf("JSON schema %d, libbpf %s\n", tool.json_schema, libbpf_version_string());
	return EXIT_OK;
}

/* ---- Options ---- */

static struct option *all_options(void)
{
	struct option *all;
	size_t nr = 0;

	while (tool.options[nr].name)
		nr++;
	all = calloc(NR_COMMON + nr + 1, sizeof(*all));
	if (!all)
		abort();
	memcpy(all, common_options, sizeof(common_options));
	memcpy(all + NR_COMMON, tool.options, nr * sizeof(*all));
	return all;
}

static int parse_option(int c, const char *arg, struct line *line)
{
	if (c >= FIRST_OPTION)
		line->given |= OPT(c);
	switch (c) {
	case 'j':
		return 0;
	case 'v':
		*tool.verbose = true;
		return 0;
	case 'h':
		line->help = true;
		return 0;
	case 'V':
		line->version = true;
		return 0;
	case ':':
		return usage_error("%s takes a value", arg);
	case '?':
		return usage_error("there is no option %s; try '%s help'", arg, tool.name);
	default:
		return tool.option(c);
	}
}

/* Options may stand before and after the command, so all are parsed, and then judged. */
static int parse_options(int argc, char **argv, struct line *line)
{
	struct option *options = all_options();
	int c, ret = 0;

	/* Errors are told as JSON too, wherever the option that asks for it stands. */
	for (c = 1; c < argc && strcmp(argv[c], "--"); c++)
		*tool.json |= !strcmp(argv[c], "-j") || !strcmp(argv[c], "--json");

	opterr = 0;
	while (!ret && (c = getopt_long(argc, argv, tool.short_options, options, NULL)) != -1)
		ret = parse_option(c, argv[optind - 1], line);
	free(options);
	return ret;
}

static const char *option_name(unsigned int bit)
{
	const struct option *o;

	for (o = tool.options; o->name; o++) {
		if (o->val >= FIRST_OPTION && OPT(o->val) == bit)
			return o->name;
	}
	return "?";
}

static int run_command(int argc, char **argv, unsigned int given)
{
	const struct command *cmd = find_command(argv[0]);
	unsigned int foreign;
	int ret;

	if (!cmd)
		return usage_error("there is no command '%s'; try '%s help'", argv[0], tool.name);
	foreign = given & ~cmd->options;
	if (foreign)
		return usage_error("%s has no option --%s; try '%s help %s'", cmd->name,
				   option_name(foreign & -foreign), tool.name, cmd->name);
	argc--;
	argv++;
	if (argc < cmd->min_args || argc > cmd->max_args)
		return usage_error("usage: %s %s", tool.name, command_usage(cmd));

	ret = tool.arguments(cmd, argc, argv);
	return ret ?: cmd->run();
}

/* A disk may be full, too: what is not there is not taken for all that there is. */
static int flush_output(void)
{
	errno = 0;
	if (!fflush(stdout) && !ferror(stdout))
		return 0;
	return fail(errno ?: EIO, "the output cannot be written: %s", strerror(errno ?: EIO));
}

int tool_main(int argc, char **argv)
{
	struct line line = {};
	int ret;

	ret = parse_options(argc, argv, &line);
	if (ret)
		return ret;
	argc -= optind;
	argv += optind;

	if (line.version)
		return print_version();
	if (argc && !strcmp(argv[0], "help"))
		return help(argc > 1 ? argv[1] : NULL);
	if (line.help)
		return help(argc ? argv[0] : NULL);
	if (!argc) {
		if (*tool.json)
			return usage_error("a command is missing; try '%s help'", tool.name);
		help_all(stderr);
		return EXIT_USAGE;
	}

	ret = run_command(argc, argv, line.given);
	if (!ret)
		ret = flush_output();
	if (ret < 0) {
		report_failure();
		ret = EXIT_FAILED;
	}
	return ret;
}
