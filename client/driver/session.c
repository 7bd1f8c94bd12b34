// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sessions: opened by a file, ended by its last close (session reaper) or with all others
 * (device.c).
 */
#include <linux/gfp.h>
#include <linux/hrtimer.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "vgpu_drv.h"
#include "protocol/session/session.h"

static unsigned long poll_jiffies(void)
{
	return msecs_to_jiffies(VGPU_POLL_MS);
}

static void session_free(struct kref *ref)
{
	struct vgpu_session *session = container_of(ref, struct vgpu_session, ref);

	xa_destroy(&session->heap);
	free_pages_exact(session->tomb, VGPU_TOMB_BYTES);
	mmdrop(session->mm);
	kfree(session);
}

void vgpu_session_put(struct vgpu_session *session)
{
	if (session)
		kref_put(&session->ref, session_free);
}

static struct vgpu_session *session_alloc(struct vgpu_device *dev)
{
	struct vgpu_session *session;

	session = kzalloc(sizeof(*session), GFP_KERNEL_ACCOUNT);
	if (!session)
		return NULL;
	session->tomb = alloc_pages_exact(VGPU_TOMB_BYTES, GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!session->tomb) {
		kfree(session);
		return NULL;
	}
	kref_init(&session->ref);
	session->dev = dev;
	session->mm = current->mm;
	mmgrab(session->mm);
	xa_init(&session->heap);
	return session;
}

/* dev->lock. Mappings show the tomb from now on; its `sticky` is the word that calls read first. */
void vgpu_session_mark_ended(struct vgpu_session *session, u32 why)
{
	struct vgpu_session_header *header = (void *)session->tomb;

	if (session->ended)
		return;
	header->sticky = why;
	/* A fault that sees `ended` shows the tomb as it is to be. */
	smp_store_release(&session->ended, why);
}

/* 0 while the session lives. Within dev->srcu. */
u32 vgpu_session_end_code(struct vgpu_session *session)
{
	u32 ended = READ_ONCE(session->ended);

	if (ended)
		return ended;
	ended = vgpu_device_down(session->dev);
	return ended ? ended : READ_ONCE(session->port->cause);
}

/* The file's open session. Within dev->srcu. */
int vgpu_session_get(struct vgpu_file *file, struct vgpu_session **ret_session)
{
	struct vgpu_session *session;

	/* Pairs with session_finish_open(). */
	session = smp_load_acquire(&file->session);
	if (!session)
		return -EINVAL;
	/* After fork, or with a passed descriptor: the session is its opener's. */
	if (session->mm != current->mm)
		return -EACCES;
	*ret_session = session;
	return 0;
}

static bool session_answered(struct vgpu_session *session)
{
	/* Pairs with hw_read_port(). */
	return smp_load_acquire(&session->port->result) != VGPU_RESULT_PENDING ||
	       vgpu_device_down(session->dev);
}

/* Waits for the answer to the session's command: 0, -EINTR, -ETIMEDOUT, -ENODEV. */
int vgpu_session_await(struct vgpu_session *session, unsigned long deadline)
{
	struct vgpu_port *port = session->port;
	long left, ret;

	for (;;) {
		if (READ_ONCE(session->ended) || vgpu_device_down(session->dev))
			return -ENODEV;
		if (session_answered(session))
			return 0;
		left = deadline - jiffies;
		if (left <= 0)
			return -ETIMEDOUT;
		ret = wait_event_interruptible_timeout(port->wq, session_answered(session),
						       min_t(long, left, poll_jiffies()));
		if (ret < 0)
			return -EINTR;
		if (!ret)
			vgpu_hw_refresh(session->dev, session->sid);
	}
}

static bool session_reset_over(struct vgpu_device *dev)
{
	return !(READ_ONCE(dev->status) & VGPU_STATUS_RESETTING) || vgpu_device_down(dev);
}

