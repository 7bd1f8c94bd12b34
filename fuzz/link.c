/* SPDX-License-Identifier: MIT */
/*
 * Packets of a link, as the mediator takes them: parsed, and runs of the heap taken from a window.
 * Input: records of one byte (bit 7: HELLO has been; bits 0..2: descriptors), one byte of length,
 * and that many bytes. What passes must keep what the rest of the mediator builds on.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/window/window.h"
#include "host/mediator/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WINDOW_BYTES = 64 << 20 };

static void promise(bool kept)
{
	if (!kept)
		abort();
}

static void check(const struct med_request *r, size_t bytes, unsigned int fds, bool greeted)
{
	promise(r->h.bytes == bytes);
	promise(r->h.sid < VGPU_LINK_SESSIONS);
	promise((r->h.type == VGPU_LINK_HELLO) == !greeted);
	promise(r->h.type != VGPU_LINK_OPEN || fds == 2);
	promise(r->h.type == VGPU_LINK_OPEN || r->h.type == VGPU_LINK_HELLO || !fds);
	if (r->h.type == VGPU_LINK_HELLO && fds)
		promise(r->hello.window_bytes != 0);
}

/* A run is taken once and only inside the window; then it can be given back. */
static void take(struct med_window *w, const struct vgpu_link_heap *h)
{
	int rc = med_window_take(w, h->window_offset, h->bytes);

	if (rc)
		return;
	promise(h->bytes && h->window_offset < w->bytes && h->bytes <= w->bytes - h->window_offset);
	promise(med_window_take(w, h->window_offset, h->bytes) == -EEXIST);
	promise(!med_window_put(w, h->window_offset, h->bytes));
	promise(!med_window_take(w, h->window_offset, h->bytes));
}

static void packet(struct med_window *w, uint8_t flags, const uint8_t *bytes, size_t count)
{
	const char *why = NULL;
	struct med_request r;
	unsigned int fds = flags & 7;
	bool greeted = flags & 0x80;

	if (med_link_parse(bytes, count, fds, greeted, &r, &why)) {
		promise(why && *why);
		return;
	}
	check(&r, count, fds, greeted);
	if (r.h.type == VGPU_LINK_HEAP_ADD)
		take(w, &r.heap);
	else if (r.h.type == VGPU_LINK_OPEN)
		med_window_take(w, r.open.control_offset, VGPU_CONTROL_BYTES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct med_window window;
	int fd;

	promise(!vgpu_window_create("fuzz-window", WINDOW_BYTES, &fd));
	promise(!med_window_init(&window, fd, WINDOW_BYTES));
	promise(med_window_same(&window, window.fd));
	while (size >= 2) {
		size_t count = data[1] < size - 2 ? data[1] : size - 2;

		packet(&window, data[0], data + 2, count);
		data += 2 + count;
		size -= 2 + count;
	}
	promise(!med_window_clear(&window));
	promise(!med_window_take(&window, 0, WINDOW_BYTES));
	med_window_uninit(&window);
	return 0;
}
