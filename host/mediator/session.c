// SPDX-License-Identifier: MIT
/* Sessions: opened, given an executor, grown, found again after a restart of the mediator. */
#include "host/mediator/internal.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct med_session *med_session_find(struct med_link *l, uint32_t sid)
{
	for (struct med_session *s = l->sessions; s; s = s->next)
		if (s->sid == sid && s->epoch == l->epoch)
			return s;
	return NULL;
}

static void refuse_open(struct med_link *l, uint32_t sid, uint32_t error, uint32_t value, uint32_t limit,
			const char *text)
{
	l->med->counters.sessions_refused++;
	l->refused++;
	l->vm->refused++;
	med_link_result(l, VGPU_LINK_OPENED, l->epoch, sid, error, value, limit, text);
}

/* What decides whether the VM may have one more. */
static bool admit(struct med_link *l, uint32_t sid)
{
	struct med_vm *vm = l->vm;
	unsigned int n = med_vm_sessions(vm), stuck;
	const struct med_executor *e = med_executor_stuck(l->med, &stuck);
	char text[VGPU_LINK_TEXT];

	if (e) {
		snprintf(text, sizeof(text),
			 "the GPU is degraded: process %u has not ended for %u s, the limit is %u: see vgpu-admin doctor",
			 e->pid, (unsigned int)((med_now_ns() - e->ending_ns) / 1000000000u),
			 l->med->options.stuck_ms / 1000);
		refuse_open(l, sid, VGPU_ERROR_GPU_LOST, stuck, 0, text);
		return false;
	}

	if (l->resetting) {
		refuse_open(l, sid, VGPU_ERROR_HOST_BUSY, 0, 0, "the device is being reset");
		return false;
	}
	if (n >= vm->config.sessions) {
		l->med->counters.session_limit++;
		snprintf(text, sizeof(text),
			 "%u sessions of VM %s are open, the limit is %u: close one, or raise it with vgpu-admin vm set %s --sessions",
			 n, vm->config.name, vm->config.sessions, vm->config.name);
		refuse_open(l, sid, VGPU_ERROR_HOST_SESSION_LIMIT, n + 1, vm->config.sessions, text);
		return false;
	}
	if (!med_vm_may_open(vm)) {
		l->med->counters.rate_limit++;
		snprintf(text, sizeof(text),
			 "VM %s opens sessions faster than %d a second (%d at once): slow down", vm->config.name,
			 MED_OPEN_PER_S, MED_OPEN_BURST);
		refuse_open(l, sid, VGPU_ERROR_HOST_BUSY, MED_OPEN_PER_S + 1, MED_OPEN_PER_S, text);
		return false;
	}
	return true;
}

