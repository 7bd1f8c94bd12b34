/* SPDX-License-Identifier: MIT */
/*
 * Streams: which command may go to the driver now, and which must park.
 *
 * The driver blocks a caller when a queue is full. Were the issue thread to block there, a kernel
 * that waits for a flag set by another stream's kernel would wait for ever, since that one could
 * not be issued. So queues are never filled (flying.c); what a stream cannot take, or what the gate
 * holds, parks in its FIFO.
 *
 * CUDA's order across streams is kept among parked entries by their order numbers:
 * - a command of the legacy stream waits for parked entries of blocking streams that came before
 *   it, and one of a blocking stream for those of the legacy stream;
 * - an event wait waits for a parked record of its event that came before it, and a record for
 *   parked waits that came before it (they mean the record before).
 * Every such edge leads to an earlier entry, so parked entries cannot wait for each other in a ring.
 */
#include "host/executor/internal.h"

#include <stdlib.h>
#include <string.h>

uint32_t vx_stream_index(const struct vx_session *s, const struct vx_stream *stream)
{
	return (uint32_t)(stream - s->stream);
}

static bool gate_open(const struct vx_session *s)
{
	return __atomic_load_n(&s->gate->gate, __ATOMIC_ACQUIRE) != 0;
}

static bool event_lets(const struct vx_call *c, const struct vx_parked *own)
{
	const struct vx_event *e = c->object;

	if (c->entry->op == VGPU_OP_EVENT_RECORD)
		return e->first == own;
	if (c->entry->op != VGPU_OP_STREAM_WAIT_EVENT)
		return true;
	for (const struct vx_parked *p = e->first; p != own; p = p->event_next)
		if (p->call.entry->op == VGPU_OP_EVENT_RECORD)
			return false;
	return true;
}

/* Whether streams with parked entries older than `order` are in the way of one on `st`. */
static bool streams_let(const struct vx_session *s, const struct vx_stream *st, uint64_t order)
{
	const struct vx_stream *legacy = &s->stream[0];

	if (st != legacy)
		return st->nonblocking || !legacy->first || legacy->first->order > order;
	for (const struct vx_stream *p = s->parked; p; p = p->parked_next)
		if (p != st && !p->nonblocking && p->first->order < order)
			return false;
	return true;
}

/* parked: the entry itself where it is parked, else NULL and it is the newest. */
static bool stream_may_issue(struct vx_session *s, struct vx_stream *st, const struct vx_call *c,
			     const struct vx_parked *parked)
{
	if (!gate_open(s) || st->first != parked || !vx_flying_room(s, st, vx_flying_bytes(c)))
		return false;
	if (!s->parked)
		return true;
	return streams_let(s, st, parked ? parked->order : s->order) && event_lets(c, parked);
}

static bool call_needs_helper(const struct vx_call *c)
{
	const struct vx_function *f = c->object;

	if (c->entry->op != VGPU_OP_LAUNCH && c->entry->op != VGPU_OP_LAUNCH_FIRST)
		return false;
	return !f->launched;
}

void vx_stream_consumed(struct vx_session *s, const struct vx_call *c)
{
	uint32_t i = c->entry->stream;

	if (c->class != VGPU_CLASS_STREAM || i >= VGPU_STREAMS)
		return;
	s->stream[i].issued_bytes += vgpu_ring_cells(c->entry->bytes) * VGPU_CELL_BYTES;
	/* published with the batch: the client may be looking at that line all the time */
	s->moved[i / 64] |= 1ull << (i % 64);
	s->space_moved = true;
}

/* Gives the command to the driver; true: all of it, and it is answered. */
static bool stream_issue(struct vx_session *s, struct vx_stream *st, struct vx_call *c)
{
	uint64_t bytes = vx_flying_bytes(c), commands = 0;
	uint32_t status = 0;
	bool all = vx_command_issue(s, c, st->cu, vx_flying_room(s, st, bytes), &commands, &status);

	s->stats.commands += commands;
	vx_flying_add(s, st, commands, bytes);
	if (!all)
		return false;
	vx_stream_consumed(s, c);
	vx_reply_call(s, c, vx_check(s, status), NULL);
	return true;
}

