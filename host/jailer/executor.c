// SPDX-License-Identifier: MIT
/* The executors that live: start, find again, end. */
#include "host/jailer/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log/log.h"
#include "common/util/cleanup.h"

struct jail_executor *jail_executor_find(struct jailer *j, uint32_t id)
{
	for (struct jail_executor *e = j->executors; e; e = e->next)
		if (e->id == id)
			return e;
	return NULL;
}

static void executor_free(struct jail_executor *e)
{
	if (!e)
		return;
	if (e->sock >= 0)
		close(e->sock);
	if (e->log >= 0)
		close(e->log);
	if (e->pidfd >= 0)
		close(e->pidfd);
	free(e);
}

/* A uid that no executor and no process has. */
static int pick_uid(struct jailer *j, uid_t *ret_uid)
{
	if (!(j->sandbox & VGPU_SANDBOX_UID)) {
		*ret_uid = getuid();
		return 0;
	}
	for (unsigned int i = 0; i < j->options.uid_count; i++) {
		uid_t uid = j->options.uid_base + (j->next_id + i) % j->options.uid_count;
		struct jail_executor *e = j->executors;

		while (e && e->uid != uid)
			e = e->next;
		if (!e && !jail_process_uid_used(uid, false)) {
			*ret_uid = uid;
			return 0;
		}
	}
	return -EUSERS;
}

struct setup_failure {
	int error;
	char step[64];
};

/* The child: waits until it is in its cgroup and on file, then becomes the executor. */
static void __attribute__((noreturn)) child(const struct jailer *j, const struct jail_executor *e,
					    uint32_t gpu, int sock, int log, int sync)
{
	struct setup_failure failure = { 0 };
	const char *step = "start";
	char go;
	int high = fcntl(sync, F_DUPFD_CLOEXEC, 10);

	/* end of file: the jailer died in between and nobody knows of this process */
	if (high < 0 || read(high, &go, 1) != 1)
		_exit(1);
	failure.error = -jail_sandbox_enter(&j->options, j->sandbox, e->uid, gpu, sock, log, high, &step);
	snprintf(failure.step, sizeof(failure.step), "%s", step);
	if (write(high, &failure, sizeof(failure)) < 0)
		_exit(2);
	_exit(1);
}

/* Says "go" and waits for exec (end of file) or the child's failure. */
static int wait_for_exec(int sync, char *ret_text, size_t text_size)
{
	struct setup_failure failure;
	struct pollfd p = { .fd = sync, .events = POLLIN };
	ssize_t n;

	if (send(sync, "g", 1, MSG_NOSIGNAL) != 1)
		return -EPIPE;
	if (poll(&p, 1, JAIL_SETUP_TIMEOUT_MS) != 1) {
		snprintf(ret_text, text_size, "setting up the executor's sandbox took more than %d s",
			 JAIL_SETUP_TIMEOUT_MS / 1000);
		return -ETIMEDOUT;
	}
	n = read(sync, &failure, sizeof(failure));
	if (n == 0)
		return 0;
	if (n != sizeof(failure)) {
		snprintf(ret_text, text_size, "the executor's process ended before it was set up");
		return -EIO;
	}
	failure.step[sizeof(failure.step) - 1] = 0;
	snprintf(ret_text, text_size, "%s failed: %s", failure.step, strerror(failure.error));
	return failure.error > 0 ? -failure.error : -EIO;
}

