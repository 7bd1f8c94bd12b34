// SPDX-License-Identifier: MIT
/* Making and freeing the device; its window, reset, messages. */
#include "device/core/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/un.h>
#include <unistd.h>

#include "protocol/session/session.h"

#define LOG_INTERVAL_NS 1000000000ull

static void log_va(struct vgpu_device *dev, enum vgpu_device_level level, const char *format,
		   va_list args)
{
	char text[512];

	vsnprintf(text, sizeof(text), format, args);
	/* Some of it may be the mediator's text: nothing in it gets at a terminal. */
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = ' ';
	dev->ops.log(dev->opaque, level, text);
}

void vgpu_device_log(struct vgpu_device *dev, enum vgpu_device_level level, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_va(dev, level, format, args);
	va_end(args);
}

void vgpu_device_log_limited(struct vgpu_device *dev, const char *format, ...)
{
	uint64_t now = dev->ops.now_ns(dev->opaque);
	va_list args;

	if (dev->logged_ns && now - dev->logged_ns < LOG_INTERVAL_NS) {
		dev->log_skipped++;
		return;
	}
	if (dev->log_skipped)
		vgpu_device_log(dev, VGPU_DEVICE_WARNING,
				"%u messages like the next one were left out", dev->log_skipped);
	dev->log_skipped = 0;
	dev->logged_ns = now;
	va_start(args, format);
	log_va(dev, VGPU_DEVICE_WARNING, format, args);
	va_end(args);
}

uint32_t vgpu_device_status(const struct vgpu_device *dev)
{
	bool linked = dev->link >= LINK_RESUMING;

	return (linked ? VGPU_STATUS_LINKED : 0) | (dev->resetting ? VGPU_STATUS_RESETTING : 0) |
	       (linked && dev->quarantine ? VGPU_STATUS_QUARANTINE : 0);
}

uint32_t vgpu_device_error(const struct vgpu_device *dev)
{
	if (dev->features_refused)
		return VGPU_ERROR_CALL_UNSUPPORTED;
	return dev->link >= LINK_RESUMING ? VGPU_OK : dev->link_error;
}

void vgpu_device_status_update(struct vgpu_device *dev)
{
	uint32_t status = vgpu_device_status(dev), error = vgpu_device_error(dev);

	if (status == dev->shown_status && error == dev->shown_error)
		return;
	dev->shown_status = status;
	dev->shown_error = error;
	dev->event_device |= 1;
	dev->ops.irq(dev->opaque, 0);
}

void vgpu_device_vectors_bind(struct vgpu_device *dev)
{
	for (unsigned int sid = 0; sid < dev->config.sessions; sid++)
		dev->ops.session_irq_fd(dev->opaque, sid, dev->session[sid].irq_fd,
					dev->vectors > 1 ? 1 + sid % (dev->vectors - 1) : 0);
}

void vgpu_device_reset(struct vgpu_device *dev)
{
	bool moved = dev->vectors != 1;

	/* 0 is the epoch of local clients */
	if (!++dev->epoch)
		dev->epoch = 1;
	dev->driver_features = 0;
	dev->features_refused = false;
	dev->vectors = 1;
	memset(dev->arg, 0, sizeof(dev->arg));
	vgpu_device_sessions_reset(dev);
	/* without a mediator there never was a session */
	dev->resetting = dev->met;
	if (moved)
		vgpu_device_vectors_bind(dev);
	dev->event = 0;
	dev->event_device = 0;
	dev->shown_status = vgpu_device_status(dev);
	dev->shown_error = vgpu_device_error(dev);
	vgpu_device_link_pump(dev);
}

