// SPDX-License-Identifier: MIT
/* The shape of what links send: one function, no state, run by the fuzzer as it is. */
#include "host/mediator/internal.h"

#include <errno.h>
#include <string.h>

static int bad(const char **ret_why, const char *why)
{
	*ret_why = why;
	return -EPROTO;
}

/* Size of a message and the number of descriptors that may come with it. */
static bool shape(uint32_t type, size_t *ret_bytes, unsigned int *ret_least, unsigned int *ret_most)
{
	*ret_least = 0;
	*ret_most = 0;
	switch (type) {
	case VGPU_LINK_HELLO:
		*ret_bytes = sizeof(struct vgpu_link_hello);
		*ret_most = 1;
		return true;
	case VGPU_LINK_OPEN:
		*ret_least = *ret_most = 2;
		*ret_bytes = sizeof(struct vgpu_link_open);
		return true;
	case VGPU_LINK_RESUME:
		*ret_bytes = sizeof(struct vgpu_link_open);
		return true;
	case VGPU_LINK_HEAP_ADD:
		*ret_bytes = sizeof(struct vgpu_link_heap);
		return true;
	case VGPU_LINK_CLOSE:
	case VGPU_LINK_RESET:
	case VGPU_LINK_RESUMED:
		*ret_bytes = sizeof(struct vgpu_link_header);
		return true;
	default:
		return false;
	}
}

static int check_hello(const struct vgpu_link_hello *m, unsigned int fds, const char **ret_why)
{
	if (m->magic != VGPU_LINK_MAGIC)
		return bad(ret_why, "HELLO's magic number is wrong");
	if (m->kind != VGPU_LINK_KIND_STUB && m->kind != VGPU_LINK_KIND_LOCAL)
		return bad(ret_why, "HELLO's kind is unknown");
	if (m->kind == VGPU_LINK_KIND_STUB && !fds)
		return bad(ret_why, "a stub's HELLO comes without its window");
	if (m->kind == VGPU_LINK_KIND_LOCAL && m->h.epoch)
		return bad(ret_why, "a local client has no epoch");
	if (m->version_oldest > m->version || m->resume > 1)
		return bad(ret_why, "HELLO's fields contradict each other");
	if (fds && !m->window_bytes)
		return bad(ret_why, "HELLO's window has no size");
	if (m->reserved[0] || m->reserved[1] || m->reserved[2])
		return bad(ret_why, "a reserved field is not zero");
	return 0;
}

static int check_body(const struct med_request *r, unsigned int fds, const char **ret_why)
{
	switch (r->h.type) {
	case VGPU_LINK_HELLO:
		return check_hello(&r->hello, fds, ret_why);
	case VGPU_LINK_OPEN:
	case VGPU_LINK_RESUME:
		if (r->open.reserved[0] || r->open.reserved[1] || r->open.reserved[2])
			return bad(ret_why, "a reserved field is not zero");
		return 0;
	case VGPU_LINK_HEAP_ADD:
		if (r->heap.reserved || r->heap.flags & ~VGPU_LINK_FLAG_RESUME)
			return bad(ret_why, "a reserved field is not zero");
		return 0;
	default:
		return 0;
	}
}

int med_link_parse(const void *packet, size_t bytes, unsigned int fds, bool greeted,
		   struct med_request *ret, const char **ret_why)
{
	struct med_request r;
	unsigned int least, most;
	size_t expected;
	int rc;

	memset(&r, 0, sizeof(r));
	if (bytes < sizeof(r.h) || bytes > sizeof(r))
		return bad(ret_why, "the packet's length fits no message");
	memcpy(&r, packet, bytes);
	if (r.h.bytes != bytes)
		return bad(ret_why, "the message's length is not the packet's");
	if (!shape(r.h.type, &expected, &least, &most))
		return bad(ret_why, "the message's type is unknown");
	if (bytes != expected)
		return bad(ret_why, "the length does not fit the message's type");
	if (fds < least || fds > most)
		return bad(ret_why, "the number of descriptors does not fit the message's type");
	if (greeted == (r.h.type == VGPU_LINK_HELLO))
		return bad(ret_why, greeted ? "a second HELLO" : "the first message is not HELLO");
	if (r.h.sid >= VGPU_LINK_SESSIONS)
		return bad(ret_why, "the session's number is too large");
	rc = check_body(&r, fds, ret_why);
	if (rc)
		return rc;
	*ret = r;
	return 0;
}
