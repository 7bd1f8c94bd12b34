// SPDX-License-Identifier: MIT
/*
 * Streams and waiting for them. A mark is an entry that lets the GPU write a number when the
 * stream has come so far: a short wait looks at that number and needs no answer of the host.
 */
#include "client/libvgpu/internal.h"

#include <stdlib.h>
#include <unistd.h>

enum { DESTROYED_POLL_US = 100 };

bool vgpu_stream_reached(struct vgpu_session *s, uint32_t stream, uint64_t value)
{
	return __atomic_load_n(&s->producer.control.stream[stream].completed, __ATOMIC_ACQUIRE) >= value ||
	       atomic_load_explicit(&s->stream[stream].dry, memory_order_relaxed) >= value;
}

/* Under mark_lock: values must lie in the ring in their order, or a wait would be lost. */
static vgpu_status post_mark(struct vgpu_session *s, uint32_t stream, bool wait)
{
	struct {
		struct vgpu_entry e;
		struct vgpu_call_mark m;
	} entry = { .e = { .bytes = sizeof(entry), .op = VGPU_OP_STREAM_MARK, .slot = VGPU_NO_SLOT,
			   .stream = stream, .thread = vgpu_call_thread() },
		    .m = { .value = s->stream[stream].mark + 1 } };
	struct vgpu_stream_state *st = &s->stream[stream];
	uint64_t work = atomic_load_explicit(&st->work, memory_order_acquire);
	vgpu_status status = vgpu_call_backlog(s, stream, VGPU_CELL_BYTES, wait);
	uint64_t pos;

	if (status)
		return status;
	status = vgpu_call_reserve(s, sizeof(entry), wait, &pos);
	if (status) { /* it is not in the backlog after all */
		atomic_fetch_sub_explicit(&st->posted, VGPU_CELL_BYTES, memory_order_relaxed);
		return status;
	}
	vgpu_ring_write(&s->producer.control, pos, &entry, sizeof(entry));
	st->mark++;
	st->mark_work = work;
	vgpu_call_commit(s, pos);
	return VGPU_OK;
}

vgpu_status vgpu_stream_mark(struct vgpu_session *s, uint32_t stream, bool fresh, bool wait,
			     uint64_t *ret_value)
{
	struct vgpu_stream_state *st = &s->stream[stream];
	vgpu_status status = VGPU_OK;

	if (wait)
		pthread_mutex_lock(&st->mark_lock);
	else if (pthread_mutex_trylock(&st->mark_lock))
		return VGPU_CUDA_NOT_READY;
	if (fresh || atomic_load_explicit(&st->work, memory_order_acquire) != st->mark_work)
		status = post_mark(s, stream, wait);
	if (!status)
		*ret_value = st->mark;
	pthread_mutex_unlock(&st->mark_lock);
	return status;
}

bool vgpu_stream_busy(struct vgpu_session *s, uint32_t stream, uint64_t *ret_work)
{
	struct vgpu_stream_state *st = &s->stream[stream];
	uint64_t work = atomic_load_explicit(&st->work, memory_order_acquire);
	bool busy = true;

	/* who holds the lock is posting a mark: busy */
	if (!pthread_mutex_trylock(&st->mark_lock)) {
		busy = st->mark_work < work || !vgpu_stream_reached(s, stream, st->mark);
		pthread_mutex_unlock(&st->mark_lock);
	}
	*ret_work = work;
	return busy;
}

bool vgpu_stream_covered(struct vgpu_session *s, uint32_t stream, uint64_t work)
{
	struct vgpu_stream_state *st = &s->stream[stream];
	bool covered = false;

	if (pthread_mutex_trylock(&st->mark_lock))
		return false;
	if (st->mark_work >= work)
		covered = vgpu_stream_reached(s, stream, st->mark);
	else if (atomic_load(&st->live))
		(void)post_mark(s, stream, false); /* without room the next look tries again */
	pthread_mutex_unlock(&st->mark_lock);
	return covered;
}

static vgpu_status sync_call(struct vgpu_session *s, uint32_t op, uint32_t stream, const char *what)
{
	return vgpu_fail_host(vgpu_call_wait(s, &(struct vgpu_call){ .op = op, .stream = stream }, NULL), what);
}

static bool is_live(struct vgpu_session *s, uint32_t stream)
{
	return atomic_load_explicit(&s->stream[stream].live, memory_order_acquire);
}

/*
 * A destroyed stream has no handle to ask with, but its marks still come. It may be destroyed by
 * another thread while this one asks: buffers for copies outlive the stream that used them last.
 */
