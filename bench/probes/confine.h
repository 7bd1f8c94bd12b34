/* SPDX-License-Identifier: MIT */
/* Ways to take rights away from the calling process, each reported on standard output. */
#ifndef BENCH_PROBES_CONFINE_H
#define BENCH_PROBES_CONFINE_H

#include <stdbool.h>

#define PROBE_UID 70001

/* Says to a tracer (trace.c) that a new phase begins. */
void phase(int number, const char *name);

/* What a root directory for the driver holds. */
struct room {
	bool libs, proc, sys, dev, user_ns, pid_ns;
};

/*
 * New namespaces and a root with only what the room names; returns in the child where a PID
 * namespace is asked for (the parent waits and exits).
 */
void enter_room(const struct room *room);

/* Root becomes an empty, read-only directory. */
void enter_empty(void);

/* uid, gid, groups, no-new-privs, not dumpable; limits only where asked. */
void drop_identity(bool limits);

/*
 * Allow-list of system calls: filter_read takes the numbers from a file (while files can still be
 * reached), filter_install puts it in force. Anything else returns EPERM and is counted;
 * filter_report prints what was refused. 0 or -errno.
 */
int filter_read(const char *path);
int filter_install(void);
void filter_report(void);

/* Which namespaces root and an ordinary user may make here. */
void report_namespaces(void);

#endif
