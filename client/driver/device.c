// SPDX-License-Identifier: GPL-2.0-only
/*
 * struct vgpu_device: made by probe, freed when the last open file has gone; and the one way in
 * which all sessions end at once.
 */
#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "vgpu_drv.h"

/*
 * 0, or the error code why nothing works. Within dev->srcu, 0 means that registers, window and
 * ports stay until the section ends.
 */
u32 vgpu_device_down(struct vgpu_device *dev)
{
	u32 down = READ_ONCE(dev->down);

	if (!down && READ_ONCE(dev->gone))
		return VGPU_ERROR_SESSION_UNPLUGGED;
	return down;
}

/* The device was reset behind our back (a function reset by hand): make our side agree. */
static void device_restart(struct work_struct *work)
{
	struct vgpu_device *dev = container_of(work, struct vgpu_device, restart);

	mutex_lock(&dev->end_lock);
	if (!vgpu_device_down(dev)) {
		pci_warn(dev->pdev, "the device was reset, all sessions end\n");
		vgpu_device_end_sessions(dev, VGPU_ERROR_SESSION_RESET);
		vgpu_device_start(dev);
	}
	mutex_unlock(&dev->end_lock);
}

static void device_release(struct device *device)
{
	struct vgpu_device *dev = container_of(device, struct vgpu_device, dev);
	int minor = dev->minor;

	cleanup_srcu_struct(&dev->srcu);
	bitmap_free(dev->extent_map);
	kfree(dev->vector);
	pci_dev_put(dev->pdev);
	kfree(dev);
	/* Last: the module may go after it. */
	vgpu_chardev_release_number(minor);
}

/* put_device(&dev->dev) undoes it. All locks exist from here on, interrupts come later. */
struct vgpu_device *vgpu_device_create(struct pci_dev *pdev)
{
	struct vgpu_device *dev;
	int ret, sid;

	dev = kzalloc(sizeof(*dev), GFP_KERNEL);
	if (!dev)
		return ERR_PTR(-ENOMEM);
	dev->vector = kcalloc(VGPU_DEVICE_VECTORS_MAX, sizeof(*dev->vector), GFP_KERNEL);
	if (!dev->vector) {
		ret = -ENOMEM;
		goto err_free;
	}
	ret = init_srcu_struct(&dev->srcu);
	if (ret)
		goto err_vector;
	dev->minor = vgpu_chardev_number(dev);
	if (dev->minor < 0) {
		pci_err(pdev, "no number for another device, the limit is %d\n", VGPU_MINORS);
		ret = dev->minor;
		goto err_srcu;
	}
	dev->pdev = pci_dev_get(pdev);
	dev->down = VGPU_ERROR_SESSION_RESET;
	mutex_init(&dev->end_lock);
	mutex_init(&dev->lock);
	spin_lock_init(&dev->hw_lock);
	init_waitqueue_head(&dev->wq);
	INIT_WORK(&dev->restart, device_restart);
	INIT_LIST_HEAD(&dev->files);
	for (sid = 0; sid < VGPU_DEVICE_SESSIONS; sid++) {
		struct vgpu_port *port = &dev->port[sid];

		port->dev = dev;
		init_waitqueue_head(&port->wq);
		INIT_DELAYED_WORK(&port->reap, vgpu_session_reap);
	}
	device_initialize(&dev->dev);
	dev->dev.release = device_release;
	dev->dev.parent = &pdev->dev;
	return dev;

err_srcu:
	cleanup_srcu_struct(&dev->srcu);
err_vector:
	kfree(dev->vector);
err_free:
	kfree(dev);
	return ERR_PTR(ret);
}

/* Calls work from here on. end_lock, or probe. */
int vgpu_device_start(struct vgpu_device *dev)
{
	int ret;

	ret = vgpu_hw_identify(dev);
	if (!ret)
		ret = vgpu_hw_start(dev);
	if (ret)
		return ret;
	mutex_lock(&dev->lock);
	WRITE_ONCE(dev->down, 0);
	mutex_unlock(&dev->lock);
	return 0;
}