static vgpu_status sleep_for_mark(struct vgpu_session *s, uint32_t stream, uint64_t value)
{
	struct vgpu_call c = { .op = VGPU_OP_STREAM_SYNC, .stream = stream };
	vgpu_status status = VGPU_OK;

	while (!status && !vgpu_stream_reached(s, stream, value)) {
		if (is_live(s, stream)) {
			status = vgpu_call_wait(s, &c, NULL);
			if (!status)
				return VGPU_OK;
			if (status == VGPU_ERROR_CALL_HANDLE && !is_live(s, stream))
				status = VGPU_OK;
		} else {
			status = vgpu_session_check(s);
			if (status)
				return status;
			usleep(DESTROYED_POLL_US);
		}
	}
	return vgpu_fail_host(status, "synchronise stream");
}

static vgpu_status wait_mark(struct vgpu_session *s, uint32_t stream, uint64_t value, uint64_t spin_ns)
{
	vgpu_status status;

	for (int i = 0; i < 64; i++) {
		if (vgpu_stream_reached(s, stream, value))
			return VGPU_OK;
		vgpu_relax();
	}
	if (vgpu_spin_begin(s)) {
		uint64_t until = vgpu_now_ns() + spin_ns * s->spin_scale / 100;
		bool reached;

		do {
			for (int i = 0; i < 32 && !vgpu_stream_reached(s, stream, value); i++)
				vgpu_relax();
			reached = vgpu_stream_reached(s, stream, value);
			status = reached ? VGPU_OK : vgpu_session_check(s);
		} while (!reached && !status && vgpu_now_ns() < until);
		vgpu_spin_end(s);
		if (reached || status)
			return status;
	}
	return sleep_for_mark(s, stream, value);
}

vgpu_status vgpu_stream_wait_mark(struct vgpu_session *s, uint32_t stream, uint64_t value)
{
	return wait_mark(s, stream, value, VGPU_SPIN_MARK_NS);
}

/*
 * The end of a large copy is met by spinning, which costs less time than being woken: but not all
 * the way. It cannot take less than what the link carries at best, so the thread sleeps through
 * most of that first.
 */
vgpu_status vgpu_stream_finish(struct vgpu_session *s, uint32_t stream, uint64_t bytes)
{
	uint64_t least_ns = bytes / VGPU_LINK_BYTES_PER_NS, value;
	/* work of other streams counts for the default stream */
	vgpu_status status = vgpu_stream_mark(s, stream, stream == 0, true, &value);

	if (status)
		return status;
	if (least_ns > VGPU_SPIN_MARK_NS && s->spin_max)
		usleep((useconds_t)(least_ns / 1000 * 3 / 4));
	return wait_mark(s, stream, value, VGPU_SPIN_MARK_NS + least_ns);
}

vgpu_status vgpu_stream_synchronize(struct vgpu_stream *stream)
{
	vgpu_status status;

	if (!stream)
		return vgpu_fail(VGPU_ERROR_CALL_INVALID,
				 "synchronise stream: NULL; for the default stream use vgpu_default_synchronize");
	status = vgpu_session_check(stream->session);
	return status ? status : vgpu_stream_finish(stream->session, stream->handle, 0);
}

vgpu_status vgpu_default_synchronize(struct vgpu_session *s)
{
	vgpu_status status = vgpu_session_check(s);

	return status ? status : vgpu_stream_finish(s, 0, 0);
}

vgpu_status vgpu_synchronize(struct vgpu_session *s)
{
	enum { FEW = 8 };
	struct {
		uint32_t stream;
		uint64_t value;
	} mark[FEW];
	unsigned int marks = 0;
	uint64_t work;
	vgpu_status status = vgpu_session_check(s);

	for (uint32_t i = 0; i < VGPU_STREAMS && !status; i++) {
		if (!atomic_load_explicit(&s->stream[i].work, memory_order_acquire) ||
		    !vgpu_stream_busy(s, i, &work))
			continue;
		/* the work of a destroyed stream counts too, and nothing can be posted to it */
		if (marks == FEW || !is_live(s, i))
			return sync_call(s, VGPU_OP_CONTEXT_SYNC, 0, "synchronise");
		status = vgpu_stream_mark(s, i, false, true, &mark[marks].value);
		mark[marks++].stream = i;
	}
	for (unsigned int i = 0; i < marks && !status; i++)
		status = vgpu_stream_wait_mark(s, mark[i].stream, mark[i].value);
	return status;
}

/* Destroyed streams keep their handles until their work has ended: worth a moment when none is left. */
static vgpu_status ask_stream(struct vgpu_session *s, const struct vgpu_call *c, __u64 value[6])
{
	uint64_t until = vgpu_now_ns() + VGPU_STREAM_WAIT_NS;
	vgpu_status status = vgpu_call_wait(s, c, value);

	while (status == VGPU_ERROR_CALL_LIMIT && vgpu_now_ns() < until) {
		unsigned int live = 0;

		for (unsigned int i = 0; i < VGPU_STREAMS; i++)
			live += atomic_load_explicit(&s->stream[i].live, memory_order_relaxed);
		if (live == VGPU_STREAMS)
			break;
		usleep(500);
		status = vgpu_call_wait(s, c, value);
	}
	return status;
}

