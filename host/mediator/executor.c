// SPDX-License-Identifier: MIT
/* Executors: kept warm, given out, ended, reaped. */
#include "host/mediator/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct med_executor *med_executor_find(struct med *m, uint32_t id)
{
	for (struct med_executor *e = m->executors; e; e = e->next)
		if (e->id == id)
			return e;
	return NULL;
}

unsigned int med_executors_count(const struct med *m, enum med_executor_state state)
{
	unsigned int n = 0;

	for (struct med_executor *e = m->executors; e; e = e->next)
		n += e->state == state;
	return n;
}

/* The oldest, so that those of an earlier release or jailer are used up first. */
struct med_executor *med_executor_warm(struct med *m)
{
	struct med_executor *oldest = NULL;

	for (struct med_executor *e = m->executors; e; e = e->next)
		if (e->state == MED_READY)
			oldest = e;
	return oldest;
}

bool med_executors_adopting(const struct med *m)
{
	for (struct med_executor *e = m->executors; e; e = e->next)
		if (e->state == MED_STARTING && e->adopted)
			return true;
	return false;
}

bool med_executors_adopting_vm(const struct med *m, const uint8_t vm_uuid[16])
{
	for (struct med_executor *e = m->executors; e; e = e->next)
		if (e->state == MED_STARTING && e->has_vm && !memcmp(e->vm_uuid, vm_uuid, 16))
			return true;
	return false;
}

bool med_executors_unmatched(const struct med *m, const uint8_t vm_uuid[16])
{
	for (struct med_executor *e = m->executors; e; e = e->next)
		if (e->has_vm && !e->session && !memcmp(e->vm_uuid, vm_uuid, 16))
			return true;
	return false;
}

/* What was started by an earlier mediator and has not said a word until now is not waited for. */
void med_executors_greet_end(struct med *m)
{
	for (struct med_executor *e = m->executors; e; e = e->next) {
		if (e->state == MED_REPORTED || (e->state == MED_STARTING && e->adopted)) {
			vgpu_log(VGPU_LOG_NOTICE, "executor without a link ended executor=%u pid=%u", e->id,
				 e->pid);
			med_executor_end(e, false);
		}
	}
}

/* A VM's by its UUID; a local client's by its window, since a user may have several clients. */
static bool of_link(const struct med_executor *e, const struct med_link *l)
{
	if (l->local)
		return e->report[0] >= 0 && med_window_same(&l->window, e->report[0]);
	return !memcmp(e->ready.vm_uuid, l->vm->config.uuid, 16);
}

void med_executors_end_unresumed(struct med_link *l)
{
	for (struct med_executor *e = l->med->executors; e; e = e->next)
		if (e->state == MED_REPORTED && of_link(e, l))
			med_executor_end(e, false);
}

bool med_executors_of_earlier(const struct med_link *l)
{
	/* while the jailer has not said which there are, those on record may live */
	if (!l->med->jailer.ever_listed)
		return med_config_vm_has_executor(l->med->config, l->vm->config.uuid);
	return med_executors_unmatched(l->med, l->vm->config.uuid);
}

int med_executor_send(struct med_executor *e, uint32_t type, void *message, size_t bytes, const int *fds,
		      unsigned int count)
{
	struct vgpu_executor_header *h = message;

	h->type = type;
	h->bytes = (uint32_t)bytes;
	h->version = VGPU_EXECUTOR_VERSION;
	h->epoch = e->med->epoch;
	return med_channel_send(&e->channel, message, bytes, fds, count);
}

void med_executor_hello(struct med_executor *e)
{
	struct vgpu_executor_header h;

	/* one that is gone already shows by its death */
	med_executor_send(e, VGPU_EXECUTOR_HELLO, &h, sizeof(h), NULL, 0);
}

struct med_executor *med_executor_stuck(const struct med *m, unsigned int *ret_count)
{
	struct med_executor *found = NULL;
	uint64_t now = med_now_ns();
	unsigned int n = 0;

