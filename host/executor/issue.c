/* SPDX-License-Identifier: MIT */
/* The issue thread: takes entries off the ring, and sleeps when there is nothing to do. */
#include "host/executor/internal.h"

#include <errno.h>
#include <poll.h>
#include <sys/prctl.h>
#include <unistd.h>

static void entry_refuse(struct vx_session *s, const struct vx_call *c, uint32_t status)
{
	vx_stream_consumed(s, c);
	vx_reply_call(s, c, status, NULL);
}

static void entry_handle(struct vx_session *s, size_t bytes)
{
	struct vx_call c;
	uint32_t status = vx_validate(s->entry, bytes, &c);
	uint32_t sticky = atomic_load_explicit(&s->sticky, memory_order_relaxed);

	s->order++;
	if (c.entry->slot < VGPU_SLOTS && status != VGPU_ERROR_SESSION_PROTOCOL &&
	    atomic_load_explicit(&s->slot_busy[c.entry->slot], memory_order_acquire)) {
		vx_session_end(s, VGPU_ERROR_SESSION_PROTOCOL, "a slot was used for two calls at once");
		return;
	}
	if (__builtin_expect((status | sticky) != 0, 0)) {
		if (status == VGPU_ERROR_SESSION_PROTOCOL)
			vx_session_end(s, status, "an entry's length or slot is impossible");
		else
			entry_refuse(s, &c, sticky ? sticky : status);
		return;
	}
	switch (c.class) {
	case VGPU_CLASS_STREAM:
		vx_stream_submit(s, &c);
		break;
	case VGPU_CLASS_HOST:
		vx_host_call(s, &c);
		break;
	default:
		vx_wait_call(s, &c);
	}
}

/* A batch of entries; false: there was none. */
static bool issue_batch(struct vx_session *s)
{
	int taken = 0;

	while (taken < VX_BATCH) {
		int bytes = vgpu_ring_take(&s->ring, s->entry);

		if (bytes == 0)
			break;
		if (bytes < 0) {
			vx_session_end(s, VGPU_ERROR_SESSION_PROTOCOL, "an entry's length is impossible");
			break;
		}
		taken++;
		/* while this one is issued the next comes from the other CPU's cache, if it is written:
		 * a line that is still being written would be taken away from its writer */
		if (vgpu_ring_ready(&s->ring)) {
			__builtin_prefetch(s->ring.control.ring + s->ring.head % VGPU_RING_BYTES);
			__builtin_prefetch(s->ring.control.ring +
					   (s->ring.head + VGPU_CELL_BYTES) % VGPU_RING_BYTES);
		}
		entry_handle(s, (size_t)bytes);
		if (s->ring.head - s->ring.published >= VGPU_RING_BYTES / 8)
			vgpu_ring_publish(&s->ring);
	}
	if (!taken)
		return false;
	vgpu_ring_publish(&s->ring);
	s->space_moved = true;
	return true;
}

static void stats_publish(struct vx_session *s)
{
	struct vgpu_gate_page *to = s->gate;
	const struct vgpu_gate_page *from = &s->stats;

	__atomic_store_n(&to->commands, from->commands, __ATOMIC_RELAXED);
	__atomic_store_n(&to->launches, from->launches, __ATOMIC_RELAXED);
	__atomic_store_n(&to->bytes_h2d, from->bytes_h2d, __ATOMIC_RELAXED);
	__atomic_store_n(&to->bytes_d2h, from->bytes_d2h, __ATOMIC_RELAXED);
	__atomic_store_n(&to->bytes_d2d, from->bytes_d2d, __ATOMIC_RELAXED);
	__atomic_store_n(&to->vram_bytes, from->vram_bytes, __ATOMIC_RELAXED);
	__atomic_store_n(&to->heap_bytes, from->heap_bytes, __ATOMIC_RELAXED);
}

