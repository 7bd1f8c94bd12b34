// SPDX-License-Identifier: GPL-2.0-only
/*
 * A session's heap: which extent lies at which 2 MiB step. It only grows.
 *
 * One HEAP_ADD call may need several runs of extents, each a command to the host. If a later one
 * fails or a signal comes, the earlier ones stay, as spare: the host knows them, and a repeated
 * call takes them as they are. Nothing is mapped that the host has not accepted. What an executor
 * has refused goes to nobody else before the session is FREE.
 */
#include <linux/slab.h>

#include "vgpu_drv.h"
#include "protocol/session/session.h"

#define VGPU_HEAP_STEPS ((u32)(VGPU_ARENA_BYTES >> VGPU_EXTENT_SHIFT))

static u32 entry_extent(void *entry)
{
	return xa_to_value(entry) >> VGPU_HEAP_SHIFT;
}

static void *entry_make(u32 extent, unsigned long flags)
{
	return xa_mk_value((unsigned long)extent << VGPU_HEAP_SHIFT | flags);
}

/* Rewrites entries that exist, so nothing is allocated. */
static void heap_set_flags(struct vgpu_session *session, u32 first, u32 count, unsigned long flags)
{
	u32 i;

	for (i = first; i < first + count; i++) {
		u32 extent = entry_extent(xa_load(&session->heap, i));

		xa_store(&session->heap, i, entry_make(extent, flags), GFP_KERNEL);
	}
}

/* Extents that the host does not have. */
static void heap_remove(struct vgpu_session *session, u32 first, u32 count)
{
	struct vgpu_device *dev = session->dev;
	u32 i;

	mutex_lock(&dev->lock);
	for (i = first; i < first + count; i++) {
		void *entry = xa_erase(&session->heap, i);

		if (entry)
			vgpu_extent_give(dev, entry_extent(entry), 1);
	}
	mutex_unlock(&dev->lock);
	session->extents -= count;
}

/*
 * Extents that an executor has seen and refused: the session keeps them until FREE, beyond what can
 * be mapped. Without memory for that they stay where they are, and so does a gap in the heap.
 */
static void heap_retire(struct vgpu_session *session, u32 first, u32 count)
{
	u32 i;

	for (i = first; i < first + count; i++) {
		void *entry = xa_load(&session->heap, i);

		if (!xa_err(xa_store(&session->heap, VGPU_HEAP_STEPS + entry_extent(entry), entry,
				     GFP_KERNEL_ACCOUNT)))
			xa_erase(&session->heap, i);
	}
}

static int heap_insert(struct vgpu_session *session, u32 first, u32 count, u32 extent)
{
	u32 i;
	int ret;

	for (i = 0; i < count; i++) {
		void *entry = entry_make(extent + i, VGPU_HEAP_PENDING);

		ret = xa_err(xa_store(&session->heap, first + i, entry, GFP_KERNEL_ACCOUNT));
		if (ret)
			goto err_erase;
	}
	session->extents += count;
	return 0;

err_erase:
	while (i--)
		xa_erase(&session->heap, first + i);
	mutex_lock(&session->dev->lock);
	vgpu_extent_give(session->dev, extent, count);
	mutex_unlock(&session->dev->lock);
	return ret;
}

/* Waits for the answer to the run under way, which may be that of an interrupted call. */
static int heap_settle(struct vgpu_session *session, struct vgpu_uapi_heap_add *arg)
{
	struct vgpu_port *port = session->port;
	int ret;

	if (!session->pending_count)
		return 0;
	ret = vgpu_session_await(session, jiffies + MAX_JIFFY_OFFSET);
	if (ret)
		return ret;
	arg->result = READ_ONCE(port->result);
	arg->value = READ_ONCE(port->value);
	arg->limit = READ_ONCE(port->limit);
	/* Dead: the host has them until CLOSE. */
	if (READ_ONCE(port->state) != VGPU_SESSION_OPEN)
		return -ENODEV;
	if (arg->result) {
		if (vgpu_heap_add_unseen(arg->result))
			heap_remove(session, session->pending_first, session->pending_count);
		else
			heap_retire(session, session->pending_first, session->pending_count);
		ret = -EIO;
	} else {
		heap_set_flags(session, session->pending_first, session->pending_count,
			       VGPU_HEAP_SPARE);
		session->runs++;
	}
	session->pending_count = 0;
	return ret;
}

/* Extents that [first, first + count) still needs, or -EINVAL where the heap is already. */
static int heap_count_missing(struct vgpu_session *session, u32 first, u32 count)
{
	int missing = 0;
	u32 i;

	for (i = first; i < first + count; i++) {
		void *entry = xa_load(&session->heap, i);

		if (!entry)
			missing++;
		else if (!(xa_to_value(entry) & VGPU_HEAP_SPARE))
			return -EINVAL;
	}
	return missing;
}

/* Gives the host one run of neighbours from `first` on; *ret_count says how long it was. */
static int heap_add_run(struct vgpu_session *session, u32 first, u32 count,
			struct vgpu_uapi_heap_add *arg, u32 *ret_count)
{
	struct vgpu_device *dev = session->dev;
	u32 extent;
	int ret;

