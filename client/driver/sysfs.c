// SPDX-License-Identifier: GPL-2.0-only
/*
 * /sys/class/vgpu/vgpuN/: for administrators and tests.
 */
#include <linux/sysfs.h>

#include "vgpu_drv.h"

static struct vgpu_device *to_vgpu(struct device *device)
{
	return container_of(device, struct vgpu_device, dev);
}

/* probe() refuses anything else, by what the page tables say. */
static ssize_t window_caching_show(struct device *device, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "write-back\n");
}
static DEVICE_ATTR_RO(window_caching);

/* Number of resets of the device. */
static ssize_t epoch_show(struct device *device, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(to_vgpu(device)->epoch));
}
static DEVICE_ATTR_RO(epoch);

/* Session ids in use, those included that the host has not freed yet. */
static ssize_t sessions_show(struct device *device, struct device_attribute *attr, char *buf)
{
	struct vgpu_device *dev = to_vgpu(device);
	unsigned int count = 0;
	u32 sid;

	mutex_lock(&dev->lock);
	for (sid = 0; sid < dev->ports; sid++)
		if (dev->port[sid].session)
			count++;
	mutex_unlock(&dev->lock);
	return sysfs_emit(buf, "%u\n", count);
}
static DEVICE_ATTR_RO(sessions);

/* Words; the last is the error code that stands in the way, if any. */
static ssize_t status_show(struct device *device, struct device_attribute *attr, char *buf)
{
	struct vgpu_device *dev = to_vgpu(device);
	u32 down = vgpu_device_down(dev), error;
	u32 status = vgpu_hw_status(dev, &error);
	int at;

	if (down)
		return sysfs_emit(buf, "down %#x\n", down);
	at = sysfs_emit(buf, "%s", status & VGPU_STATUS_LINKED ? "linked" : "no-mediator");
	if (status & VGPU_STATUS_RESETTING)
		at += sysfs_emit_at(buf, at, " resetting");
	if (status & VGPU_STATUS_QUARANTINE)
		at += sysfs_emit_at(buf, at, " quarantine");
	if (error)
		at += sysfs_emit_at(buf, at, " %#x", error);
	return at + sysfs_emit_at(buf, at, "\n");
}
static DEVICE_ATTR_RO(status);

/* Extents that nobody has. */
static ssize_t window_free_bytes_show(struct device *device, struct device_attribute *attr,
				      char *buf)
{
	struct vgpu_device *dev = to_vgpu(device);
	u64 bytes;

	mutex_lock(&dev->lock);
	bytes = vgpu_extent_offset(dev->extents_free);
	mutex_unlock(&dev->lock);
	return sysfs_emit(buf, "%llu\n", bytes);
}
static DEVICE_ATTR_RO(window_free_bytes);

static ssize_t vectors_show(struct device *device, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", to_vgpu(device)->vectors);
}
static DEVICE_ATTR_RO(vectors);

static struct attribute *vgpu_sysfs_attrs[] = {
	&dev_attr_window_caching.attr,
	&dev_attr_epoch.attr,
	&dev_attr_sessions.attr,
	&dev_attr_status.attr,
	&dev_attr_window_free_bytes.attr,
	&dev_attr_vectors.attr,
	NULL
};

static const struct attribute_group vgpu_sysfs_group = {
	.attrs = vgpu_sysfs_attrs,
};

const struct attribute_group *vgpu_sysfs_groups[] = { &vgpu_sysfs_group, NULL };