	/* without a jailer none can be ended: that is said elsewhere */
	for (struct med_executor *e = m->jailer.listed ? m->executors : NULL; e; e = e->next) {
		if (e->state != MED_ENDING || now - e->ending_ns < m->options.stuck_ms * 1000000ull)
			continue;
		found = e;
		n++;
	}
	*ret_count = n;
	return found;
}

/* Ending takes too long, or making ready does. */
static void timer_fired(struct med_timer *t)
{
	struct med_executor *e = med_container(t, struct med_executor, timer);

	if (e->state == MED_STARTING) {
		vgpu_log(VGPU_LOG_ERROR, "executor not ready in time executor=%u pid=%u", e->id, e->pid);
		snprintf(e->text, sizeof(e->text), "the executor was not ready within %d s", MED_WAIT_MS / 1000);
		med_executor_end(e, false);
		return;
	}
	if (e->kill_sent)
		vgpu_log(VGPU_LOG_ERROR, "executor cannot be ended executor=%u pid=%u", e->id, e->pid);
	if (!med_jailer_kill(e->med, e->id))
		e->kill_sent = true;
	med_timer_start(t, e->kill_sent ? MED_HELLO_MS : MED_RETRY_MS);
}

int med_executor_add(struct med *m, const struct vgpu_jailer_message *j, int sock)
{
	struct med_executor *e = calloc(1, sizeof(*e));
	int rc;

	if (!e)
		return -ENOMEM;
	e->channel.source.fd = -1;
	rc = sock < 0 ? 0 : med_channel_init(&e->channel, sock, MED_EXECUTOR_QUEUE, med_executor_receive);
	if (rc) {
		free(e);
		return rc;
	}
	e->med = m;
	e->state = MED_STARTING;
	e->id = j->id;
	e->pid = j->pid;
	e->uid = j->uid;
	e->sandbox = j->sandbox;
	e->adopted = !j->tag;
	e->has_vm = e->adopted && !med_config_find_executor(m->config, e->id, e->vm_uuid);
	e->seen = true;
	e->timer.fire = timer_fired;
	e->report[0] = e->report[1] = e->report[2] = e->slot = -1;
	e->since_ns = med_now_ns();
	e->next = m->executors;
	m->executors = e;
	if (sock < 0) {
		/* it ends by itself at end of file, and this makes sure */
		med_executor_end(e, false);
		return 0;
	}
	med_timer_start(&e->timer, MED_WAIT_MS);
	med_executor_hello(e);
	return 0;
}

void med_executor_end(struct med_executor *e, bool polite)
{
	struct vgpu_executor_header h;

	if (e->state == MED_ENDING && (polite || e->kill_sent))
		return;
	if (e->state != MED_ENDING)
		e->ending_ns = med_now_ns();
	e->state = MED_ENDING;
	if (polite && !med_executor_send(e, VGPU_EXECUTOR_FINISH, &h, sizeof(h), NULL, 0)) {
		med_timer_start(&e->timer, e->med->options.finish_ms);
		return;
	}
	e->kill_sent = !med_jailer_kill(e->med, e->id);
	/* without a jailer to kill it, end of file is what it obeys */
	if (!e->kill_sent && e->channel.source.fd >= 0)
		shutdown(e->channel.source.fd, SHUT_WR);
	med_timer_start(&e->timer, e->kill_sent ? MED_HELLO_MS : MED_RETRY_MS);
}

static void describe_death(struct med_executor *e, uint32_t reason, int32_t status)
{
	if (reason == VGPU_DEATH_MEMORY) {
		e->error = VGPU_ERROR_SESSION_MEMORY;
		snprintf(e->text, sizeof(e->text),
			 "the session's process on the host passed its memory limit: raise vgpu-jailer --memory-limit");
		e->med->counters.executors_out_of_memory++;
	}
	if (!e->error)
		e->error = VGPU_ERROR_SESSION_EXECUTOR_DIED;
	if (e->text[0])
		return;
	if (reason == VGPU_DEATH_SIGNAL)
		snprintf(e->text, sizeof(e->text), "the session's process on the host died of signal %d", status);
	else if (reason == VGPU_DEATH_EXIT)
		snprintf(e->text, sizeof(e->text), "the session's process on the host exited with status %d", status);
	else
		snprintf(e->text, sizeof(e->text), "the session's process on the host died");
}

