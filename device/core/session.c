// SPDX-License-Identifier: MIT
/* Session commands of the guest, answers of the mediator, and who owns which extent. */
#include "device/core/internal.h"

#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>

#include "protocol/session/session.h"

static bool is_extents(uint64_t offset, uint64_t bytes, uint64_t limit)
{
	return bytes && !((offset | bytes) & (VGPU_EXTENT_BYTES - 1)) && offset < limit &&
	       bytes <= limit - offset;
}

static bool extents_free(const struct vgpu_device *dev, uint64_t offset, uint64_t bytes)
{
	if (!is_extents(offset, bytes, dev->config.window_bytes))
		return false;
	for (uint64_t i = 0; i < bytes >> VGPU_EXTENT_SHIFT; i++)
		if (dev->owner[(offset >> VGPU_EXTENT_SHIFT) + i])
			return false;
	return true;
}

static void extents_set(struct vgpu_device *dev, uint64_t offset, uint64_t bytes, uint8_t owner)
{
	memset(dev->owner + (offset >> VGPU_EXTENT_SHIFT), owner, bytes >> VGPU_EXTENT_SHIFT);
}

void vgpu_device_extents_clean(struct vgpu_device *dev)
{
	uint64_t extents = dev->config.window_bytes >> VGPU_EXTENT_SHIFT, end;

	/* The mediator has punched them out, unless it was restarted and never knew of them. */
	for (uint64_t i = 0; i < extents; i = end + 1) {
		for (end = i; end < extents && dev->owner[end];)
			end++;
		if (end > i && fallocate(dev->window_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					 (off_t)(i << VGPU_EXTENT_SHIFT),
					 (off_t)((end - i) << VGPU_EXTENT_SHIFT)) < 0)
			vgpu_device_log(dev, VGPU_DEVICE_WARNING,
					"zeroing the window from %llu MiB on failed: %m",
					(unsigned long long)(i << VGPU_EXTENT_SHIFT >> 20));
	}
	memset(dev->owner, 0, extents);
}

static unsigned int sid_of(const struct vgpu_device *dev, const struct vgpu_device_session *s)
{
	return (unsigned int)(s - dev->session);
}

/* The command has ended. */
static void complete(struct vgpu_device *dev, struct vgpu_device_session *s,
		     enum vgpu_session_state state, uint32_t result, uint32_t value, uint32_t limit)
{
	s->state = state;
	s->request = 0;
	s->sent = s->close_wanted = s->doubtful = false;
	/* no answer may look like "under way" */
	s->result = result == VGPU_RESULT_PENDING ? VGPU_ERROR_HOST_INTERNAL : result;
	s->value = value;
	s->limit = limit;
	if (state == VGPU_SESSION_DEAD)
		s->cause = s->result;
	dev->event |= 1ull << sid_of(dev, s);
	dev->ops.irq(dev->opaque, 0);
}

static void fail(struct vgpu_device *dev, struct vgpu_device_session *s, uint32_t error)
{
	complete(dev, s, s->state, error, 0, 0);
}

static void begin(struct vgpu_device_session *s, enum vgpu_session_state state, uint32_t request)
{
	s->state = state;
	s->request = request;
	s->sent = s->close_wanted = s->doubtful = false;
	s->result = VGPU_RESULT_PENDING;
	s->value = s->limit = 0;
}

static void release(struct vgpu_device *dev, struct vgpu_device_session *s, uint32_t result)
{
	uint64_t extents = dev->config.window_bytes >> VGPU_EXTENT_SHIFT;

	/* also those that are in no run: an executor has seen and refused them */
	for (uint64_t i = 0; i < extents; i++)
		if (dev->owner[i] == sid_of(dev, s) + 1)
			dev->owner[i] = 0;
	s->runs = 0;
	s->late = false;
	complete(dev, s, VGPU_SESSION_FREE, result, 0, 0);
}

/* The run that is being added: it is not part of the heap. */
static void drop_run(struct vgpu_device *dev, struct vgpu_device_session *s)
{
	extents_set(dev, s->run[s->runs].window_offset, s->run[s->runs].bytes, 0);
}

/* The same when there will be no answer: a run that may have reached an executor is the session's
 * until CLOSED, and a new mediator is told of it. */
static void abandon_run(struct vgpu_device *dev, struct vgpu_device_session *s)
{
	if (s->sent || s->doubtful)
		s->runs++;
	else
		drop_run(dev, s);
}

static void drain(int fd)
{
	eventfd_t value;

	(void)eventfd_read(fd, &value);
}

static uint64_t argument(const struct vgpu_device *dev, unsigned int i)
{
	return dev->arg[2 * i] | (uint64_t)dev->arg[2 * i + 1] << 32;
}