/* While the host still clears the window after a reset, there is nothing to open. */
static int session_await_reset(struct vgpu_device *dev, unsigned long deadline, u32 *ret_status,
			       u32 *ret_error)
{
	long left, ret;

	for (;;) {
		*ret_status = vgpu_hw_status(dev, ret_error);
		if (vgpu_device_down(dev))
			return -ENODEV;
		if (!(*ret_status & VGPU_STATUS_RESETTING) || !(*ret_status & VGPU_STATUS_LINKED))
			return 0;
		left = deadline - jiffies;
		if (left <= 0)
			return -ETIMEDOUT;
		ret = wait_event_interruptible_timeout(dev->wq, session_reset_over(dev),
						       min_t(long, left, poll_jiffies()));
		if (ret < 0)
			return -EINTR;
	}
}

/*
 * When ids or extents are short, but sessions are being closed: waits until one has given back
 * what it held, after `reaped` was read. 0, -EINTR, -ENODEV; -EAGAIN when there is no use in
 * waiting, or no time.
 */
int vgpu_session_await_reaped(struct vgpu_device *dev, u32 reaped, unsigned long deadline)
{
	long left = deadline - jiffies;

	if (left > 0 &&
	    wait_event_interruptible_timeout(dev->wq, READ_ONCE(dev->reaped) != reaped ||
					     !READ_ONCE(dev->reaping) || vgpu_device_down(dev),
					     left) < 0)
		return -EINTR;
	if (vgpu_device_down(dev))
		return -ENODEV;
	return READ_ONCE(dev->reaped) != reaped ? 0 : -EAGAIN;
}

static int refuse(struct vgpu_uapi_open *arg, u32 result, u32 value, u32 limit)
{
	arg->result = result;
	arg->value = value;
	arg->limit = limit;
	return -EIO;
}

/* Takes a session id and the control extent. */
static int session_take_port(struct vgpu_session *session, struct vgpu_uapi_open *arg)
{
	struct vgpu_device *dev = session->dev;
	u32 sid, allowed;

	if (!vgpu_extent_reserve(dev, 0, 1, &allowed))
		return refuse(arg, VGPU_ERROR_CALL_HEAP_FULL, VGPU_EXTENT_BYTES >> 10, 0);
	mutex_lock(&dev->lock);
	for (sid = 0; sid < dev->ports; sid++)
		if (!dev->port[sid].session)
			break;
	if (sid < dev->ports) {
		session->sid = sid;
		session->port = &dev->port[sid];
		session->port->session = session;
		kref_get(&session->ref);
	}
	mutex_unlock(&dev->lock);
	if (sid == dev->ports) {
		vgpu_extent_unreserve(dev, 1);
		return refuse(arg, VGPU_ERROR_HOST_SESSION_LIMIT, dev->ports + 1, dev->ports);
	}
	vgpu_extent_take(dev, 1, &session->control);
	session->extents = 1;
	return 0;
}

/* The same, after closed sessions have given back what they held if need be. */
static int session_await_port(struct vgpu_session *session, struct vgpu_uapi_open *arg,
			      unsigned long deadline)
{
	int refused, ret;
	u32 reaped;

	for (;;) {
		reaped = READ_ONCE(session->dev->reaped);
		refused = session_take_port(session, arg);
		if (!refused)
			break;
		ret = vgpu_session_await_reaped(session->dev, reaped, deadline);
		if (ret)
			return ret == -EAGAIN ? refused : ret;
	}
	refuse(arg, 0, 0, 0);
	return 0;
}

/* No command has named the session's id and extent yet: both go back at once. */
static void session_return_port(struct vgpu_session *session)
{
	struct vgpu_device *dev = session->dev;

	mutex_lock(&dev->lock);
	vgpu_extent_give(dev, session->control, 1);
	session->port->session = NULL;
	mutex_unlock(&dev->lock);
	vgpu_session_put(session);
}

