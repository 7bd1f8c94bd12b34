// SPDX-License-Identifier: MIT
/*
 * Pinned buffers for pageable copies. An idle buffer carries the mark of its last transfer and is
 * free again when the stream has reached it. A stream that stands still must not starve the
 * others: it keeps at most PER_STREAM buffers, others get new ones while the heap has room.
 */
#include "client/libvgpu/internal.h"

#include <stdlib.h>

enum { PER_STREAM = 8 };

static const uint32_t stage_bytes[VGPU_STAGE_KINDS] = { 64 << 10, 1 << 20 };

static bool idle_now(struct vgpu_session *s, const struct vgpu_stage *b)
{
	return !b->mark || vgpu_stream_reached(s, b->stream, b->mark);
}

/* Takes the oldest buffer that is free, or that of `stream` when that has its number of them. */
static struct vgpu_stage *choose(struct vgpu_session *s, enum vgpu_stage_kind kind, uint32_t stream)
{
	struct vgpu_stage **at = &s->staging.idle[kind].oldest, **own = NULL, **pick = NULL;
	struct vgpu_stage *prev = NULL, *before_own = NULL, *before = NULL;
	unsigned int owned = 0;

	for (; *at; prev = *at, at = &(*at)->next) {
		if (idle_now(s, *at)) {
			pick = at;
			before = prev;
			break;
		}
		if ((*at)->stream == stream && !owned++) {
			own = at;
			before_own = prev;
		}
	}
	if (!pick && owned >= PER_STREAM) {
		pick = own;
		before = before_own;
	}
	if (pick) {
		struct vgpu_stage *b = *pick;

		*pick = b->next;
		if (s->staging.idle[kind].newest == b)
			s->staging.idle[kind].newest = before;
		return b;
	}
	return NULL;
}

static vgpu_status make(struct vgpu_session *s, enum vgpu_stage_kind kind, bool patient,
			struct vgpu_stage **ret)
{
	struct vgpu_stage *b = calloc(1, sizeof(*b));
	vgpu_status status;

	if (!b)
		return vgpu_fail(VGPU_ERROR_CALL_NO_MEMORY, "copy: no memory for a buffer");
	b->bytes = stage_bytes[kind];
	status = vgpu_pinned_take(s, b->bytes, patient, &b->block);
	if (status && b->bytes > stage_bytes[VGPU_STAGE_SMALL]) { /* slower, but it works */
		b->bytes = stage_bytes[VGPU_STAGE_SMALL];
		status = vgpu_pinned_take(s, b->bytes, patient, &b->block);
	}
	if (status) {
		free(b);
		return status;
	}
	b->address = vgpu_pinned_address(s, b->block);
	b->data = vgpu_pinned_view(s, b->block);
	*ret = b;
	return VGPU_OK;
}

/* Nothing free and no room: any buffer at all, oldest first; with wait also one still in use. */
static struct vgpu_stage *choose_any(struct vgpu_session *s, enum vgpu_stage_kind kind, bool wait)
{
	struct vgpu_stage *b;

	while (wait && !s->staging.idle[kind].oldest && s->staging.busy[kind])
		pthread_cond_wait(&s->staging.returned, &s->staging.lock);
	b = s->staging.idle[kind].oldest;
	if (b) {
		s->staging.idle[kind].oldest = b->next;
		if (!b->next)
			s->staging.idle[kind].newest = NULL;
	}
	return b;
}

vgpu_status vgpu_stage_get(struct vgpu_session *s, enum vgpu_stage_kind kind, uint32_t stream,
			   bool wait, struct vgpu_stage **ret)
{
	struct vgpu_stage *b;
	vgpu_status status = VGPU_OK;
	bool only;

	pthread_mutex_lock(&s->staging.lock);
	b = choose(s, kind, stream);
	if (!b) {
		/* one more is welcome, but only the first is worth waiting for the host */
		only = !s->staging.busy[kind] && !s->staging.idle[kind].oldest;
		pthread_mutex_unlock(&s->staging.lock);
		status = make(s, kind, only, &b);
		pthread_mutex_lock(&s->staging.lock);
		if (status) {
			b = choose_any(s, kind, wait);
			if (b)
				status = VGPU_OK;
		}
	}
	if (!status)
		s->staging.busy[kind]++;
	pthread_mutex_unlock(&s->staging.lock);
	if (status)
		return status;
	if (!idle_now(s, b)) {
		status = vgpu_stream_wait_mark(s, b->stream, b->mark);
		if (status) {
			vgpu_stage_put(s, kind, b, b->stream, b->mark);
			return status;
		}
	}
	b->mark = 0;
	*ret = b;
	return VGPU_OK;
}

void vgpu_stage_put(struct vgpu_session *s, enum vgpu_stage_kind kind, struct vgpu_stage *b,
		    uint32_t stream, uint64_t mark)
{
	b->stream = stream;
	b->mark = mark;
	b->next = NULL;
	pthread_mutex_lock(&s->staging.lock);
	if (s->staging.idle[kind].newest)
		s->staging.idle[kind].newest->next = b;
	else
		s->staging.idle[kind].oldest = b;
	s->staging.idle[kind].newest = b;
	s->staging.busy[kind]--;
	/* one for both kinds: who waits for the other must not swallow it */
	pthread_cond_broadcast(&s->staging.returned);
	pthread_mutex_unlock(&s->staging.lock);
}

void vgpu_staging_trim(struct vgpu_session *s)
{
	pthread_mutex_lock(&s->staging.lock);
	for (int kind = 0; kind < VGPU_STAGE_KINDS; kind++) {
		struct vgpu_stage **at = &s->staging.idle[kind].oldest, *last = NULL;

		while (*at) {
			struct vgpu_stage *b = *at;

			if (!idle_now(s, b)) {
				last = b;
				at = &b->next;
				continue;
			}
			*at = b->next;
			vgpu_pinned_give(s, b->block);
			free(b);
		}
		s->staging.idle[kind].newest = last;
	}
	pthread_mutex_unlock(&s->staging.lock);
}

void vgpu_staging_uninit(struct vgpu_session *s)
{
	for (int kind = 0; kind < VGPU_STAGE_KINDS; kind++)
		while (s->staging.idle[kind].oldest) {
			struct vgpu_stage *b = s->staging.idle[kind].oldest;

			s->staging.idle[kind].oldest = b->next;
			free(b);
		}
}