static void command_open(struct vgpu_device *dev, struct vgpu_device_session *s)
{
	uint64_t control = argument(dev, 0), arena = (uint32_t)argument(dev, 1);

	if (s->state != VGPU_SESSION_FREE)
		return fail(dev, s, VGPU_ERROR_CALL_INVALID);
	if (dev->link < LINK_RESUMING)
		return fail(dev, s, dev->link_error);
	if (dev->resetting)
		return fail(dev, s, VGPU_ERROR_HOST_BUSY);
	if (arena >= VGPU_ARENAS || !extents_free(dev, control, VGPU_CONTROL_BYTES))
		return fail(dev, s, VGPU_ERROR_CALL_INVALID);
	s->control_offset = control;
	s->arena = (uint32_t)arena;
	s->features = (uint32_t)(argument(dev, 1) >> 32);
	s->pid = (uint32_t)argument(dev, 2);
	extents_set(dev, control, VGPU_CONTROL_BYTES, (uint8_t)(sid_of(dev, s) + 1));
	/* what an earlier session has left there */
	drain(s->doorbell_fd);
	drain(s->irq_fd);
	begin(s, VGPU_SESSION_OPENING, VGPU_LINK_OPEN);
}

static bool heap_free(const struct vgpu_device_session *s, uint64_t offset, uint64_t bytes)
{
	if (!is_extents(offset, bytes, VGPU_ARENA_BYTES))
		return false;
	for (unsigned int i = 0; i < s->runs; i++)
		if (offset < s->run[i].heap_offset + s->run[i].bytes &&
		    s->run[i].heap_offset < offset + bytes)
			return false;
	return true;
}

static void command_heap_add(struct vgpu_device *dev, struct vgpu_device_session *s)
{
	struct vgpu_device_run run = { argument(dev, 0), argument(dev, 1), argument(dev, 2) };

	if (s->state == VGPU_SESSION_FREE)
		return fail(dev, s, VGPU_ERROR_CALL_NOT_OPEN);
	if (s->state == VGPU_SESSION_DEAD)
		return fail(dev, s, s->cause);
	if (dev->link < LINK_RESUMING)
		return fail(dev, s, dev->link_error);
	if (s->runs == VGPU_SESSION_RUNS_MAX)
		return complete(dev, s, s->state, VGPU_ERROR_CALL_LIMIT, s->runs + 1,
				VGPU_SESSION_RUNS_MAX);
	if (!extents_free(dev, run.window_offset, run.bytes) ||
	    !heap_free(s, run.heap_offset, run.bytes))
		return fail(dev, s, VGPU_ERROR_CALL_INVALID);
	extents_set(dev, run.window_offset, run.bytes, (uint8_t)(sid_of(dev, s) + 1));
	s->run[s->runs] = run;
	begin(s, VGPU_SESSION_OPEN, VGPU_LINK_HEAP_ADD);
}

static void command_close(struct vgpu_device *dev, struct vgpu_device_session *s)
{
	if (s->state == VGPU_SESSION_FREE)
		return fail(dev, s, VGPU_ERROR_CALL_NOT_OPEN);
	if (s->request && s->sent) {
		/* the mediator gets one request at a time */
		s->state = VGPU_SESSION_CLOSING;
		s->close_wanted = true;
		return;
	}
	if (s->request == VGPU_LINK_OPEN)
		return release(dev, s, VGPU_OK);
	if (s->request == VGPU_LINK_HEAP_ADD)
		abandon_run(dev, s);
	begin(s, VGPU_SESSION_CLOSING, VGPU_LINK_CLOSE);
}

void vgpu_device_command(struct vgpu_device *dev, uint32_t command)
{
	uint32_t op = command & 0xff, sid = command >> 8;
	struct vgpu_device_session *s;

	if (sid >= dev->config.sessions) {
		vgpu_device_log_limited(dev, "the guest gave command %u for session %u of %u", op,
					sid, dev->config.sessions);
		return;
	}
	s = &dev->session[sid];
	if (s->request && (op != VGPU_COMMAND_CLOSE || s->state == VGPU_SESSION_CLOSING)) {
		vgpu_device_log_limited(
			dev, "the guest gave command %u for session %u while one is under way", op,
			sid);
		return;
	}
	switch (op) {
	case VGPU_COMMAND_OPEN:
		command_open(dev, s);
		break;
	case VGPU_COMMAND_HEAP_ADD:
		command_heap_add(dev, s);
		break;
	case VGPU_COMMAND_CLOSE:
		command_close(dev, s);
		break;
	default:
		fail(dev, s, VGPU_ERROR_CALL_INVALID);
	}
	vgpu_device_link_pump(dev);
}

static bool awaits(const struct vgpu_device_session *s, uint32_t request)
{
	return s->request == request && s->sent;
}