static int session_start(struct vgpu_file *file, struct vgpu_uapi_open *arg, unsigned long deadline)
{
	struct vgpu_device *dev = file->dev;
	struct vgpu_session *session;
	u32 status, error;
	int ret;

	ret = session_await_reset(dev, deadline, &status, &error);
	if (ret == -ETIMEDOUT)
		return refuse(arg, VGPU_ERROR_HOST_BUSY, 0, 0);
	if (ret)
		return ret;
	if (!(status & VGPU_STATUS_LINKED))
		return refuse(arg, error ? error : VGPU_ERROR_HOST_NO_MEDIATOR, 0, 0);

	session = session_alloc(dev);
	if (!session)
		return -ENOMEM;
	ret = session_await_port(session, arg, deadline);
	if (ret)
		goto err_put;
	ret = vgpu_window_touch(dev, session->control, 1);
	if (ret)
		goto err_port;
	vgpu_hw_command(dev, session->sid, VGPU_COMMAND_OPEN, vgpu_extent_offset(session->control),
			arg->arena | (u64)arg->features << 32, task_tgid_vnr(current));
	file->opening = session;
	return 0;

err_port:
	session_return_port(session);
err_put:
	vgpu_session_put(session);
	return ret;
}

static void session_abandon(struct vgpu_file *file)
{
	struct vgpu_session *session = file->opening;

	file->opening = NULL;
	vgpu_session_close(session);
}

/* The host's answer to OPEN, or that there will be none. */
static int session_finish_open(struct vgpu_file *file, struct vgpu_uapi_open *arg, int ret)
{
	struct vgpu_session *session = file->opening;
	struct vgpu_port *port = session->port;

	if (ret == -EINTR)
		return ret; /* the next call waits on */
	if (ret == -ENODEV) {
		arg->result = vgpu_session_end_code(session);
	} else if (ret == -ETIMEDOUT) {
		ret = refuse(arg, VGPU_ERROR_HOST_NO_MEDIATOR, 0, 0);
	} else if (READ_ONCE(port->state) != VGPU_SESSION_OPEN) {
		u32 result = READ_ONCE(port->cause) ? : READ_ONCE(port->result);

		ret = refuse(arg, result ? result : VGPU_ERROR_SESSION_CLOSED,
			     READ_ONCE(port->value), READ_ONCE(port->limit));
	}
	if (ret) {
		session_abandon(file);
		return ret;
	}
	arg->sid = session->sid;
	file->opening = NULL;
	vgpu_hw_watch(session->dev, session->sid,
		      session->dev->window + vgpu_extent_offset(session->control) +
		      offsetof(struct vgpu_session_header, sticky));
	/* From here on mmap and WAIT find it without a lock. */
	smp_store_release(&file->session, session);
	return 0;
}

/* Within dev->srcu. */
int vgpu_session_open(struct vgpu_file *file, struct vgpu_uapi_open *arg)
{
	unsigned long deadline;
	int ret;

	if (arg->reserved || arg->arena >= VGPU_ARENAS)
		return -EINVAL;
	deadline = jiffies + msecs_to_jiffies(min_t(u32, arg->timeout_ms ? : VGPU_OPEN_TIMEOUT_MS,
						    3600 * MSEC_PER_SEC));
	if (mutex_lock_interruptible(&file->lock))
		return -EINTR;
	if (file->session) {
		ret = -EBUSY;
		goto out;
	}
	/* Left by a signal, and ended by a reset before anybody came back for it. */
	if (file->opening && READ_ONCE(file->opening->ended))
		session_abandon(file);
	if (!file->opening) {
		ret = session_start(file, arg, deadline);
		if (ret)
			goto out;
	} else if (file->opening->mm != current->mm) {
		ret = -EACCES;
		goto out;
	}
	ret = vgpu_session_await(file->opening, deadline);
	ret = session_finish_open(file, arg, ret);
out:
	mutex_unlock(&file->lock);
	if (ret == -ENODEV && !arg->result)
		arg->result = vgpu_device_down(file->dev);
	return ret;
}

