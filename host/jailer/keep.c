// SPDX-License-Identifier: MIT
/*
 * Executors end when nobody holds the mediator's end of their socket any more. systemd holds a copy
 * of each (sd_notify(3): FDSTORE, sd_listen_fds(3)), so that they also outlive jailer and mediator
 * restarting, or dying, at the same time. Stopping the jailer's unit gives the copies up.
 */
#include "host/jailer/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/log/log.h"
#include "common/util/cleanup.h"

enum { FIRST_FD = 3 }; /* where systemd puts what it passes on */

/* One datagram to the service manager, with a descriptor unless fd is -1. 0 also when there is no manager. */
static int notify(const char *text, int fd)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = (char *)text, .iov_len = strlen(text) };
	struct msghdr m = { .msg_name = &to, .msg_iov = &iov, .msg_iovlen = 1 };
	vgpu_close int sock = -1;
	size_t length = path ? strlen(path) : 0;

	if (!length)
		return 0;
	if (length >= sizeof(to.sun_path))
		return -ENAMETOOLONG;
	memcpy(to.sun_path, path, length);
	if (path[0] == '@')
		to.sun_path[0] = 0;
	m.msg_namelen = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
	if (fd >= 0) {
		m.msg_control = control.bytes;
		m.msg_controllen = sizeof(control.bytes);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	}
	sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sock < 0 || sendmsg(sock, &m, MSG_NOSIGNAL) < 0)
		return -errno;
	return 0;
}

void jail_keep_ready(void)
{
	int rc = notify("READY=1", -1);

	if (rc)
		vgpu_log(VGPU_LOG_WARNING, "service manager not told error=\"%s\"", strerror(-rc));
}

void jail_keep_socket(const struct jail_executor *e)
{
	char text[64];
	int rc;

	snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=executor-%u", e->id);
	rc = notify(text, e->sock);
	if (rc)
		vgpu_log(VGPU_LOG_WARNING, "socket not kept by the service manager id=%u error=\"%s\"", e->id,
			 strerror(-rc));
}

void jail_keep_forget(uint32_t id)
{
	char text[64];

	snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=executor-%u", id);
	notify(text, -1); /* it forgets a socket whose other end is gone by itself */
}

static void take(struct jailer *j, const char *name, int fd)
{
	static const char prefix[] = "executor-";
	bool ours = !strncmp(name, prefix, strlen(prefix));
	uint32_t id = ours ? (uint32_t)strtoul(name + strlen(prefix), NULL, 10) : 0;
	struct jail_executor *e = ours ? jail_executor_find(j, id) : NULL;

	if (e && e->started && e->sock < 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0) {
		e->sock = fd;
		return;
	}
	close(fd);
	if (ours)
		jail_keep_forget(id);
}

void jail_keep_take(struct jailer *j)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS"), *list = getenv("LISTEN_FDNAMES");
	int n;

	if (!pid || !count || strtol(pid, NULL, 10) != (long)getpid())
		return;
	n = (int)strtol(count, NULL, 10);
	for (int i = 0; i < n; i++) {
		size_t length = list ? strcspn(list, ":") : 0;
		char name[64] = "";

		if (length < sizeof(name))
			memcpy(name, list ? list : "", length);
		take(j, name, FIRST_FD + i);
		if (list)
			list += length + (list[length] == ':');
	}
	if (n > 0)
		vgpu_log(VGPU_LOG_INFO, "sockets of executors kept by the service manager count=%d", n);
}
