// SPDX-License-Identifier: MIT
/*
 * The ends of a session. Whatever the way, the order is: the executor is reaped, the quota slot
 * is zeroed, the extents are punched, and only then the client is told that it has them back.
 */
#include "host/mediator/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

const char *med_session_state_name(enum med_session_state state)
{
	static const char *const names[] = { "waiting", "starting", "resuming", "open",
					     "dead", "closing", "failing", "vanishing" };

	return names[state];
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void leave_queue(struct med_session *s)
{
	for (struct med_session **at = &s->link->med->waiting; *at; at = &(*at)->next_waiting) {
		if (*at == s) {
			*at = s->next_waiting;
			s->next_waiting = NULL;
			return;
		}
	}
}

/* What the executor shared; only when it is reaped, or was never there. */
static void release_host(struct med_session *s)
{
	if (s->slot >= 0)
		med_quota_put(&s->link->vm->quota, (unsigned int)s->slot);
	s->slot = -1;
	if (s->gate)
		munmap(s->gate, sizeof(*s->gate));
	s->gate = NULL;
	close_fd(&s->gate_fd);
	close_fd(&s->doorbell);
	close_fd(&s->interrupt);
}

static void release_window(struct med_session *s)
{
	struct med_window *w = &s->link->window;
	int rc = med_window_put(w, s->control_offset, VGPU_CONTROL_BYTES);

	for (unsigned int i = 0; i < s->run_count; i++) {
		int one = med_window_put(w, s->runs[i].window_offset, s->runs[i].bytes);

		rc = rc ? rc : one;
	}
	if (rc)
		vgpu_log(VGPU_LOG_ERROR, "window not punched vm=%s sid=%u error=\"%s\"",
			 s->link->vm->config.name, s->sid, strerror(-rc));
	s->run_count = 0;
}

static void session_free(struct med_session *s)
{
	struct med_link *l = s->link;

	for (struct med_session **at = &l->sessions; *at; at = &(*at)->next) {
		if (*at == s) {
			*at = s->next;
			break;
		}
	}
	med_timer_stop(&s->timer);
	free(s->runs);
	free(s);
	if (l->gone)
		med_link_collect(l);
	else
		med_link_check_reset(l);
}

/* The executor is out of the way: what the state asks for can be done. May free s. */
static void advance(struct med_session *s)
{
	struct med_link *l = s->link;
	uint32_t sid = s->sid, epoch = s->epoch;

	if (s->executor || (s->unmatched && med_executors_unmatched(l->med, l->vm->config.uuid)))
		return;
	release_host(s);
	switch (s->state) {
	case MED_FAILING:
		release_window(s);
		l->med->counters.sessions_refused++;
		l->vm->refused++;
		med_link_result(l, VGPU_LINK_OPENED, epoch, sid, s->error, s->value, s->limit, s->text);
		session_free(s);
		break;
	case MED_CLOSING:
		release_window(s);
		vgpu_log(VGPU_LOG_INFO, "session closed vm=%s sid=%u", l->vm->config.name, sid);
		med_link_result(l, VGPU_LINK_CLOSED, epoch, sid, 0, 0, 0, "");
		session_free(s);
		break;
	case MED_VANISHING:
		if (!s->keep_window)
			release_window(s);
		session_free(s);
		break;
	default:
		break;
	}
}

static void set_error(struct med_session *s, uint32_t error, uint32_t value, uint32_t limit, const char *text)
{
	s->error = error;
	s->value = value;
	s->limit = limit;
	snprintf(s->text, sizeof(s->text), "%s", text);
}

static void end(struct med_session *s, enum med_session_state state, bool polite)
{
	leave_queue(s);
	med_timer_stop(&s->timer);
	s->state = state;
	if (s->executor)
		med_executor_end(s->executor, polite);
	advance(s);
}

void med_session_fail(struct med_session *s, uint32_t error, uint32_t value, uint32_t limit, const char *text)
{
	set_error(s, error, value, limit, text);
	end(s, MED_FAILING, false);
}

/*
 * An executor that a new mediator has not heard of yet may still use the extents: what is asked
 * meanwhile waits for med_session_match.
 */
static bool wait_for_executor(struct med_session *s, enum med_session_state wanted)
{
	if (s->state != MED_RESUMING || s->executor)
		return false;
	s->wanted = wanted;
	return true;
}

void med_session_wanted(struct med_session *s)
{
	if (s->state == MED_RESUMING)
		return;
	if (s->wanted == MED_CLOSING)
		med_session_finish(s);
	else if (s->wanted == MED_VANISHING)
		med_session_vanish(s);
}

/* The client's CLOSE. */
void med_session_finish(struct med_session *s)
{
	if (wait_for_executor(s, MED_CLOSING))
		return;
	if (s->state == MED_CLOSING || s->state == MED_VANISHING || s->state == MED_FAILING)
		return;
	end(s, MED_CLOSING, true);
}

void med_session_vanish(struct med_session *s)
{
	if (s->state == MED_VANISHING || (!s->link->gone && wait_for_executor(s, MED_VANISHING)))
		return;
	/* the client is gone before its executor was found: that one's memory is left alone */
	s->keep_window = s->state == MED_RESUMING && !s->executor;
	end(s, MED_VANISHING, false);
}

static void tell_ended(struct med_session *s, uint32_t error, const char *text)
{
	/* a HEAP_ADD without an answer is answered by this too */
	s->heap_pending = false;
	s->state = MED_DEAD;
	vgpu_log(VGPU_LOG_NOTICE, "session ended vm=%s sid=%u executor=%u error=0x%x text=\"%s\"",
		 s->link->vm->config.name, s->sid, s->executor ? s->executor->id : 0, error, text);
	med_link_result(s->link, VGPU_LINK_ENDED, s->epoch, s->sid, error, 0, 0, text);
}

void med_session_kill(struct med_session *s, uint32_t error, const char *text)
{
	switch (s->state) {
	case MED_WAIT:
	case MED_ASSIGN:
		med_session_fail(s, error, 0, 0, text);
		break;
	case MED_OPEN:
	case MED_RESUMING:
		tell_ended(s, error, text);
		end(s, MED_DEAD, false);
		break;
	default:
		break;
	}
}

/* Its executor is reaped, or was not found after a restart. May free s. */
void med_session_executor_gone(struct med_session *s, uint32_t error, const char *text)
{
	s->executor = NULL;
	if (s->state == MED_ASSIGN) {
		set_error(s, error, 0, 0, text);
		s->state = MED_FAILING;
		med_timer_stop(&s->timer);
	} else if (s->state == MED_OPEN || s->state == MED_RESUMING) {
		s->link->vm->faults++;
		tell_ended(s, error, text);
	}
	advance(s);
}

/* The first that can go on now. */
static struct med_session *find_unmatched(struct med *m)
{
	for (struct med_link *l = m->links; l; l = l->next)
		for (struct med_session *s = l->sessions; s; s = s->next)
			/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): session_free() has taken it off the list */
			if (s->unmatched && s->state != MED_DEAD && !med_executors_unmatched(m, l->vm->config.uuid))
				return s;
	return NULL;
}

void med_session_unmatched_gone(struct med *m)
{
	struct med_session *s;

	/* one at a time: with the last one its link may go too */
	while ((s = find_unmatched(m))) {
		s->unmatched = false;
		advance(s);
	}
}
