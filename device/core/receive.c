// SPDX-License-Identifier: MIT
/*
 * What the mediator sends. It is trusted more than the guest, but the VM must outlive one that is
 * broken: each packet is checked once, here, and a wrong one ends the link.
 */
#include "device/core/internal.h"

#include <string.h>

union packet {
	struct vgpu_link_header h;
	struct vgpu_link_welcome welcome;
	struct vgpu_link_result result;
};

static const char *check(const struct vgpu_device *dev, const union packet *p, size_t bytes)
{
	if (bytes < sizeof(p->h) || p->h.bytes != bytes)
		return "a packet of another length than it says";
	switch (p->h.type) {
	case VGPU_LINK_WELCOME:
		if (bytes != sizeof(p->welcome))
			return "a WELCOME of the wrong length";
		break;
	case VGPU_LINK_REFUSED ... VGPU_LINK_STATUS:
		if (bytes != sizeof(p->result))
			return "a message of the wrong length";
		if (!memchr(p->result.text, 0, sizeof(p->result.text)))
			return "a text without an end";
		break;
	default:
		return "a message of unknown type";
	}
	if (p->h.sid >= dev->config.sessions)
		return "a session number that this device does not have";
	if ((p->h.type <= VGPU_LINK_REFUSED) != (dev->link == LINK_GREETING))
		return "a message that does not belong there";
	return NULL;
}

static const char *receive_welcome(struct vgpu_device *dev, const struct vgpu_link_welcome *m,
				   uint32_t *ret_error)
{
	if (m->version < VGPU_LINK_VERSION_OLDEST || m->version > VGPU_LINK_VERSION ||
	    m->features & ~(uint32_t)VGPU_LINK_FEATURE_BASE) {
		*ret_error = VGPU_ERROR_HOST_VERSION;
		return "a version or feature that was not offered";
	}
	if (m->window_bytes != dev->config.window_bytes)
		return "another window size than this device has";
	dev->quarantine = m->status & VGPU_STATUS_QUARANTINE;
	dev->link = dev->met ? LINK_RESUMING : LINK_UP;
	dev->resume_sid = dev->resume_run = 0;
	dev->met = true;
	dev->reset_sent = dev->reset_failed = false;
	/* a reset since HELLO, which has named another epoch */
	dev->resetting |= dev->link_epoch != dev->epoch;
	dev->linked_ns = dev->ops.now_ns(dev->opaque);
	vgpu_device_log(dev, VGPU_DEVICE_INFO, "linked to the mediator at %s", dev->socket_path);
	vgpu_device_status_update(dev);
	return NULL;
}

static const char *receive_reset_done(struct vgpu_device *dev, const struct vgpu_link_result *m)
{
	if (!dev->reset_sent || m->h.epoch != dev->link_epoch)
		return "RESET_DONE that nobody has asked for";
	dev->reset_sent = false;
	if (dev->link_epoch != dev->epoch)
		return NULL;
	if (m->error) {
		dev->reset_failed = true;
		return NULL;
	}
	dev->resetting = false;
	vgpu_device_extents_clean(dev);
	vgpu_device_status_update(dev);
	return NULL;
}

/* A refusal is the administrator's business too. */
static void log_refusal(struct vgpu_device *dev, const struct vgpu_link_result *m)
{
	if (m->error)
		vgpu_device_log_limited(dev, "session %u: error 0x%x: %s", m->h.sid, m->error,
					m->text);
}

const char *vgpu_device_receive(struct vgpu_device *dev, const void *packet, size_t bytes,
				uint32_t *ret_error)
{
	const union packet *p = packet;
	const char *why = check(dev, p, bytes);

	*ret_error = VGPU_ERROR_HOST_NO_MEDIATOR;
	if (why)
		return why;
	if (p->h.type == VGPU_LINK_WELCOME)
		return receive_welcome(dev, &p->welcome, ret_error);
	if (p->h.type == VGPU_LINK_REFUSED) {
		if (p->result.error)
			*ret_error = p->result.error;
		return *p->result.text ? p->result.text : "refused";
	}
	if (p->h.type == VGPU_LINK_RESET_DONE) {
		log_refusal(dev, &p->result);
		return receive_reset_done(dev, &p->result);
	}
	if (p->h.type == VGPU_LINK_STATUS) {
		dev->quarantine = p->result.status & VGPU_STATUS_QUARANTINE;
		vgpu_device_status_update(dev);
		return NULL;
	}
	/* an answer to what a reset has forgotten */
	if (p->h.epoch != dev->epoch)
		return NULL;
	log_refusal(dev, &p->result);
	switch (p->h.type) {
	case VGPU_LINK_OPENED:
		return vgpu_device_session_opened(dev, &p->result);
	case VGPU_LINK_HEAP_ADDED:
		return vgpu_device_session_heap_added(dev, &p->result);
	case VGPU_LINK_ENDED:
		return vgpu_device_session_ended(dev, &p->result);
	default:
		return vgpu_device_session_closed(dev, &p->result);
	}
}