static void device_revoke_mappings(struct vgpu_device *dev)
{
	struct vgpu_file *file;

	mutex_lock(&dev->lock);
	list_for_each_entry(file, &dev->files, list) {
		/* Control areas first: who has read scratch in a view finds `sticky` set. */
		unmap_mapping_range(file->filp->f_mapping, VGPU_MMAP_CONTROL, VGPU_CONTROL_BYTES,
				    1);
		unmap_mapping_range(file->filp->f_mapping, 0, 0, 1);
	}
	mutex_unlock(&dev->lock);
}

/* After vgpu_hw_free_irqs() nobody queues work again. */
void vgpu_device_cancel_work(struct vgpu_device *dev)
{
	u32 sid;

	for (sid = 0; sid < dev->ports; sid++)
		cancel_delayed_work_sync(&dev->port[sid].reap);
	cancel_work_sync(&dev->restart);
}

static void device_forget_sessions(struct vgpu_device *dev)
{
	u32 sid;

	/* The reaper takes dev->lock, so it is waited for without. It stays away: `down` is set. */
	for (sid = 0; sid < dev->ports; sid++)
		cancel_delayed_work_sync(&dev->port[sid].reap);
	mutex_lock(&dev->lock);
	for (sid = 0; sid < dev->ports; sid++) {
		struct vgpu_port *port = &dev->port[sid];
		struct vgpu_session *session = port->session;

		port->session = NULL;
		port->reaping = false;
		if (session)
			vgpu_session_put(session);
	}
	WRITE_ONCE(dev->reaping, 0);
	vgpu_extent_reset(dev);
	mutex_unlock(&dev->lock);
}

/*
 * Ends every session with the code `why`; nothing works until vgpu_device_start(). Holding
 * end_lock. In this order:
 *   1. `down` and each session's `ended` are set: new calls and faults see it.
 *   2. sleepers are woken, and all who came before 1 leave (srcu). No ioctl or fault is inside.
 *   3. mappings are revoked. Faults from now on see `ended` and get the tomb or SIGBUS.
 *   4. the device is reset: the host stops using the sessions' memory.
 *   5. ports and extents are forgotten. No process maps one of them (3), and none is handed out
 *      before the host has cleared the window (RESETTING, looked at by OPEN).
 */
void vgpu_device_end_sessions(struct vgpu_device *dev, u32 why)
{
	u32 sid;

	lockdep_assert_held(&dev->end_lock);
	mutex_lock(&dev->lock);
	WRITE_ONCE(dev->down, why);
	for (sid = 0; sid < dev->ports; sid++)
		if (dev->port[sid].session)
			vgpu_session_mark_ended(dev->port[sid].session, why);
	mutex_unlock(&dev->lock);
	vgpu_hw_wake(dev);
	synchronize_srcu(&dev->srcu);
	device_revoke_mappings(dev);
	vgpu_hw_reset(dev);
	device_forget_sessions(dev);
}

/* Gives the host a moment to end what it runs. Not needed for safety, OPEN looks again. */
void vgpu_device_settle(struct vgpu_device *dev)
{
	unsigned long end = jiffies + msecs_to_jiffies(VGPU_RESET_TIMEOUT_MS);
	u32 status;

	for (;;) {
		status = vgpu_hw_status(dev, NULL);
		if (!(status & VGPU_STATUS_RESETTING) || !(status & VGPU_STATUS_LINKED))
			return;
		if (time_after(jiffies, end))
			break;
		wait_event_timeout(dev->wq, !(READ_ONCE(dev->status) & VGPU_STATUS_RESETTING),
				   msecs_to_jiffies(100));
	}
	pci_warn(dev->pdev, "the host has not ended all sessions within %u ms\n",
		 VGPU_RESET_TIMEOUT_MS);
}
