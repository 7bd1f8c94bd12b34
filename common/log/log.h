/* SPDX-License-Identifier: MIT */
/*
 * Structured log of the host's services: one logfmt line an event on standard error, with the
 * priority in front as journald reads it:
 *     <6>mediator: session opened vm=web1 sid=3 executor=17
 * Control characters in the line are replaced, so that nothing a peer has said makes a second line.
 */
#ifndef VGPU_COMMON_LOG_H
#define VGPU_COMMON_LOG_H

#include <stddef.h>

enum vgpu_log_priority {
	VGPU_LOG_ERROR = 3,
	VGPU_LOG_WARNING = 4,
	VGPU_LOG_NOTICE = 5,
	VGPU_LOG_INFO = 6,
	VGPU_LOG_DEBUG = 7,
};

/* The program's name in front of each line (kept, not copied), and the highest priority shown. */
void vgpu_log_init(const char *program, int highest);
void vgpu_log(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * Copies at most `bytes` bytes of a peer's text up to its first 0 into dst (of `size`, > 0),
 * always ended by 0. What is not printable ASCII, and quotes and backslashes, become '?', so
 * that the result can stand in a log line, in JSON and on a terminal.
 */
void vgpu_log_text(char *dst, size_t size, const char *text, size_t bytes);

#endif