vgpu_status vgpu_stream_create(struct vgpu_session *s, uint32_t flags, int priority,
			       struct vgpu_stream **ret_stream)
{
	struct vgpu_call_stream head = { .flags = flags, .priority = priority };
	struct vgpu_call c = { .op = VGPU_OP_STREAM_CREATE, .head = &head, .head_bytes = sizeof(head) };
	struct vgpu_stream_state *st;
	struct vgpu_stream *stream;
	__u64 value[6];
	vgpu_status status = vgpu_session_check(s);

	if (status)
		return status;
	if (!ret_stream || flags & ~(uint32_t)VGPU_STREAM_NON_BLOCKING)
		return vgpu_fail(VGPU_ERROR_CALL_INVALID, "create stream: ret_stream is NULL, or flags %#x unknown", flags);
	stream = calloc(1, sizeof(*stream));
	if (!stream)
		return vgpu_fail(VGPU_ERROR_CALL_NO_MEMORY, "create stream: no memory");
	status = vgpu_fail_host(ask_stream(s, &c, value), "create stream");
	if (!status && (!value[0] || value[0] >= VGPU_STREAMS))
		status = vgpu_fail(VGPU_ERROR_HOST_INTERNAL, "create stream: the host gave handle %llu, limit %d",
				   (unsigned long long)value[0], VGPU_STREAMS - 1);
	if (status) {
		free(stream);
		return status;
	}
	stream->session = s;
	stream->handle = (uint32_t)value[0];
	st = &s->stream[stream->handle];
	/* the handle may have had an earlier life; marks only grow through all of them */
	value[1] = __atomic_load_n(&s->producer.control.stream[stream->handle].issued_bytes, __ATOMIC_ACQUIRE);
	atomic_store(&st->issued, value[1]);
	atomic_store(&st->posted, value[1]);
	pthread_mutex_lock(&st->mark_lock);
	atomic_store(&st->dry, st->mark);
	pthread_mutex_unlock(&st->mark_lock);
	atomic_store(&st->live, true);
	pthread_mutex_lock(&s->object_lock);
	LIST_INSERT_HEAD(&s->streams, stream, link);
	pthread_mutex_unlock(&s->object_lock);
	*ret_stream = stream;
	return VGPU_OK;
}

vgpu_status vgpu_stream_destroy(struct vgpu_stream *stream)
{
	struct vgpu_session *s;
	vgpu_status status;
	uint64_t value;

	if (!stream)
		return VGPU_OK;
	s = stream->session;
	if (*vgpu_generation != s->generation)
		return vgpu_session_bad(s);
	pthread_mutex_lock(&s->object_lock);
	LIST_REMOVE(stream, link);
	pthread_mutex_unlock(&s->object_lock);
	status = vgpu_session_check(s);
	/* the last mark tells when memory that the stream still uses is free */
	if (!status)
		status = vgpu_stream_mark(s, stream->handle, false, true, &value);
	atomic_store(&s->stream[stream->handle].live, false);
	if (!status)
		status = sync_call(s, VGPU_OP_STREAM_DESTROY, stream->handle, "destroy stream");
	free(stream);
	return status;
}

vgpu_status vgpu_stream_query(struct vgpu_stream *stream)
{
	vgpu_status status;
	uint64_t work;

	if (!stream)
		return vgpu_fail(VGPU_ERROR_CALL_INVALID, "query stream: NULL");
	status = vgpu_session_check(stream->session);
	if (status)
		return status;
	if (!vgpu_stream_busy(stream->session, stream->handle, &work))
		return VGPU_OK;
	return vgpu_call_wait(stream->session,
			      &(struct vgpu_call){ .op = VGPU_OP_STREAM_QUERY, .stream = stream->handle }, NULL);
}

vgpu_status vgpu_stream_wait_event(struct vgpu_session *s, struct vgpu_stream *stream, struct vgpu_event *event)
{
	struct vgpu_call_event head = { 0 };
	vgpu_status status = vgpu_session_check(s);

	if (status)
		return status;
	if (!event || event->session != s || (stream && stream->session != s))
		return vgpu_fail(VGPU_ERROR_CALL_INVALID, "wait for event: the event is NULL or of another session");
	head.event = event->handle;
	return vgpu_call_post(s, &(struct vgpu_call){ .op = VGPU_OP_STREAM_WAIT_EVENT, .stream_class = true,
						      .stream = vgpu_stream_handle(stream), .head = &head,
						      .head_bytes = sizeof(head) });
}
