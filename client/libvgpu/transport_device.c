// SPDX-License-Identifier: MIT
/* /dev/vgpuN: the driver in the guest keeps window, doorbell and waiting. */
#include "client/libvgpu/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "protocol/uapi/vgpu.h"

enum { DOORBELL_BYTES = 4096 };

struct device {
	struct vgpu_transport t;
	int fd;
	void *view_area; /* t.view lies in it, so that the driver may map it by whole extents */
};

static struct device *device_of(struct vgpu_transport *t)
{
	return (struct device *)t;
}

static int repeat_ioctl(int fd, unsigned long request, void *argument)
{
	int rc;

	do {
		rc = ioctl(fd, request, argument);
	} while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : 0;
}

static void device_free(struct device *d)
{
	if (d->t.control)
		munmap(d->t.control, VGPU_CONTROL_BYTES);
	if (d->t.doorbell)
		munmap((void *)d->t.doorbell, DOORBELL_BYTES);
	if (d->t.heap)
		munmap(d->t.heap, d->t.heap_limit);
	if (d->view_area)
		munmap(d->view_area, d->t.heap_limit + VGPU_EXTENT_BYTES);
	if (d->fd >= 0)
		close(d->fd);
	free(d);
}

static vgpu_status device_info(struct device *d, const char *path)
{
	struct vgpu_uapi_info info = { 0 };
	int rc = repeat_ioctl(d->fd, VGPU_IOC_INFO, &info);

	if (rc == -ENODEV)
		return vgpu_fail(VGPU_ERROR_HOST_NO_MEDIATOR,
				 "open %s: the device was removed, is suspended or is being reset", path);
	if (rc)
		return vgpu_fail(VGPU_ERROR_CALL_UNSUPPORTED, "open %s: it does not answer as a vgpu device: %s", path,
				 strerror(-rc));
	if (info.version != VGPU_UAPI_VERSION)
		return vgpu_fail(VGPU_ERROR_HOST_VERSION, "open %s: the driver speaks version %u, this library %u", path,
				 info.version, VGPU_UAPI_VERSION);
	if (!(info.status & VGPU_STATUS_LINKED)) {
		vgpu_status status = info.error ? info.error : VGPU_ERROR_HOST_NO_MEDIATOR;

		return vgpu_fail(status, "open %s: %s (%s)", path, vgpu_status_text(status), vgpu_status_name(status));
	}
	d->t.heap_limit = info.window_bytes < VGPU_ARENA_BYTES ? info.window_bytes : VGPU_ARENA_BYTES;
	if (!d->t.heap_limit)
		return vgpu_fail(VGPU_ERROR_HOST_VERSION, "open %s: the device has no window", path);
	return VGPU_OK;
}

static void *map(struct device *d, uint64_t offset, uint64_t bytes, void *at)
{
	void *p = mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | (at ? MAP_FIXED : 0), d->fd, (off_t)offset);

	if (p == MAP_FAILED)
		return NULL;
	madvise(p, bytes, MADV_DONTFORK); /* the driver says so too */
	return p;
}