static int start(struct jailer *j, struct jail_executor *e, uint32_t gpu, char *ret_text, size_t text_size)
{
	vgpu_close int theirs = -1, log = -1, parent = -1, child_sync = -1;
	int pair[2], rc;
	bool limited = false;
	long pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	e->sock = pair[0];
	theirs = pair[1];
	if (fcntl(e->sock, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	parent = pair[0];
	child_sync = pair[1];
	rc = jail_state_log_open(&j->options, e->id, &e->log, &log);
	if (rc)
		return rc;
	if (j->sandbox & VGPU_SANDBOX_CGROUP) {
		rc = jail_cgroup_create(e->id, j->options.memory_limit_bytes, &limited);
		if (rc) {
			snprintf(ret_text, text_size, "the executor's cgroup could not be made: %s",
				 strerror(-rc));
			return rc;
		}
	}
	if (!limited)
		e->sandbox &= ~(uint32_t)VGPU_SANDBOX_MEMORY_LIMIT;
	pid = syscall(SYS_clone, jail_sandbox_clone_flags(j->sandbox) | SIGCHLD, 0, 0, 0, 0);
	if (pid < 0) {
		snprintf(ret_text, text_size, "clone failed: %s", strerror(errno));
		return -errno;
	}
	if (!pid) {
		close(parent);
		child(j, e, gpu, theirs, log, child_sync);
	}
	e->pid = (pid_t)pid;
	e->child = true;
	/* as for those of an earlier jailer, which are nobody's children here */
	jail_process_pidfd(e->pid, &e->pidfd);
	close(vgpu_take_fd(&child_sync));
	rc = jail_process_start_time(e->pid, &e->start_time);
	if (!rc && j->sandbox & VGPU_SANDBOX_CGROUP)
		rc = jail_cgroup_add(e->id, e->pid);
	if (!rc)
		rc = jail_state_save(&j->options, e);
	if (rc)
		return rc; /* the child reads end of file and exits */
	return wait_for_exec(parent, ret_text, text_size);
}

int jail_executor_spawn(struct jailer *j, const struct vgpu_jailer_message *request,
			char *ret_text, size_t text_size)
{
	struct jail_executor *e;
	int rc;

	if (j->count >= VGPU_JAILER_EXECUTORS) {
		snprintf(ret_text, text_size, "%u executors live, the limit is %d: end sessions first",
			 j->count, VGPU_JAILER_EXECUTORS);
		return -EAGAIN;
	}
	e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->sock = e->log = e->pidfd = -1;
	e->id = j->next_id;
	e->tag = request->tag;
	e->sandbox = j->sandbox;
	rc = pick_uid(j, &e->uid);
	if (rc) {
		snprintf(ret_text, text_size,
			 "all %u user ids from %u on are in use: start the jailer with a larger --uid-count",
			 j->options.uid_count, j->options.uid_base);
		goto free;
	}
	rc = jail_state_take_id(&j->options, e->id);
	if (rc)
		goto free;
	j->next_id++;
	rc = start(j, e, request->gpu, ret_text, text_size);
	if (!rc) {
		e->started = true;
		e->pending = JAIL_SEND_EXECUTOR;
		jail_keep_socket(e);
	}
	if (rc && !e->child) {
		jail_cgroup_remove(e->id);
		jail_state_remove(&j->options, e->id);
		goto free;
	}
	/* one that failed half-way is in the list too: it is reaped like any other, silently */
	if (rc)
		kill(e->pid, SIGKILL);
	else
		vgpu_log(VGPU_LOG_INFO, "executor started id=%u pid=%d uid=%u gpu=%u", e->id,
			 (int)e->pid, e->uid, request->gpu);
	e->next = j->executors;
	j->executors = e;
	j->count++;
	return rc;
free:
	if (!ret_text[0])
		snprintf(ret_text, text_size, "starting an executor failed: %s", strerror(-rc));
	executor_free(e);
	return rc;
}

static bool is_alive(const struct jail_executor *e)
{
	uint64_t start;

	return jail_process_start_time(e->pid, &start) == 0 && start == e->start_time;
}

void jail_executor_kill(struct jailer *j, struct jail_executor *e)
{
	if (e->state != JAIL_LIVE)
		return;
	if (e->child)
		kill(e->pid, SIGKILL); /* not waited for yet, so the number is still its own */
	else if (e->pidfd >= 0)
		jail_process_pidfd_kill(e->pidfd);
	else if (is_alive(e))
		kill(e->pid, SIGKILL);
	jail_cgroup_kill(e->id);
}

static void note_death(struct jail_executor *e, int wait_status)
{
	e->state = JAIL_DYING;
	if (jail_cgroup_out_of_memory(e->id)) {
		e->reason = VGPU_DEATH_MEMORY;
	} else if (!e->child) {
		e->reason = VGPU_DEATH_UNKNOWN;
	} else if (WIFSIGNALED(wait_status)) {
		e->reason = VGPU_DEATH_SIGNAL;
		e->status = WTERMSIG(wait_status);
	} else {
		e->reason = VGPU_DEATH_EXIT;
		e->status = WEXITSTATUS(wait_status);
	}
}

/* Gone when nothing is left in its cgroup and nothing has its uid. */
static void finish(struct jailer *j, struct jail_executor *e)
{
	bool fenced = e->sandbox & (VGPU_SANDBOX_CGROUP | VGPU_SANDBOX_PID);

	if (e->sandbox & VGPU_SANDBOX_CGROUP) {
		jail_cgroup_kill(e->id);
		if (jail_cgroup_remove(e->id))
			return;
	}
	if (e->sandbox & VGPU_SANDBOX_UID && jail_process_uid_used(e->uid, !fenced))
		return;
	jail_executor_read_log(e);
	jail_state_remove(&j->options, e->id);
	jail_keep_forget(e->id);
	e->state = JAIL_GONE;
	if (e->started)
		e->pending |= JAIL_SEND_DIED;
	vgpu_log(VGPU_LOG_INFO, "executor gone id=%u pid=%d reason=%u status=%d", e->id, (int)e->pid,
		 e->reason, e->status);
}

void jail_executors_check(struct jailer *j)
{
	for (struct jail_executor *e = j->executors; e; e = e->next) {
		int status = 0;

		if (e->state == JAIL_LIVE) {
			if (e->child ? waitpid(e->pid, &status, WNOHANG) == e->pid : !is_alive(e))
				note_death(e, status);
		}
		if (e->state == JAIL_DYING)
			finish(j, e);
	}
}

void jail_executors_collect(struct jailer *j)
{
	for (struct jail_executor **at = &j->executors; *at;) {
		struct jail_executor *e = *at;

		/* without a mediator there is nobody to tell; the next one gets a list of those that live */
		if (e->state != JAIL_GONE || (e->pending && j->greeted)) {
			at = &e->next;
			continue;
		}
		*at = e->next;
		j->count--;
		executor_free(e);
	}
}

static void found(void *arg, const struct jail_executor *on_file)
{
	struct jailer *j = arg;
	struct jail_executor *e = j->count < VGPU_JAILER_EXECUTORS ? malloc(sizeof(*e)) : NULL;

	if (!e)
		return;
	*e = *on_file;
	e->started = e->pid > 0;
	if (!e->pid) {
		e->state = JAIL_DYING;
		e->sandbox = j->sandbox & VGPU_SANDBOX_CGROUP;
	}
	/* also those that died meanwhile go through the list: their cgroups must be removed */
	jail_process_pidfd(e->pid, &e->pidfd);
	if (!is_alive(e) && e->pidfd >= 0) {
		close(e->pidfd);
		e->pidfd = -1;
	}
	if (e->started)
		jail_state_log_open(&j->options, e->id, &e->log, NULL);
	e->next = j->executors;
	j->executors = e;
	j->count++;
	vgpu_log(VGPU_LOG_INFO, "executor of an earlier jailer id=%u pid=%d alive=%s", e->id,
		 (int)e->pid, is_alive(e) ? "yes" : "no");
}

int jail_executors_load(struct jailer *j)
{
	int rc = jail_state_each(&j->options, found, j);

	if (!rc)
		jail_keep_take(j);
	return rc;
}

/* Its standard error, line by line, as text only; at most one buffer's worth a call. */
void jail_executor_read_log(struct jail_executor *e)
{
	char chunk[4096], line[512];
	ssize_t n = e->log >= 0 ? read(e->log, chunk, sizeof(chunk)) : -1;

	if (n > 0 && e->log_bytes < JAIL_LOG_MAX && e->log_bytes + (size_t)n >= JAIL_LOG_MAX)
		vgpu_log(VGPU_LOG_WARNING, "executor has said too much, the rest is dropped id=%u limit_bytes=%d",
			 e->id, JAIL_LOG_MAX);
	if (n > 0 && e->log_bytes < JAIL_LOG_MAX)
		e->log_bytes += (unsigned int)n;
	if (e->log_bytes >= JAIL_LOG_MAX)
		return;
	for (ssize_t i = 0; i < n; i++) {
		bool end = chunk[i] == '\n';

		if (!end)
			e->log_line[e->log_used++] = chunk[i];
		if ((end || e->log_used == sizeof(e->log_line)) && e->log_used) {
			vgpu_log_text(line, sizeof(line), e->log_line, e->log_used);
			vgpu_log(VGPU_LOG_INFO, "executor says id=%u text=\"%s\"", e->id, line);
			e->log_used = 0;
		}
	}
}