static int refuse(char *ret_text, int rc, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static int refuse(char *ret_text, int rc, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (ret_text)
		vsnprintf(ret_text, VGPU_DEVICE_TEXT, format, args);
	va_end(args);
	return rc;
}

static int check_config(const struct vgpu_device_config *c, char *ret_text)
{
	if (!c->socket_path || !*c->socket_path)
		return refuse(ret_text, -EINVAL, "the path of the mediator's socket is missing");
	if (strlen(c->socket_path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return refuse(ret_text, -ENAMETOOLONG,
			      "the socket path has %zu characters, the limit is %zu",
			      strlen(c->socket_path),
			      sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
	if (c->window_bytes % VGPU_EXTENT_BYTES || c->window_bytes < 2 * VGPU_EXTENT_BYTES ||
	    c->window_bytes > VGPU_ARENA_BYTES)
		return refuse(ret_text, -EINVAL,
			      "the window's size is %llu bytes, not a multiple of 2 MiB from 4 MiB "
			      "to 256 GiB",
			      (unsigned long long)c->window_bytes);
	if (c->window_addr % VGPU_EXTENT_BYTES)
		return refuse(ret_text, -EINVAL,
			      "the window's address 0x%llx is not a multiple of 2 MiB",
			      (unsigned long long)c->window_addr);
	if (c->sessions < 1 || c->sessions > VGPU_DEVICE_SESSIONS)
		return refuse(ret_text, -EINVAL, "the number of sessions is %u, not from 1 to %u",
			      c->sessions, (unsigned int)VGPU_DEVICE_SESSIONS);
	return 0;
}

static int make_window(struct vgpu_device *dev, char *ret_text)
{
	dev->window_fd = memfd_create("vgpu-window", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (dev->window_fd < 0)
		return refuse(ret_text, -errno, "making the window's memfd failed: %s",
			      strerror(errno));
	if (ftruncate(dev->window_fd, (off_t)dev->config.window_bytes) < 0)
		return refuse(ret_text, -errno, "a window of %llu bytes cannot be made: %s",
			      (unsigned long long)dev->config.window_bytes, strerror(errno));
	/* A window that shrinks would kill whoever has it mapped. */
	if (fcntl(dev->window_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return refuse(ret_text, -errno, "sealing the window failed: %s", strerror(errno));
	dev->owner = calloc(dev->config.window_bytes >> VGPU_EXTENT_SHIFT, 1);
	return dev->owner ? 0 : refuse(ret_text, -ENOMEM, "out of memory");
}

static int make_eventfds(struct vgpu_device *dev, char *ret_text)
{
	for (unsigned int sid = 0; sid < dev->config.sessions; sid++) {
		struct vgpu_device_session *s = &dev->session[sid];

		s->doorbell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		s->irq_fd = s->doorbell_fd < 0 ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (s->irq_fd < 0)
			return refuse(ret_text, -errno, "making %u eventfds failed: %s",
				      2 * dev->config.sessions, strerror(errno));
	}
	return 0;
}

int vgpu_device_create(const struct vgpu_device_config *config, const struct vgpu_device_ops *ops,
		       void *opaque, struct vgpu_device **ret, char *ret_text)
{
	struct vgpu_device *dev;
	int rc = check_config(config, ret_text);

	if (rc)
		return rc;
	dev = calloc(1, sizeof(*dev));
	if (!dev)
		return refuse(ret_text, -ENOMEM, "out of memory");
	dev->ops = *ops;
	dev->opaque = opaque;
	dev->config = *config;
	dev->window_fd = dev->sock = -1;
	dev->epoch = dev->link_epoch = 1;
	dev->vectors = 1;
	dev->link_error = dev->shown_error = VGPU_ERROR_HOST_NO_MEDIATOR;
	for (unsigned int sid = 0; sid < VGPU_DEVICE_SESSIONS; sid++)
		dev->session[sid].doorbell_fd = dev->session[sid].irq_fd = -1;

	dev->socket_path = strdup(config->socket_path);
	if (!dev->socket_path)
		rc = refuse(ret_text, -ENOMEM, "out of memory");
	if (!rc)
		rc = make_window(dev, ret_text);
	if (!rc)
		rc = make_eventfds(dev, ret_text);
	if (rc) {
		vgpu_device_free(dev);
		return rc;
	}
	dev->config.socket_path = dev->socket_path;
	vgpu_device_vectors_bind(dev);
	*ret = dev;
	return 0;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void vgpu_device_free(struct vgpu_device *dev)
{
	if (!dev)
		return;
	if (dev->sock >= 0)
		dev->ops.watch(dev->opaque, dev->sock, false, false);
	close_fd(dev->sock);
	close_fd(dev->window_fd);
	for (unsigned int sid = 0; sid < VGPU_DEVICE_SESSIONS; sid++) {
		close_fd(dev->session[sid].doorbell_fd);
		close_fd(dev->session[sid].irq_fd);
	}
	free(dev->owner);
	free(dev->socket_path);
	free(dev);
}

int vgpu_device_window_fd(const struct vgpu_device *dev)
{
	return dev->window_fd;
}

int vgpu_device_doorbell_fd(const struct vgpu_device *dev, unsigned int sid)
{
	return dev->session[sid].doorbell_fd;
}