static vgpu_status reserve_view(struct device *d, const char *path)
{
	void *area = mmap(NULL, d->t.heap_limit + VGPU_EXTENT_BYTES, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (area == MAP_FAILED)
		return vgpu_fail(VGPU_ERROR_CALL_NO_MEMORY, "open %s: no address range of %llu MiB: %s", path,
				 (unsigned long long)(d->t.heap_limit >> 20), strerror(errno));
	d->view_area = area;
	d->t.view = (uint8_t *)(((uintptr_t)area + VGPU_EXTENT_BYTES - 1) & ~(uintptr_t)(VGPU_EXTENT_BYTES - 1));
	return VGPU_OK;
}

static vgpu_status device_start(struct device *d, const struct vgpu_transport_open *how)
{
	struct vgpu_uapi_open o = { .arena = d->t.arena, .features = VGPU_SESSION_FEATURE_BASE,
				    .timeout_ms = how->timeout_ms };
	int rc = repeat_ioctl(d->fd, VGPU_IOC_OPEN, &o);

	if (rc == -EIO || (rc == -ENODEV && o.result))
		return vgpu_fail(o.result, "open %s: %s (%s); asked %u, limit %u", how->path, vgpu_status_text(o.result),
				 vgpu_status_name(o.result), o.value, o.limit);
	if (rc)
		return vgpu_fail(rc == -ETIMEDOUT || rc == -ENODEV ? VGPU_ERROR_HOST_NO_MEDIATOR :
								     VGPU_ERROR_CALL_NO_MEMORY,
				 "open %s: %s", how->path, strerror(-rc));
	d->t.control = map(d, VGPU_MMAP_CONTROL, VGPU_CONTROL_BYTES, NULL);
	d->t.doorbell = map(d, VGPU_MMAP_DOORBELL, DOORBELL_BYTES, NULL);
	if (!d->t.control || !d->t.doorbell)
		return vgpu_fail(VGPU_ERROR_CALL_NO_MEMORY, "open %s: cannot map the session: %s", how->path,
				 strerror(errno));
	return vgpu_control_check(d->t.control, d->t.arena);
}

static vgpu_status device_open(const struct vgpu_transport_open *how, struct vgpu_transport **ret)
{
	struct device *d = calloc(1, sizeof(*d));
	vgpu_status status;

	if (!d)
		return vgpu_fail(VGPU_ERROR_CALL_NO_MEMORY, "open %s: no memory", how->path);
	d->t.ops = &vgpu_transport_device;
	d->fd = open(how->path, O_RDWR | O_CLOEXEC);
	if (d->fd < 0)
		status = vgpu_fail(VGPU_ERROR_HOST_NO_MEDIATOR, "open %s: %s; is the vgpu driver loaded, and may this user?",
				   how->path, strerror(errno));
	else
		status = device_info(d, how->path);
	if (!status)
		status = vgpu_arena_reserve(d->t.heap_limit, &d->t.arena, &d->t.heap);
	if (!status)
		status = reserve_view(d, how->path);
	if (!status)
		status = device_start(d, how);
	if (status) {
		device_free(d);
		return status;
	}
	*ret = &d->t;
	return VGPU_OK;
}

static vgpu_status device_heap_add(struct vgpu_transport *t, uint64_t heap_offset, uint64_t bytes,
				   uint32_t timeout_ms, bool *ret_lost)
{
	struct vgpu_uapi_heap_add add = { .heap_offset = heap_offset, .bytes = bytes };
	struct device *d = device_of(t);
	int rc = repeat_ioctl(d->fd, VGPU_IOC_HEAP_ADD, &add); /* the driver has a limit of its own */

	*ret_lost = false; /* nobody asks after ENODEV, and else there is an answer */
	if (rc == -EIO || (rc == -ENODEV && add.result))
		return vgpu_fail(add.result, "pinned memory, %llu MiB more: %s (%s); asked %u, limit %u",
				 (unsigned long long)(bytes >> 20), vgpu_status_text(add.result),
				 vgpu_status_name(add.result), add.value, add.limit);
	if (rc)
		return vgpu_fail(rc == -ENOMEM ? VGPU_ERROR_CALL_HEAP_FULL : VGPU_ERROR_SESSION_LINK,
				 "pinned memory, %llu MiB more: %s", (unsigned long long)(bytes >> 20), strerror(-rc));
	if (map(d, VGPU_MMAP_HEAP + heap_offset, bytes, t->heap + heap_offset) &&
	    map(d, VGPU_MMAP_VIEW + heap_offset, bytes, t->view + heap_offset))
		return VGPU_OK;
	rc = errno;
	vgpu_arena_keep(t->heap + heap_offset, bytes);
	vgpu_arena_keep(t->view + heap_offset, bytes);
	*ret_lost = true; /* the driver has added it and will not do so again */
	return vgpu_fail(VGPU_ERROR_CALL_NO_MEMORY, "pinned memory: cannot map %llu MiB: %s",
			 (unsigned long long)(bytes >> 20), strerror(rc));
}

static void device_wait_word(struct vgpu_transport *t, uint32_t *word, uint32_t expected, uint64_t timeout_ns)
{
	struct vgpu_uapi_wait w = { .offset = (uint32_t)((uint8_t *)word - (uint8_t *)t->control),
				    .expected = expected, .timeout_ns = timeout_ns };
	uint32_t none = 0;

	if (ioctl(device_of(t)->fd, VGPU_IOC_WAIT, &w) < 0 && errno == ENODEV)
		atomic_compare_exchange_strong(&t->dead, &none, w.result ? w.result : VGPU_ERROR_SESSION_CLOSED);
}

static void device_doorbell(struct vgpu_transport *t)
{
	*t->doorbell = 0;
}

static void device_close(struct vgpu_transport *t)
{
	device_free(device_of(t)); /* the driver ends the session with the file */
}

static void device_forked(struct vgpu_transport *t)
{
	struct device *d = device_of(t);

	close(d->fd);
	d->fd = -1;
	/* these were not inherited */
	t->control = NULL;
	t->doorbell = NULL;
	/* now nothing can have been mapped into the holes; the child may want the arena */
	munmap(t->heap, t->heap_limit);
	munmap(d->view_area, t->heap_limit + VGPU_EXTENT_BYTES);
	t->heap = t->view = d->view_area = NULL;
}

static void device_forget(struct vgpu_transport *t)
{
	device_free(device_of(t));
}

const struct vgpu_transport_ops vgpu_transport_device = {
	.kind = 1,
	.open = device_open,
	.heap_add = device_heap_add,
	.wait_word = device_wait_word,
	.doorbell = device_doorbell,
	.close = device_close,
	.forget = device_forget,
	.forked = device_forked,
};