static void event_append(struct vx_parked *p)
{
	struct vx_event *e = p->call.object;

	p->event_prev = e->last;
	if (e->last)
		e->last->event_next = p;
	else
		e->first = p;
	e->last = p;
	e->users++;
}

static void event_unlink(struct vx_session *s, struct vx_parked *p)
{
	struct vx_event *e = p->call.object;

	if (p->event_prev)
		p->event_prev->event_next = p->event_next;
	else
		e->first = p->event_next;
	if (p->event_next)
		p->event_next->event_prev = p->event_prev;
	else
		e->last = p->event_prev;
	vx_event_put(s, e);
}

static bool call_has_event(const struct vx_call *c)
{
	return c->entry->op == VGPU_OP_EVENT_RECORD || c->entry->op == VGPU_OP_STREAM_WAIT_EVENT;
}

static void stream_park(struct vx_session *s, struct vx_stream *st, const struct vx_call *c)
{
	uint32_t bytes = c->entry->bytes;
	struct vx_parked *p = malloc(sizeof(*p) + bytes);

	if (!p) {
		vx_session_end(s, VGPU_ERROR_SESSION_MEMORY, "no memory to park a command");
		return;
	}
	if (c->entry->slot != VGPU_NO_SLOT)
		atomic_store(&s->slot_busy[c->entry->slot], true);
	*p = (struct vx_parked){ .order = s->order, .call = *c };
	memcpy(p->bytes, c->entry, bytes);
	p->call.entry = (const struct vgpu_entry *)p->bytes;
	p->call.payload = p->bytes + sizeof(struct vgpu_entry);
	p->call.data = p->bytes + (c->data - (const uint8_t *)c->entry);
	if (call_has_event(c))
		event_append(p);
	if (st->first) {
		st->last->next = p;
	} else {
		st->first = p;
		st->parked_prev = NULL;
		st->parked_next = s->parked;
		if (s->parked)
			s->parked->parked_prev = st;
		s->parked = st;
	}
	st->last = p;
	if (c->class != VGPU_CLASS_STREAM)
		return;
	st->backlog += vgpu_ring_cells(bytes) * VGPU_CELL_BYTES;
	if (st->backlog > VGPU_STREAM_BACKLOG)
		vx_session_end(s, VGPU_ERROR_SESSION_PROTOCOL,
			       "more was posted to a stream than the backlog allows");
}

/* Takes the first entry out and frees it. */
static void stream_pop(struct vx_session *s, struct vx_stream *st)
{
	struct vx_parked *p = st->first;

	st->first = p->next;
	if (!st->first) {
		st->last = NULL;
		if (st->parked_prev)
			st->parked_prev->parked_next = st->parked_next;
		else
			s->parked = st->parked_next;
		if (st->parked_next)
			st->parked_next->parked_prev = st->parked_prev;
	}
	if (p->call.class == VGPU_CLASS_STREAM)
		st->backlog -= vgpu_ring_cells(p->call.entry->bytes) * VGPU_CELL_BYTES;
	if (call_has_event(&p->call))
		event_unlink(s, p);
	free(p);
}

void vx_stream_submit(struct vx_session *s, struct vx_call *c)
{
	uint32_t status = vx_command_resolve(s, c);
	struct vx_stream *st;

	if (__builtin_expect(status != 0, 0)) {
		vx_stream_consumed(s, c);
		vx_reply_call(s, c, status, NULL);
		return;
	}
	st = &s->stream[c->entry->stream];
	if (__builtin_expect(stream_may_issue(s, st, c, NULL) && !call_needs_helper(c), 1) &&
	    stream_issue(s, st, c))
		return;
	stream_park(s, st, c);
}

static void launch_run(struct vx_job *job)
{
	struct vx_session *s = job->session;

	job->status = vx_check(s, vx_command_launch(s->gpu, &job->parked->call, job->stream->cu));
}

static void launch_finish(struct vx_job *job)
{
	struct vx_session *s = job->session;
	struct vx_stream *st = job->stream;
	struct vx_call *c = &job->parked->call;

	if (!job->status)
		job->function->launched = true;
	s->stats.launches++;
	s->stats.commands++;
	vx_flying_add(s, st, 1, vx_flying_bytes(c));
	vx_stream_consumed(s, c);
	vx_reply_call(s, c, job->status, NULL);
	stream_pop(s, st);
	vx_job_close(job);
}

