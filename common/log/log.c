// SPDX-License-Identifier: MIT
#include "common/log/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *log_program = "vgpu";
static int log_highest = VGPU_LOG_INFO;

void vgpu_log_init(const char *program, int highest)
{
	log_program = program;
	log_highest = highest;
}

void vgpu_log(int priority, const char *format, ...)
{
	char line[2048];
	va_list args;
	int n, m;

	if (priority > log_highest)
		return;
	n = snprintf(line, sizeof(line) - 1, "<%d>%s: ", priority, log_program);
	va_start(args, format);
	m = vsnprintf(line + n, sizeof(line) - 1 - (size_t)n, format, args);
	va_end(args);
	if (m < 0)
		return;
	n += m;
	if (n > (int)sizeof(line) - 2)
		n = sizeof(line) - 2;
	for (int i = 0; i < n; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	line[n++] = '\n';
	/* one write a line: lines of several processes do not mix; a full or broken log loses lines */
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return;
}

void vgpu_log_text(char *dst, size_t size, const char *text, size_t bytes)
{
	size_t i;

	for (i = 0; i + 1 < size && i < bytes && text[i]; i++) {
		unsigned char c = (unsigned char)text[i];

		dst[i] = c < 0x20 || c >= 0x7f || c == '"' || c == '\\' ? '?' : (char)c;
	}
	dst[i] = 0;
}