const char *vgpu_device_session_opened(struct vgpu_device *dev, const struct vgpu_link_result *m)
{
	struct vgpu_device_session *s = &dev->session[m->h.sid];

	if (!awaits(s, VGPU_LINK_OPEN))
		return "OPENED for a session that is not being opened";
	if (s->close_wanted && !m->error) {
		begin(s, VGPU_SESSION_CLOSING, VGPU_LINK_CLOSE);
	} else if (m->error) {
		release(dev, s, s->close_wanted ? (uint32_t)VGPU_OK : m->error);
		s->value = m->value;
		s->limit = m->limit;
	} else {
		complete(dev, s, VGPU_SESSION_OPEN, VGPU_OK, 0, 0);
	}
	return NULL;
}

const char *vgpu_device_session_heap_added(struct vgpu_device *dev,
					   const struct vgpu_link_result *m)
{
	struct vgpu_device_session *s = &dev->session[m->h.sid];
	uint32_t error = m->error;

	if (s->late) {
		s->late = false;
		return NULL;
	}
	if (!awaits(s, VGPU_LINK_HEAP_ADD))
		return "HEAP_ADDED for a session that has not asked";
	/* this time perhaps, but not the time before: the driver may not use its extents again */
	if (s->doubtful && vgpu_heap_add_unseen(error))
		error = VGPU_ERROR_HOST_INTERNAL;
	if (!error || s->doubtful)
		s->runs++;
	else if (vgpu_heap_add_unseen(error))
		drop_run(dev, s);
	if (s->close_wanted)
		begin(s, VGPU_SESSION_CLOSING, VGPU_LINK_CLOSE);
	else
		complete(dev, s, s->state, error, m->value, m->limit);
	return NULL;
}

const char *vgpu_device_session_ended(struct vgpu_device *dev, const struct vgpu_link_result *m)
{
	struct vgpu_device_session *s = &dev->session[m->h.sid];

	if (s->state == VGPU_SESSION_FREE || s->request == VGPU_LINK_OPEN)
		return "ENDED for a session that is not open";
	if (s->request == VGPU_LINK_HEAP_ADD) {
		s->late = s->sent;
		abandon_run(dev, s);
		if (s->close_wanted) {
			begin(s, VGPU_SESSION_CLOSING, VGPU_LINK_CLOSE);
			return NULL;
		}
	}
	if (s->state == VGPU_SESSION_OPEN)
		complete(dev, s, VGPU_SESSION_DEAD, m->error ? m->error : VGPU_ERROR_SESSION_CLOSED,
			 m->value, m->limit);
	return NULL;
}

const char *vgpu_device_session_closed(struct vgpu_device *dev, const struct vgpu_link_result *m)
{
	struct vgpu_device_session *s = &dev->session[m->h.sid];

	if (!awaits(s, VGPU_LINK_CLOSE))
		return "CLOSED for a session that is not being closed";
	if (m->error)
		complete(dev, s, VGPU_SESSION_DEAD, m->error, m->value, m->limit);
	else
		release(dev, s, VGPU_OK);
	return NULL;
}

static void unlink_open(struct vgpu_device *dev, struct vgpu_device_session *s)
{
	if (!s->sent)
		release(dev, s, dev->link_error);
	else if (s->close_wanted)
		begin(s, VGPU_SESSION_CLOSING, VGPU_LINK_CLOSE);
	else
		complete(dev, s, VGPU_SESSION_DEAD, VGPU_ERROR_HOST_NO_MEDIATOR, 0, 0);
}

static void unlink_heap_add(struct vgpu_device *dev, struct vgpu_device_session *s)
{
	if (s->close_wanted) {
		abandon_run(dev, s);
		begin(s, VGPU_SESSION_CLOSING, VGPU_LINK_CLOSE);
	} else if (s->sent || s->doubtful) {
		s->doubtful = true;
	} else {
		drop_run(dev, s);
		fail(dev, s, dev->link_error);
	}
}

void vgpu_device_sessions_unlink(struct vgpu_device *dev)
{
	for (unsigned int sid = 0; sid < dev->config.sessions; sid++) {
		struct vgpu_device_session *s = &dev->session[sid];

		s->late = false;
		if (s->request == VGPU_LINK_OPEN)
			unlink_open(dev, s);
		else if (s->request == VGPU_LINK_HEAP_ADD)
			unlink_heap_add(dev, s);
		s->sent = false;
	}
}

void vgpu_device_sessions_reset(struct vgpu_device *dev)
{
	for (unsigned int sid = 0; sid < dev->config.sessions; sid++) {
		struct vgpu_device_session *s = &dev->session[sid];

		s->state = VGPU_SESSION_FREE;
		s->result = s->value = s->limit = s->cause = s->request = 0;
		s->sent = s->close_wanted = s->late = s->doubtful = false;
		s->runs = 0;
	}
}
