// SPDX-License-Identifier: MIT
/* The connection to the jailer; when it breaks, all is told anew over the next. */
#include "host/mediator/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct med *med_of(struct med_jailer *j)
{
	return med_container(j, struct med, jailer);
}

static int send_message(struct med_jailer *j, uint32_t type, uint32_t id, uint32_t gpu, const int *fd)
{
	struct vgpu_jailer_message m = { .type = type, .bytes = sizeof(m), .version = VGPU_JAILER_VERSION,
					 .id = id, .gpu = gpu };

	if (!j->connected)
		return -ENOTCONN;
	if (type == VGPU_JAILER_SPAWN) {
		if (!++j->next_tag) /* 0 marks what was not asked for */
			j->next_tag = 1;
		m.tag = j->next_tag;
	}
	return med_channel_send(&j->channel, &m, sizeof(m), fd, fd ? 1 : 0);
}

int med_jailer_spawn(struct med *m, uint32_t gpu)
{
	int rc = m->jailer.listed ? send_message(&m->jailer, VGPU_JAILER_SPAWN, 0, gpu, NULL) : -ENOTCONN;

	if (!rc)
		m->jailer.spawning++;
	return rc;
}

int med_jailer_kill(struct med *m, uint32_t id)
{
	return send_message(&m->jailer, VGPU_JAILER_KILL, id, 0, NULL);
}

static void disconnect(struct med_jailer *j, const char *why)
{
	if (j->connected)
		vgpu_log(VGPU_LOG_WARNING, "jailer disconnected reason=\"%s\"", why);
	med_channel_uninit(&j->channel);
	j->connected = false;
	j->listed = false;
	j->spawning = 0;
	med_timer_start(&j->retry, MED_RETRY_MS);
}

static void got_executor(struct med_jailer *j, const struct vgpu_jailer_message *m, struct vgpu_chan_fds *fds)
{
	struct med *med = med_of(j);
	struct med_executor *e = med_executor_find(med, m->id);
	int sock = vgpu_chan_fds_take(fds, 0);

	if (m->tag && j->spawning)
		j->spawning--;
	j->sandbox = m->sandbox;
	if (e) {
		/* a restarted jailer has found it, but only we still have the socket */
		e->seen = true;
		if (sock < 0 && e->channel.source.fd >= 0)
			send_message(j, VGPU_JAILER_ADOPT, m->id, 0, &e->channel.source.fd);
		if (e->state == MED_ENDING) {
			e->kill_sent = !med_jailer_kill(med, e->id);
			med_timer_start(&e->timer, e->kill_sent ? MED_HELLO_MS : MED_RETRY_MS);
		}
		if (sock >= 0)
			close(sock);
		return;
	}
	if (med_executor_add(med, m, sock)) {
		if (sock >= 0)
			close(sock);
		med_jailer_kill(med, m->id);
	}
}

struct unnamed {
	struct med *med;
	uint32_t ids[VGPU_JAILER_EXECUTORS];
	unsigned int count;
};

static void collect_unnamed(void *arg, uint32_t id)
{
	struct unnamed *u = arg;

	if (u->count < sizeof(u->ids) / sizeof(*u->ids) && !med_executor_find(u->med, id))
		u->ids[u->count++] = id;
}

/* Records of executors that are gone: their ids may come again after a reboot. */
static void forget_unnamed(struct med *m)
{
	static struct unnamed u;

	u.med = m;
	u.count = 0;
	if (med_config_each_executor(m->config, collect_unnamed, &u))
		return;
	for (unsigned int i = 0; i < u.count; i++)
		med_config_remove_executor(m->config, u.ids[i]);
}