	if (session->runs >= VGPU_SESSION_RUNS_MAX) {
		arg->result = VGPU_ERROR_CALL_LIMIT;
		arg->value = session->runs + 1;
		arg->limit = VGPU_SESSION_RUNS_MAX;
		vgpu_extent_unreserve(dev, count);
		return -EIO;
	}
	*ret_count = vgpu_extent_take(dev, count, &extent);
	count = *ret_count;
	ret = heap_insert(session, first, count, extent);
	if (ret)
		return ret;
	ret = vgpu_window_touch(dev, extent, count);
	if (ret) {
		heap_remove(session, first, count);
		return ret;
	}
	vgpu_hw_command(dev, session->sid, VGPU_COMMAND_HEAP_ADD,
			(u64)first << VGPU_EXTENT_SHIFT, vgpu_extent_offset(extent),
			(u64)count << VGPU_EXTENT_SHIFT);
	session->pending_first = first;
	session->pending_count = count;
	return heap_settle(session, arg);
}

/* Fills the gaps of [first, first + count), `missing` of which are reserved. */
static int heap_fill(struct vgpu_session *session, u32 first, u32 count, u32 missing,
		     struct vgpu_uapi_heap_add *arg)
{
	u32 i = first, end = first + count;
	int ret = 0;

	while (i < end && !ret) {
		u32 gap = 0, got = 0;

		while (i < end && xa_load(&session->heap, i))
			i++;
		while (i + gap < end && !xa_load(&session->heap, i + gap))
			gap++;
		if (!gap)
			break;
		ret = heap_add_run(session, i, gap, arg, &got);
		if (!got)
			got = gap; /* refused before anything was taken; its reservation is back */
		missing -= got;
		i += got;
	}
	if (missing)
		vgpu_extent_unreserve(session->dev, missing);
	return ret;
}

/* -EAGAIN: too much, also after closed sessions have given back theirs. */
static int heap_reserve(struct vgpu_session *session, u32 count, u32 *ret_allowed)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(VGPU_REAP_TIMEOUT_MS);
	struct vgpu_device *dev = session->dev;
	u32 reaped;
	int ret;

	do {
		reaped = READ_ONCE(dev->reaped);
		if (vgpu_extent_reserve(dev, session->extents, count, ret_allowed))
			return 0;
		/* The whole window would not be enough. */
		if (count > dev->extents)
			return -EAGAIN;
		ret = vgpu_session_await_reaped(dev, reaped, deadline);
	} while (!ret);
	return ret;
}

static int heap_add_locked(struct vgpu_session *session, u32 first, u32 count,
			   struct vgpu_uapi_heap_add *arg)
{
	int missing, ret;
	u32 allowed;

	if (session->pending_count) {
		ret = heap_settle(session, arg);
		if (ret && ret != -EIO)
			return ret;
	}
	if (vgpu_session_end_code(session))
		return -ENODEV;
	missing = heap_count_missing(session, first, count);
	if (missing < 0)
		return missing;
	ret = heap_reserve(session, missing, &allowed);
	if (ret == -EAGAIN) {
		arg->result = VGPU_ERROR_CALL_HEAP_FULL;
		arg->value = missing << (VGPU_EXTENT_SHIFT - 10);
		arg->limit = allowed << (VGPU_EXTENT_SHIFT - 10);
		return -EIO;
	}
	if (ret)
		return ret;
	ret = heap_fill(session, first, count, missing, arg);
	if (ret)
		return ret;
	heap_set_flags(session, first, count, 0);
	/* An interrupted call before this one may have been refused. */
	arg->result = 0;
	arg->value = 0;
	arg->limit = 0;
	return 0;
}

/* Within dev->srcu. */
int vgpu_heap_add(struct vgpu_file *file, struct vgpu_uapi_heap_add *arg)
{
	struct vgpu_session *session;
	u64 mask = VGPU_EXTENT_BYTES - 1;
	int ret;

	if (arg->reserved || !arg->bytes || (arg->bytes | arg->heap_offset) & mask ||
	    arg->bytes > VGPU_ARENA_BYTES || arg->heap_offset > VGPU_ARENA_BYTES - arg->bytes)
		return -EINVAL;
	ret = vgpu_session_get(file, &session);
	if (ret)
		return ret;
	arg->result = READ_ONCE(session->ended);
	if (arg->result)
		return -ENODEV;
	if (mutex_lock_interruptible(&file->lock))
		return -EINTR;
	ret = heap_add_locked(session, arg->heap_offset >> VGPU_EXTENT_SHIFT,
			      arg->bytes >> VGPU_EXTENT_SHIFT, arg);
	if (ret == -ENODEV)
		arg->result = vgpu_session_end_code(session);
	mutex_unlock(&file->lock);
	return ret;
}

/* After FREE, by the reaper: nobody else looks at the session any more. dev->lock. */
void vgpu_heap_give(struct vgpu_session *session)
{
	unsigned long index;
	void *entry;

	xa_for_each(&session->heap, index, entry)
		vgpu_extent_give(session->dev, entry_extent(entry), 1);
}
