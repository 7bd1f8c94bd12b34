// SPDX-License-Identifier: MIT
/* BAR0: every register of protocol/device/device.h. The guest chooses offset, size and value. */
#include "device/core/internal.h"

#include <sys/eventfd.h>

static uint32_t read_session(const struct vgpu_device *dev, uint64_t offset)
{
	uint64_t sid = (offset - VGPU_REG_SESSION) / 16;
	const struct vgpu_device_session *s;

	if (sid >= dev->config.sessions)
		return 0;
	s = &dev->session[sid];
	switch (offset % 16) {
	case 0:
		return s->state;
	case 4:
		return s->result;
	case 8:
		return s->value;
	default:
		return s->limit;
	}
}

uint32_t vgpu_device_mmio_read(struct vgpu_device *dev, uint64_t offset, unsigned int size)
{
	if (size != 4 || offset % 4)
		return 0;
	if (offset >= VGPU_REG_SESSION && offset < VGPU_DEVICE_DOORBELLS)
		return read_session(dev, offset);
	switch (offset) {
	case VGPU_REG_MAGIC:
		return VGPU_DEVICE_MAGIC;
	case VGPU_REG_VERSION:
		return VGPU_DEVICE_VERSION;
	case VGPU_REG_FEATURES:
		return VGPU_DEVICE_FEATURE_BASE;
	case VGPU_REG_DRIVER_FEATURES:
		return dev->driver_features;
	case VGPU_REG_STATUS:
		return vgpu_device_status(dev);
	case VGPU_REG_ERROR:
		return vgpu_device_error(dev);
	case VGPU_REG_EPOCH:
		return dev->epoch;
	case VGPU_REG_SESSIONS:
		return dev->config.sessions;
	case VGPU_REG_WINDOW_ADDR_LO:
		return (uint32_t)dev->config.window_addr;
	case VGPU_REG_WINDOW_ADDR_HI:
		return (uint32_t)(dev->config.window_addr >> 32);
	case VGPU_REG_WINDOW_SIZE_LO:
		return (uint32_t)dev->config.window_bytes;
	case VGPU_REG_WINDOW_SIZE_HI:
		return (uint32_t)(dev->config.window_bytes >> 32);
	case VGPU_REG_VECTORS:
		return dev->vectors;
	case VGPU_REG_EVENT_LO:
		return (uint32_t)dev->event;
	case VGPU_REG_EVENT_HI:
		return (uint32_t)(dev->event >> 32);
	case VGPU_REG_EVENT_DEVICE:
		return dev->event_device;
	case VGPU_REG_ARG0_LO ... VGPU_REG_ARG2_HI:
		return dev->arg[(offset - VGPU_REG_ARG0_LO) / 4];
	}
	return 0;
}

static void write_vectors(struct vgpu_device *dev, uint32_t value)
{
	if (value < 1 || value > VGPU_DEVICE_VECTORS_MAX || value == dev->vectors)
		return;
	dev->vectors = value;
	vgpu_device_vectors_bind(dev);
}

static void write_features(struct vgpu_device *dev, uint32_t value)
{
	dev->features_refused = value & ~(uint32_t)VGPU_DEVICE_FEATURE_BASE;
	if (!dev->features_refused)
		dev->driver_features = value;
	vgpu_device_status_update(dev);
}

void vgpu_device_mmio_write(struct vgpu_device *dev, uint64_t offset, unsigned int size,
			    uint64_t value)
{
	uint32_t v = (uint32_t)value;

	if (size != 4 || offset % 4)
		return;
	if (offset >= VGPU_DEVICE_DOORBELLS) {
		uint64_t sid = (offset - VGPU_DEVICE_DOORBELLS) / VGPU_DEVICE_PAGE_BYTES;

		/* Only where the front end has no ioeventfd. A full counter has rung already. */
		if (offset % VGPU_DEVICE_PAGE_BYTES == 0 && sid < dev->config.sessions)
			(void)eventfd_write(dev->session[sid].doorbell_fd, 1);
		return;
	}
	switch (offset) {
	case VGPU_REG_DRIVER_FEATURES:
		write_features(dev, v);
		break;
	case VGPU_REG_VECTORS:
		write_vectors(dev, v);
		break;
	case VGPU_REG_RESET:
		if (v == 1)
			vgpu_device_reset(dev);
		break;
	case VGPU_REG_EVENT_LO:
		dev->event &= ~(uint64_t)v;
		break;
	case VGPU_REG_EVENT_HI:
		dev->event &= ~((uint64_t)v << 32);
		break;
	case VGPU_REG_EVENT_DEVICE:
		dev->event_device &= ~v;
		break;
	case VGPU_REG_ARG0_LO ... VGPU_REG_ARG2_HI:
		dev->arg[(offset - VGPU_REG_ARG0_LO) / 4] = v;
		break;
	case VGPU_REG_COMMAND:
		vgpu_device_command(dev, v);
		break;
	}
}
