// SPDX-License-Identifier: MIT
/* Options, start and end of vgpu-mediator. */
#include "host/mediator/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "host/mediator/options.h"

static struct med mediator;

static void signal_ready(struct med_source *s, uint32_t events)
{
	struct signalfd_siginfo info;

	while (read(s->fd, &info, sizeof(info)) == sizeof(info))
		mediator.stop = true;
}

static int start_signals(struct med *m)
{
	sigset_t set;
	int fd;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	m->signals.ready = signal_ready;
	return med_loop_add(&m->signals, fd, EPOLLIN);
}

static int make_directory(const struct med *m, const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s%s", m->options.run_dir, name);
	if (mkdir(path, 0755) == 0 || errno == EEXIST)
		return 0;
	vgpu_log(VGPU_LOG_ERROR, "run directory not usable path=%s error=\"%s\"", path, strerror(errno));
	return -EIO;
}

/* One mediator a run directory: the lock goes with the process, however it ends. */
static int take_lock(struct med *m)
{
	char path[512];

	if (make_directory(m, "") || make_directory(m, "/vm") || make_directory(m, "/local"))
		return -EIO;
	snprintf(path, sizeof(path), "%s/lock", m->options.run_dir);
	m->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (m->lock_fd < 0 || flock(m->lock_fd, LOCK_EX | LOCK_NB) < 0) {
		vgpu_log(VGPU_LOG_ERROR, "another mediator runs, or the lock is not usable path=%s error=\"%s\"", path,
			 strerror(errno));
		return -EBUSY;
	}
	return 0;
}

static void local_ready(struct med_source *s, uint32_t events)
{
	med_link_accept(&mediator, NULL, s->fd);
}

static int start_local(struct med *m)
{
	char path[512];
	int fd, rc;

	/* a directory of its own for containers to mount: it outlives the socket */
	snprintf(path, sizeof(path), "%s/local/vgpu.sock", m->options.run_dir);
	/* open to all: who may use it is decided by the peer's uid */
	rc = vgpu_chan_listen(path, 0666, SOCK_NONBLOCK, &fd);
	if (rc) {
		vgpu_log(VGPU_LOG_ERROR, "socket not usable path=%s error=\"%s\"", path, strerror(-rc));
		return rc;
	}
	m->local.ready = local_ready;
	return med_loop_add(&m->local, fd, EPOLLIN);
}

/* Who has not come back by now does not come. */
static void grace_over(struct med_timer *t)
{
	struct med *m = med_container(t, struct med, grace);

	/* executors live on while the jailer is stopped or being started anew: nobody is given up before
	 * it has named them */
	if (!m->jailer.ever_listed) {
		med_timer_start(t, m->options.grace_ms ? m->options.grace_ms : MED_RETRY_MS);
		return;
	}
	med_session_match(m, true);
	med_executors_greet_end(m);
	med_links_check_resets(m);
	med_executors_balance(m);
}

static void backoff_over(struct med_timer *t)
{
	med_executors_balance(med_container(t, struct med, backoff));
}

static int start(struct med *m)
{
	int rc = take_lock(m);

	if (!rc)
		rc = med_loop_init();
	if (!rc)
		rc = start_signals(m);
	if (!rc)
		rc = med_config_open(m->options.config_db, &m->config);
	if (!rc)
		rc = med_config_next_epoch(m->config, &m->epoch);
	if (!rc)
		rc = med_vms_load(m);
	if (!rc)
		rc = start_local(m);
	if (!rc)
		rc = med_control_start(m);
	if (rc)
		return rc;
	m->backoff.fire = backoff_over;
	m->grace.fire = grace_over;
	med_timer_start(&m->grace, m->options.grace_ms);
	med_jailer_start(m);
	return 0;
}

static void raise_file_limit(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

int main(int argc, char **argv)
{
	struct med *m = &mediator;
	int rc;

	m->lock_fd = m->signals.fd = m->local.fd = -1;
	if (med_options_parse(argc, argv, &m->options)) {
		fprintf(stderr, "Try: vgpu-mediator --help\n");
		return 2;
	}
	vgpu_log_init("vgpu-mediator", m->options.verbose ? VGPU_LOG_DEBUG : VGPU_LOG_INFO);
	raise_file_limit();
	vgpu_chan_set_discard(med_close_later);
	rc = start(m);
	if (rc) {
		vgpu_log(VGPU_LOG_ERROR, "mediator cannot start error=\"%s\"", strerror(-rc));
		return 1;
	}
	vgpu_log(VGPU_LOG_NOTICE, "mediator ready run_dir=%s epoch=%u", m->options.run_dir, m->epoch);
	rc = med_loop_run(&m->stop);
	/* sessions live on: links and executors come back to the next mediator */
	vgpu_log(VGPU_LOG_NOTICE, "mediator ends epoch=%u", m->epoch);
	med_control_stop(m);
	med_vms_uninit(m);
	med_config_close(m->config);
	return rc ? 1 : 0;
}