/* Within dev->srcu. */
int vgpu_session_wait(struct vgpu_file *file, struct vgpu_uapi_wait *arg)
{
	ktime_t timeout = arg->timeout_ns < KTIME_MAX ? (ktime_t)arg->timeout_ns : KTIME_MAX;
	struct vgpu_session *session;
	u32 *word;
	int ret;

	if (arg->reserved || arg->offset % sizeof(*word) ||
	    arg->offset > VGPU_CONTROL_BYTES - sizeof(*word))
		return -EINVAL;
	ret = vgpu_session_get(file, &session);
	if (ret)
		return ret;
	arg->result = READ_ONCE(session->ended) ? : vgpu_device_down(session->dev);
	if (arg->result)
		return -ENODEV;
	word = session->dev->window + vgpu_extent_offset(session->control) + arg->offset;
	ret = wait_event_interruptible_hrtimeout(session->port->wq,
						 READ_ONCE(*word) != arg->expected ||
						 vgpu_session_end_code(session), timeout);
	/* What the host finished before it ended the session counts as finished. */
	if (!vgpu_device_down(session->dev) && READ_ONCE(*word) != arg->expected)
		return 0;
	arg->result = vgpu_session_end_code(session);
	if (arg->result)
		return -ENODEV;
	if (ret == -ETIME)
		return -ETIMEDOUT;
	return ret ? -EINTR : 0;
}

/*
 * Gives up the file's reference and has the reaper end the session. Never waits. If a reset or
 * removal has ended it already, its port is somebody else's.
 */
void vgpu_session_close(struct vgpu_session *session)
{
	struct vgpu_device *dev;

	if (!session)
		return;
	dev = session->dev;
	mutex_lock(&dev->lock);
	if (session->port->session == session && !dev->down) {
		WRITE_ONCE(session->port->reaping, true);
		session->port->close_asked = false;
		WRITE_ONCE(dev->reaping, dev->reaping + 1);
		mod_delayed_work(vgpu_workqueue, &session->port->reap, 0);
	}
	mutex_unlock(&dev->lock);
	vgpu_session_put(session);
}

static void session_reaped(struct vgpu_port *port)
{
	struct vgpu_session *session = port->session;

	vgpu_heap_give(session);
	vgpu_extent_give(port->dev, session->control, 1);
	WRITE_ONCE(port->reaping, false);
	port->session = NULL;
	WRITE_ONCE(port->dev->reaping, port->dev->reaping - 1);
	WRITE_ONCE(port->dev->reaped, port->dev->reaped + 1);
	wake_up_all(&port->dev->wq);
	vgpu_session_put(session);
}

/*
 * Walks a session that no file has any more to FREE, one step a time; the device's events and a
 * timer call it. With no file there is no mapping and no ioctl, so nobody else issues commands.
 * CLOSE is the one command that the device takes while another is under way.
 */
void vgpu_session_reap(struct work_struct *work)
{
	struct vgpu_port *port = container_of(to_delayed_work(work), struct vgpu_port, reap);
	struct vgpu_device *dev = port->dev;
	u32 sid = port - dev->port;

	mutex_lock(&dev->lock);
	if (!port->session || !port->reaping || vgpu_device_down(dev))
		goto out;
	vgpu_hw_refresh(dev, sid);
	switch (port->state) {
	case VGPU_SESSION_FREE:
		session_reaped(port);
		goto out;
	case VGPU_SESSION_CLOSING:
		break;
	default:
		/* The host may refuse, and the event of that calls us: no faster than the timer. */
		if (port->close_asked && time_before(jiffies, port->close_next))
			break;
		port->close_asked = true;
		port->close_next = jiffies + poll_jiffies();
		vgpu_hw_command(dev, sid, VGPU_COMMAND_CLOSE, 0, 0, 0);
	}
	/* Does nothing when an event has queued it meanwhile. */
	queue_delayed_work(vgpu_workqueue, &port->reap, poll_jiffies());
out:
	mutex_unlock(&dev->lock);
}