static bool is_eventfd(int fd)
{
	char path[64], target[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return false;
	target[n] = 0;
	return !strcmp(target, "anon_inode:[eventfd]");
}

static void wait_over(struct med_timer *t)
{
	struct med_session *s = med_container(t, struct med_session, timer);

	if (s->state == MED_WAIT)
		med_session_fail(s, VGPU_ERROR_HOST_NO_EXECUTOR, 0, 0,
				 s->link->med->jailer.connected ?
					 "no executor was ready in time: see the host's log" :
					 "the host's vgpu-jailer is not running: systemctl status vgpu-jailer");
	else if (s->state == MED_ASSIGN)
		med_session_fail(s, VGPU_ERROR_HOST_NO_EXECUTOR, 0, 0, "the executor did not answer in time");
}

static struct med_session *session_create(struct med_link *l, const struct vgpu_link_open *o)
{
	struct med_session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->link = l;
	s->sid = o->h.sid;
	s->epoch = l->epoch;
	s->pid = o->pid;
	s->arena = o->arena;
	s->features = o->features;
	s->control_offset = o->control_offset;
	s->doorbell = s->interrupt = s->gate_fd = s->slot = -1;
	s->timer.fire = wait_over;
	s->since_ns = med_now_ns();
	s->next = l->sessions;
	l->sessions = s;
	return s;
}

static bool check_open(struct med_link *l, const struct vgpu_link_open *o, const struct vgpu_chan_fds *fds)
{
	uint32_t sid = o->h.sid;

	if (med_session_find(l, sid)) {
		refuse_open(l, sid, VGPU_ERROR_CALL_PROTOCOL, sid, 0, "the session's number is in use");
		return false;
	}
	if (o->arena >= VGPU_ARENAS) {
		refuse_open(l, sid, VGPU_ERROR_CALL_INVALID, o->arena, VGPU_ARENAS - 1, "there is no such arena");
		return false;
	}
	if (o->features & ~(uint32_t)VGPU_SESSION_FEATURE_BASE) {
		refuse_open(l, sid, VGPU_ERROR_CALL_UNSUPPORTED, o->features, VGPU_SESSION_FEATURE_BASE,
			    "the host does not know these session features");
		return false;
	}
	if (!is_eventfd(fds->fd[0]) || !is_eventfd(fds->fd[1])) {
		refuse_open(l, sid, VGPU_ERROR_CALL_INVALID, 0, 0,
			    "doorbell and interrupt must be eventfds");
		return false;
	}
	return admit(l, sid);
}

void med_session_open(struct med_link *l, const struct vgpu_link_open *o, struct vgpu_chan_fds *fds)
{
	struct med *m = l->med;
	struct med_session *s, **at;
	int rc;

	if (!check_open(l, o, fds))
		return;
	rc = med_window_take(&l->window, o->control_offset, VGPU_CONTROL_BYTES);
	if (rc) {
		m->counters.extent_refused++;
		refuse_open(l, o->h.sid, VGPU_ERROR_CALL_INVALID, (uint32_t)(o->control_offset >> 10),
			    (uint32_t)(l->window.bytes >> 10),
			    rc == -EEXIST ? "the control extent belongs to another session" :
					    "the control extent is not a 2 MiB extent inside the window");
		return;
	}
	s = session_create(l, o);
	if (!s) {
		med_window_put(&l->window, o->control_offset, VGPU_CONTROL_BYTES);
		refuse_open(l, o->h.sid, VGPU_ERROR_CALL_NO_MEMORY, 0, 0, "the host is out of memory");
		return;
	}
	s->doorbell = vgpu_chan_fds_take(fds, 0);
	s->interrupt = vgpu_chan_fds_take(fds, 1);
	s->state = MED_WAIT;
	for (at = &m->waiting; *at; at = &(*at)->next_waiting)
		;
	*at = s;
	med_timer_start(&s->timer, m->jailer.connected ? MED_WAIT_MS : MED_WAIT_JAILER_MS);
	med_executors_balance(m);
}

unsigned int med_session_waiting(const struct med *m)
{
	unsigned int n = 0;

	for (struct med_session *s = m->waiting; s; s = s->next_waiting)
		n++;
	return n;
}

void med_session_fail_waiting(struct med *m, uint32_t error, const char *text)
{
	if (m->waiting)
		med_session_fail(m->waiting, error, 0, 0, text);
}

static int send_assign(struct med_session *s, struct med_executor *e)
{
	struct med *m = s->link->med;
	struct vgpu_executor_assign a = {
		.sid = s->sid,
		.link_epoch = s->epoch,
		.window_bytes = s->link->window.bytes,
		.control_offset = s->control_offset,
		.arena = s->arena,
		.features = s->features,
		.wake_futex = s->link->local,
		.quota_slot = (uint32_t)s->slot,
		.poll_us = m->options.poll_us,
	};
	const int fds[] = { s->link->window.fd, s->doorbell, s->interrupt, s->gate_fd, s->link->vm->quota.fd };

	memcpy(a.vm_uuid, s->link->vm->config.uuid, 16);
	return med_executor_send(e, VGPU_EXECUTOR_ASSIGN, &a, sizeof(a), fds, 5);
}

/* Quota slot and gate page. */
static int make_pages(struct med_session *s)
{
	struct med_vm *vm = s->link->vm;
	unsigned int slot;
	void *page;
	int rc = med_quota_ensure(&vm->quota, vm->config.vram_quota_bytes);

	if (rc)
		return rc;
	rc = med_page_create("vgpu-gate", &s->gate_fd, &page);
	if (rc)
		return rc;
	s->gate = page;
	s->gate->gate = 1; /* no policy holds anybody back: always open */
	rc = med_quota_take(&vm->quota, &slot);
	if (!rc)
		s->slot = (int)slot;
	return rc;
}

static struct med_session *take_waiting(struct med *m)
{
	for (struct med_session **at = &m->waiting; *at; at = &(*at)->next_waiting) {
		struct med_session *s = *at;

		if (med_executors_adopting_vm(m, s->link->vm->config.uuid))
			continue;
		*at = s->next_waiting;
		s->next_waiting = NULL;
		return s;
	}
	return NULL;
}

bool med_session_serve(struct med *m, struct med_executor *e)
{
	struct med_session *s = take_waiting(m);
	int rc;

	if (!s)
		return false;
	s->state = MED_ASSIGN;
	rc = make_pages(s);
	if (rc) {
		med_session_fail(s, VGPU_ERROR_HOST_BUSY, 0, VGPU_QUOTA_SLOTS,
				 rc == -ENOSPC ? "sessions of this VM are still being ended: try again" :
						 "the host is out of memory");
		return true;
	}
	s->executor = e;
	e->session = s;
	e->state = MED_ASSIGNED;
	med_timer_start(&s->timer, MED_WAIT_MS);
	if (med_config_put_executor(m->config, e->id, s->link->vm->config.uuid, (unsigned int)s->slot,
				    s->link->vm->quota.fd))
		med_session_fail(s, VGPU_ERROR_HOST_INTERNAL, 0, 0, "the host could not record the session");
	else if (send_assign(s, e))
		med_session_fail(s, VGPU_ERROR_HOST_NO_EXECUTOR, 0, 0, "the executor has ended");
	return true;
}

void med_session_assigned(struct med_session *s, const struct vgpu_executor_result *r)
{
	if (s->state != MED_ASSIGN)
		return;
	if (r->error) {
		med_session_fail(s, r->error, r->value, r->limit, r->text);
		return;
	}
	s->state = MED_OPEN;
	med_timer_stop(&s->timer);
	/* the executor has its own now */
	close(s->doorbell);
	close(s->interrupt);
	s->doorbell = s->interrupt = -1;
	s->link->med->counters.sessions++;
	s->link->vm->sessions_opened++;
	vgpu_log(VGPU_LOG_INFO, "session opened vm=%s sid=%u pid=%u executor=%u", s->link->vm->config.name,
		 s->sid, s->pid, s->executor->id);
	med_link_result(s->link, VGPU_LINK_OPENED, s->epoch, s->sid, 0, 0, 0, "");
}

static void heap_answer(struct med_link *l, const struct vgpu_link_heap *h, uint32_t error, uint32_t value,
			uint32_t limit, const char *text)
{
	med_link_result(l, VGPU_LINK_HEAP_ADDED, l->epoch, h->h.sid, error, value, limit, text);
}

static int add_run(struct med_session *s, const struct vgpu_link_heap *h)
{
	struct med_run *run;

	if (s->run_count == s->run_space) {
		unsigned int space = s->run_space ? 2 * s->run_space : 8;
		struct med_run *runs = realloc(s->runs, space * sizeof(*runs));

		if (!runs)
			return -ENOMEM;
		s->runs = runs;
		s->run_space = space;
	}
	run = &s->runs[s->run_count++];
	run->heap_offset = h->heap_offset;
	run->window_offset = h->window_offset;
	run->bytes = h->bytes;
	return 0;
}

/* 0, or an error with its sentence; takes the extents. */
static uint32_t take_run(struct med_session *s, const struct vgpu_link_heap *h, const char **ret_text)
{
	int rc;

	if (s->run_count >= VGPU_SESSION_RUNS_MAX) {
		*ret_text = "the session's heap has too many pieces: ask for larger ones";
		return VGPU_ERROR_CALL_LIMIT;
	}
	*ret_text = "the heap range must be multiples of 2 MiB inside the arena and the window, and not overlap another";
	if (!h->bytes || h->heap_offset % VGPU_EXTENT_BYTES || h->bytes > VGPU_ARENA_BYTES ||
	    h->heap_offset > VGPU_ARENA_BYTES - h->bytes)
		return VGPU_ERROR_CALL_INVALID;
	for (unsigned int i = 0; i < s->run_count; i++) {
		const struct med_run *r = &s->runs[i];

		if (h->heap_offset < r->heap_offset + r->bytes && r->heap_offset < h->heap_offset + h->bytes)
			return VGPU_ERROR_CALL_INVALID;
	}
	rc = med_window_take(&s->link->window, h->window_offset, h->bytes);
	if (rc)
		return VGPU_ERROR_CALL_INVALID;
	if (add_run(s, h)) {
		med_window_put(&s->link->window, h->window_offset, h->bytes);
		*ret_text = "the host is out of memory";
		return VGPU_ERROR_CALL_NO_MEMORY;
	}
	return 0;
}

/* Exactly this one, and confirmed. */
static bool has_run(const struct med_session *s, const struct vgpu_link_heap *h)
{
	for (unsigned int i = 0; i < s->run_count - s->heap_pending; i++) {
		const struct med_run *r = &s->runs[i];

		if (r->heap_offset == h->heap_offset && r->window_offset == h->window_offset && r->bytes == h->bytes)
			return true;
	}
	return false;
}

void med_session_heap_add(struct med_link *l, const struct vgpu_link_heap *h)
{
	struct med_session *s = med_session_find(l, h->h.sid);
	struct vgpu_executor_heap add = { .heap_offset = h->heap_offset, .window_offset = h->window_offset,
					  .bytes = h->bytes };
	const char *text;
	uint32_t error;

	if (!s || s->state != MED_OPEN) {
		heap_answer(l, h, s ? VGPU_ERROR_SESSION_CLOSED : VGPU_ERROR_CALL_NOT_OPEN, h->h.sid, 0,
			    "the session is not open");
		return;
	}
	if (has_run(s, h)) {
		heap_answer(l, h, 0, 0, 0, ""); /* sent again after a reconnect */
		return;
	}
	if (s->heap_pending) {
		heap_answer(l, h, VGPU_ERROR_HOST_BUSY, 2, 1, "the session's last HEAP_ADD is not answered yet");
		return;
	}
	error = take_run(s, h, &text);
	if (error) {
		l->med->counters.extent_refused++;
		heap_answer(l, h, error, error == VGPU_ERROR_CALL_LIMIT ? s->run_count : (uint32_t)(h->bytes >> 10),
			    error == VGPU_ERROR_CALL_LIMIT ? VGPU_SESSION_RUNS_MAX : (uint32_t)(l->window.bytes >> 10),
			    text);
		return;
	}
	s->heap_pending = true;
	/* an executor that cannot be written to is dying: its death answers */
	med_executor_send(s->executor, VGPU_EXECUTOR_HEAP_ADD, &add, sizeof(add), NULL, 0);
}

void med_session_heap_added(struct med_session *s, const struct vgpu_executor_result *r)
{
	struct med_run *last;

	if (s->state != MED_OPEN || !s->heap_pending)
		return;
	s->heap_pending = false;
	last = &s->runs[s->run_count - 1];
	if (r->error) {
		/* it says that it does not have it; it may lie, but only about its own client's memory,
		 * which is punched once more when it is reaped: the extents stay taken until then */
		last->heap_offset = UINT64_MAX - last->bytes;
	}
	med_link_result(s->link, VGPU_LINK_HEAP_ADDED, s->epoch, s->sid, r->error, r->value, r->limit, r->text);
}

void med_session_close(struct med_link *l, uint32_t sid)
{
	struct med_session *s = med_session_find(l, sid);

	if (!s) {
		/* closed already, or never opened: what the client wants is the case */
		med_link_result(l, VGPU_LINK_CLOSED, l->epoch, sid, 0, 0, 0, "");
		return;
	}
	med_session_finish(s);
}

void med_session_resume(struct med_link *l, const struct vgpu_link_open *o)
{
	struct med_session *s;

	if (med_session_find(l, o->h.sid))
		return;
	if (med_window_take(&l->window, o->control_offset, VGPU_CONTROL_BYTES)) {
		med_link_result(l, VGPU_LINK_ENDED, l->epoch, o->h.sid, VGPU_ERROR_SESSION_PROTOCOL, 0, 0,
				"the session's control extent is not valid");
		return;
	}
	s = session_create(l, o);
	if (!s) {
		med_window_put(&l->window, o->control_offset, VGPU_CONTROL_BYTES);
		med_link_result(l, VGPU_LINK_ENDED, l->epoch, o->h.sid, VGPU_ERROR_CALL_NO_MEMORY, 0, 0,
				"the host is out of memory");
		return;
	}
	s->state = MED_RESUMING;
}

void med_session_resume_heap(struct med_link *l, const struct vgpu_link_heap *h)
{
	struct med_session *s = med_session_find(l, h->h.sid);
	const char *text;

	/* What is wrong here harms the client alone: its extents are not known, so it gets no CLOSED
	 * that covers them; the executor has them as the earlier mediator checked them. */
	if (s && (s->state == MED_RESUMING || s->state == MED_OPEN || s->state == MED_DEAD))
		take_run(s, h, &text);
}

static bool same_session(const struct med_session *s, const struct med_executor *e)
{
	return e->state == MED_REPORTED && !e->session && e->ready.sid == s->sid &&
	       e->ready.link_epoch == s->epoch && e->ready.control_offset == s->control_offset &&
	       !memcmp(e->ready.vm_uuid, s->link->vm->config.uuid, 16) &&
	       med_window_same(&s->link->window, e->report[0]);
}

static bool join(struct med_session *s, struct med_executor *e)
{
	struct med_vm *vm = s->link->vm;
	void *page;

	if (e->slot < 0 || med_page_map(e->report[1], &page))
		return false;
	s->slot = e->slot;
	e->slot = -1;
	s->gate = page;
	s->gate_fd = e->report[1];
	e->report[1] = -1;
	s->executor = e;
	s->state = MED_OPEN;
	e->session = s;
	e->state = MED_ASSIGNED;
	s->link->med->counters.resumed++;
	vgpu_log(VGPU_LOG_INFO, "session resumed vm=%s sid=%u executor=%u", vm->config.name, s->sid, e->id);
	return true;
}

static void match_one(struct med_session *s, bool last)
{
	struct med *m = s->link->med;

	for (struct med_executor *e = m->executors; e; e = e->next) {
		if (!same_session(s, e))
			continue;
		if (join(s, e))
			return;
		m->counters.executors_malformed++;
		vgpu_log(VGPU_LOG_WARNING, "executor reports pages that do not fit executor=%u", e->id);
		med_executor_end(e, false);
	}
	if (last || !(m->grace.armed || med_executors_adopting(m))) {
		s->unmatched = true;
		med_session_executor_gone(s, VGPU_ERROR_SESSION_EXECUTOR_DIED,
					  "the session's executor did not survive the restart of the host's GPU service");
	}
}

void med_session_match(struct med *m, bool last)
{
	for (struct med_link *l = m->links; l; l = l->next) {
		for (struct med_session *s = l->sessions, *next; s; s = next) {
			next = s->next;
			if (s->state != MED_RESUMING)
				continue;
			match_one(s, last);
			med_session_wanted(s);
		}
	}
}
