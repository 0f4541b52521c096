// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Values for people, and the screen that they read. */
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "gmem-lib.h"

#define NR_BUFS		64

const char *fmt(const char *format, ...)
{
	static char bufs[NR_BUFS][256];
	static unsigned int next;
	char *buf = bufs[next++ % NR_BUFS];
	va_list ap;

	va_start(ap, format);
	vsnprintf(buf, sizeof(bufs[0]), format, ap);
	va_end(ap);
	return buf;
}

const char *fmt_size(__u64 bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
	double value = bytes;
	unsigned int unit = 0;

	while (value >= 1024 && unit < ARRAY_SIZE(units) - 1) {
		value /= 1024;
		unit++;
	}
	if (value >= 100 || value == (unsigned int)value)
		return fmt("%.0f %s", value, units[unit]);
	return fmt("%.1f %s", value, units[unit]);
}

int screen_width(void)
{
	struct winsize ws;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) || ws.ws_col < 80)
		return ws.ws_col && isatty(STDOUT_FILENO) ? 80 : 100;
	return ws.ws_col > 120 ? 120 : ws.ws_col;
}

/* @text, wrapped at words: the first line is @indent wide already. */
void print_wrapped(FILE *f, const char *text, int indent, int width)
{
	int len;

	while ((len = strlen(text)) > width) {
		int cut = width;

		while (cut > 0 && text[cut] != ' ')
			cut--;
		if (!cut)
			cut = strcspn(text, " ");
		if (!text[cut])
			break;
		fprintf(f, "%.*s\n%*s", cut, text, indent, "");
		text += cut + 1;
	}
	fprintf(f, "%s\n", text);
}