/* All that lives has been named: what was not is gone, or unknown to a jailer that lost its files. */
static void listed(struct med_jailer *j)
{
	struct med *m = med_of(j);
	struct med_executor *next;

	/* from now on those that are named can be heard */
	if (!j->ever_listed && m->grace.armed)
		med_timer_start(&m->grace, m->options.grace_ms);
	j->listed = true;
	j->ever_listed = true;
	for (struct med_executor *e = m->executors; e; e = next) {
		next = e->next;
		if (e->seen)
			continue;
		if (e->channel.source.fd < 0) {
			med_executor_died(e, VGPU_DEATH_UNKNOWN, 0);
			next = m->executors;
		} else {
			/* its end of the socket closing is the sign of its death */
			if (e->state != MED_ENDING)
				e->ending_ns = med_now_ns();
			e->state = MED_ENDING;
			shutdown(e->channel.source.fd, SHUT_WR);
		}
	}
	forget_unnamed(m);
	med_session_match(m, false);
	med_links_check_resets(m);
	med_executors_balance(m);
}

static bool handle(struct med_jailer *j, const struct vgpu_jailer_message *m, struct vgpu_chan_fds *fds)
{
	struct med *med = med_of(j);
	struct med_executor *e;
	char text[sizeof(m->text)];

	switch (m->type) {
	case VGPU_JAILER_EXECUTOR:
		got_executor(j, m, fds);
		return true;
	case VGPU_JAILER_SPAWN_FAILED:
		if (j->spawning)
			j->spawning--;
		vgpu_log_text(text, sizeof(text), m->text, sizeof(m->text));
		vgpu_log(VGPU_LOG_ERROR, "executor not started text=\"%s\"", text);
		med_executor_spawn_failed(med, text);
		return true;
	case VGPU_JAILER_DIED:
		e = med_executor_find(med, m->id);
		if (e)
			med_executor_died(e, m->reason, m->status);
		return true;
	case VGPU_JAILER_LISTED:
		listed(j);
		return true;
	default:
		return false;
	}
}

static void jailer_receive(struct med_channel *c)
{
	struct med_jailer *j = med_container(c, struct med_jailer, channel);
	struct vgpu_jailer_message m;
	struct vgpu_chan_fds fds;
	ssize_t n = vgpu_chan_recv(c->source.fd, &m, sizeof(m), &fds);
	bool good;

	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		disconnect(j, n ? strerror((int)-n) : "end of file");
		return;
	}
	good = n == sizeof(m) && m.bytes == sizeof(m) && m.version == VGPU_JAILER_VERSION && handle(j, &m, &fds);
	vgpu_chan_fds_close(&fds);
	if (!good)
		disconnect(j, "malformed message: are vgpu-jailer and vgpu-mediator of one version?");
}

static void connect_now(struct med_timer *t)
{
	struct med_jailer *j = med_container(t, struct med_jailer, retry);
	struct med *m = med_of(j);
	int sock, rc = vgpu_chan_connect(m->options.jailer, SOCK_NONBLOCK, &sock);

	if (!rc) {
		rc = med_channel_init(&j->channel, sock, MED_JAILER_QUEUE, jailer_receive);
		if (rc)
			close(sock);
	}
	if (rc) {
		if (!j->complained)
			vgpu_log(VGPU_LOG_WARNING, "jailer not reachable path=%s error=\"%s\"", m->options.jailer,
				 strerror(-rc));
		j->complained = true;
		med_timer_start(&j->retry, MED_RETRY_MS);
		return;
	}
	j->connected = true;
	j->complained = false;
	/* started again, perhaps with another driver: what failed before need not fail now */
	med_timer_stop(&m->backoff);
	m->backoff_ms = 0;
	for (struct med_executor *e = m->executors; e; e = e->next) {
		e->seen = false;
		e->kill_sent = false;
	}
	vgpu_log(VGPU_LOG_NOTICE, "jailer connected path=%s", m->options.jailer);
	if (send_message(j, VGPU_JAILER_HELLO, 0, 0, NULL))
		disconnect(j, "HELLO could not be sent");
}

void med_jailer_start(struct med *m)
{
	m->jailer.channel.source.fd = -1;
	m->jailer.retry.fire = connect_now;
	connect_now(&m->jailer.retry);
}