/* Everything besides the ring: jobs that came back, parked entries, waiters. */
static bool issue_rest(struct vx_session *s)
{
	bool moved = vx_job_reap(s);
	uint64_t commands = s->stats.commands;

	if (__builtin_expect(atomic_load_explicit(&s->sticky, memory_order_acquire) != 0, 0)) {
		if (s->parked)
			vx_stream_drop(s);
	} else if (s->parked) {
		vx_stream_pump(s);
	}
	if (s->waiting)
		vx_job_pump(s);
	if (commands != s->stats.commands) {
		s->parked_ns = VX_PARKED_NS;
		moved = true;
	}
	if (s->space_moved)
		vx_wake_space(s);
	return moved;
}

/* How long to sleep: parked entries and outstanding work are looked at by time, nobody tells. */
static uint64_t sleep_ns(struct vx_session *s)
{
	uint64_t now;

	if (s->parked || s->waiting) {
		/* a gate shut for long, or long kernels: looking less often costs a small part of that */
		if (s->parked_ns < VX_PARKED_MAX_NS)
			s->parked_ns += s->parked_ns / 16;
		return s->parked_ns;
	}
	/* while a helper asks a stream, it wakes us */
	if (!vx_stream_outstanding(s) || s->watching || atomic_load(&s->sticky))
		return UINT64_MAX;
	now = vx_now_ns();
	return s->watch_ns > now ? s->watch_ns - now : 1;
}

static void issue_sleep(struct vx_session *s)
{
	struct pollfd fds[] = { { .fd = s->doorbell, .events = POLLIN },
				{ .fd = s->wake, .events = POLLIN } };
	uint64_t ns = sleep_ns(s), count;
	struct timespec t = { (time_t)(ns / 1000000000), (long)(ns % 1000000000) };

	atomic_store(&s->asleep, true);
	if (atomic_load(&s->done)) {
		atomic_store(&s->asleep, false);
		return;
	}
	if (vgpu_ring_sleep(&s->ring)) {
		stats_publish(s);
		if (ppoll(fds, 2, ns == UINT64_MAX ? NULL : &t, NULL) > 0)
			for (int i = 0; i < 2; i++)
				if (fds[i].revents && read(fds[i].fd, &count, sizeof(count)) < 0)
					continue; /* somebody else's wake-up was read before */
		vgpu_ring_awake(&s->ring);
	}
	atomic_store(&s->asleep, false);
}

static void watch_maybe(struct vx_session *s)
{
	if (!vx_stream_outstanding(s) || atomic_load_explicit(&s->sticky, memory_order_relaxed))
		s->watch_ns = 0;
	else if (!s->watch_ns) /* new work: most is done long before it would be asked about */
		s->watch_ns = vx_now_ns() + s->watch_period_ns;
	else if (!s->watching && vx_now_ns() >= s->watch_ns)
		vx_stream_watch(s);
}

void *vx_issue_run(void *arg)
{
	struct vx_session *s = arg;
	uint64_t idle_since = 0, batches = 0;
	uint32_t spins = 0;

	/* parked entries are looked at every 20 us: the default slack of 50 us would blur that */
	prctl(PR_SET_TIMERSLACK, 1000);
	s->gpu->cu.cuCtxSetCurrent(s->gpu->context);
	for (;;) {
		bool busy = issue_batch(s);

		busy |= issue_rest(s);
		if (busy) {
			idle_since = 0;
			spins = 0;
			if (++batches % 32 == 0) {
				watch_maybe(s);
				stats_publish(s);
			}
			continue;
		}
		/* the clock is read now and then only: an entry must be seen at once */
		if (++spins % 32) {
			__builtin_ia32_pause();
			continue;
		}
		watch_maybe(s);
		if (!idle_since)
			idle_since = vx_now_ns();
		if (vx_now_ns() - idle_since < s->poll_ns)
			continue;
		issue_sleep(s);
	}
	return NULL;
}