/* A function's first launch may load code and resize memory: a helper does it, and the entry stays
 * first of its stream meanwhile, so that everything behind it waits. */
static void stream_launch_first(struct vx_session *s, struct vx_stream *st)
{
	struct vx_job *job = vx_job_new(s, NULL);

	if (!job)
		return; /* all helpers are busy: looked at again */
	st->first->on_helper = true;
	job->parked = st->first;
	job->stream = st;
	job->function = st->first->call.object;
	job->run = launch_run;
	job->finish = launch_finish;
	vx_job_start(s, job);
}

static bool stream_pump_one(struct vx_session *s, struct vx_stream *st)
{
	bool moved = false;

	while (st->first && !st->first->on_helper &&
	       stream_may_issue(s, st, &st->first->call, st->first)) {
		if (call_needs_helper(&st->first->call)) {
			stream_launch_first(s, st);
			break;
		}
		if (!stream_issue(s, st, &st->first->call))
			break;
		stream_pop(s, st);
		moved = true;
	}
	return moved;
}

void vx_stream_pump(struct vx_session *s)
{
	bool moved = true;

	while (moved && s->parked && gate_open(s)) {
		struct vx_stream *next;

		moved = false;
		for (struct vx_stream *st = s->parked; st; st = next) {
			next = st->parked_next;
			moved |= stream_pump_one(s, st);
		}
	}
}

void vx_stream_drop(struct vx_session *s)
{
	uint32_t sticky = atomic_load(&s->sticky);
	struct vx_stream *next;

	for (struct vx_stream *st = s->parked; st; st = next) {
		next = st->parked_next;
		while (st->first && !st->first->on_helper) {
			vx_stream_consumed(s, &st->first->call);
			vx_reply_call(s, &st->first->call, sticky, NULL);
			stream_pop(s, st);
		}
	}
}

static bool stream_clear(const struct vx_stream *st, uint64_t order)
{
	return !st->first || st->first->order > order;
}

bool vx_stream_reached(struct vx_session *s, const struct vx_job *job)
{
	uint64_t order = job->order;

	switch (job->after) {
	case VX_AFTER_STREAM:
		return stream_clear(job->stream, order) && streams_let(s, job->stream, order);
	case VX_AFTER_EVENT:
		for (const struct vx_parked *p = job->event->first; p && p->order < order;
		     p = p->event_next)
			if (p->call.entry->op == VGPU_OP_EVENT_RECORD)
				return false;
		return true;
	case VX_AFTER_ALL:
		for (const struct vx_stream *p = s->parked; p; p = p->parked_next)
			if (!stream_clear(p, order))
				return false;
		return true;
	default:
		return true;
	}
}

/* Whether nothing of the stream is parked, as a query sees it. */
bool vx_stream_idle(struct vx_session *s, struct vx_stream *st)
{
	return !st->first && streams_let(s, st, s->order);
}

bool vx_stream_event_parked(const struct vx_event *e)
{
	for (const struct vx_parked *p = e->first; p; p = p->event_next)
		if (p->call.entry->op == VGPU_OP_EVENT_RECORD)
			return true;
	return false;
}

void vx_stream_open(struct vx_session *s, uint32_t handle, CUstream cu, bool nonblocking)
{
	struct vgpu_stream_progress *progress = &s->ring.control.stream[handle];

	s->stream[handle] = (struct vx_stream){ .used = true, .cu = cu, .nonblocking = nonblocking };
	s->gpu->mark[handle * 8] = 0;
	s->moved[handle / 64] &= ~(1ull << (handle % 64));
	__atomic_store_n(&progress->completed, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&progress->issued_bytes, 0, __ATOMIC_RELEASE);
}

void vx_stream_close(struct vx_session *s, uint32_t handle)
{
	s->stream[handle].used = false;
	s->busy[handle / 64] &= ~(1ull << (handle % 64));
}

bool vx_stream_outstanding(const struct vx_session *s)
{
	return s->busy[0] | s->busy[1] | s->busy[2] | s->busy[3];
}
_Static_assert(VGPU_STREAMS == 256, "vx_stream_outstanding looks at four words");