/* The slot of one that has not found its session again; the VM may have been removed meanwhile. */
static void put_slot(struct med_executor *e)
{
	struct med_vm *vm = med_vm_by_uuid(e->med, e->ready.vm_uuid);

	if (e->slot >= 0 && vm && !med_quota_adopt(&vm->quota, e->report[2], vm->config.vram_quota_bytes))
		med_quota_put(&vm->quota, (unsigned int)e->slot);
}

/* Starting executors fails: wait longer each time, tell those who wait. */
static void start_failed(struct med *m, uint32_t error, const char *text)
{
	m->counters.executors_failed++;
	m->start_error = error;
	snprintf(m->start_text, sizeof(m->start_text), "%s", text);
	m->backoff_ms = m->backoff_ms ? 2 * m->backoff_ms : MED_RETRY_MS;
	if (m->backoff_ms > MED_BACKOFF_MAX_MS)
		m->backoff_ms = MED_BACKOFF_MAX_MS;
	med_timer_start(&m->backoff, m->backoff_ms);
	while (med_session_waiting(m) > med_executors_count(m, MED_STARTING) + m->jailer.spawning)
		med_session_fail_waiting(m, error, text);
}

void med_executor_spawn_failed(struct med *m, const char *text)
{
	start_failed(m, VGPU_ERROR_HOST_NO_EXECUTOR, text);
}

void med_executor_died(struct med_executor *e, uint32_t reason, int32_t status)
{
	struct med *m = e->med;
	struct med_session *s = e->session;
	bool unexpected = e->state != MED_ENDING || e->lost || e->error || e->text[0];

	describe_death(e, reason, status);
	if (unexpected) {
		m->counters.executors_died++;
		vgpu_log(VGPU_LOG_WARNING, "executor died executor=%u pid=%u reason=%u status=%d text=\"%s\"", e->id,
			 e->pid, reason, status, e->text);
	}
	for (struct med_executor **at = &m->executors; *at; at = &(*at)->next) {
		if (*at == e) {
			*at = e->next;
			break;
		}
	}
	med_timer_stop(&e->timer);
	med_channel_uninit(&e->channel);
	if (s || e->has_vm)
		med_config_remove_executor(m->config, e->id);
	put_slot(e);
	for (int i = 0; i < 3; i++)
		if (e->report[i] >= 0)
			med_close_later(e->report[i]);
	if (s)
		med_session_executor_gone(s, e->error, e->text);
	else if (unexpected && !e->adopted)
		start_failed(m, e->error == VGPU_ERROR_SESSION_EXECUTOR_DIED ? VGPU_ERROR_HOST_NO_EXECUTOR : e->error,
			     e->text);
	free(e);
	med_session_unmatched_gone(m);
	med_links_check_resets(m);
	med_executors_balance(m);
}

/* Gives what is ready to those who wait, then orders what is missing. */
void med_executors_balance(struct med *m)
{
	unsigned int waiting, coming, want;
	struct med_executor *e;

	/* which sessions there are from before a restart must be known first */
	if (!m->jailer.ever_listed)
		return;
	while ((e = med_executor_warm(m)) && med_session_serve(m, e))
		;
	waiting = med_session_waiting(m);
	coming = med_executors_count(m, MED_STARTING) + m->jailer.spawning;
	want = waiting + (m->backoff.armed ? 0 : m->options.warm);
	coming += med_executors_count(m, MED_READY);
	while (coming < want && !med_jailer_spawn(m, m->options.gpu))
		coming++;
}
