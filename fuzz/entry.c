/* SPDX-License-Identifier: MIT */
/*
 * Ring entries: the bytes lie in a ring as a client would have written them (the first byte says
 * how close to its end), are taken as the executor takes them, and validated. What passes must
 * keep the promises that the rest of the executor builds on.
 */
#include <stdlib.h>

#include "common/ring/ring.h"
#include "host/executor/validate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t *control_area;
static _Alignas(64) uint8_t entry[(VGPU_ENTRY_MAX + 63) / 64 * 64];

static void promise(bool kept)
{
	if (!kept)
		abort();
}

static void check(const struct vx_call *c, size_t bytes)
{
	const uint8_t *end = entry + bytes;

	promise(c->entry == (const struct vgpu_entry *)entry);
	promise(c->entry->slot == VGPU_NO_SLOT || c->entry->slot < VGPU_SLOTS);
	promise(c->entry->stream < VGPU_STREAMS);
	promise(c->class != VGPU_CLASS_WAIT || c->entry->slot != VGPU_NO_SLOT);
	promise((const uint8_t *)c->payload <= end && c->data >= (const uint8_t *)c->payload);
	promise(c->data + c->data_bytes == end);
	switch (c->entry->op) {
	case VGPU_OP_COPY_H2D:
	case VGPU_OP_COPY_D2H:
	case VGPU_OP_COPY_D2D:
		promise(c->copy->bytes && c->copy->src + c->copy->bytes >= c->copy->src &&
			c->copy->dst + c->copy->bytes >= c->copy->dst);
		break;
	case VGPU_OP_MEMSET:
		promise(c->memset->count <= UINT64_MAX / c->memset->width);
		break;
	case VGPU_OP_COPY_INLINE:
		promise(c->data_bytes == c->inlined->bytes && c->data_bytes <= VGPU_INLINE_MAX);
		break;
	case VGPU_OP_LAUNCH:
	case VGPU_OP_LAUNCH_FIRST:
		promise(c->data_bytes == c->launch->param_bytes && c->data_bytes <= VGPU_PARAMS_MAX);
		break;
	case VGPU_OP_FUNCTION_GET:
	case VGPU_OP_GLOBAL_GET:
		promise(c->data_bytes && c->data_bytes < VGPU_NAME_MAX);
		break;
	case VGPU_OP_MODULE_LOAD:
		promise(c->module->image_bytes <= VGPU_IMAGE_MAX && c->module->log_bytes <= VGPU_LOG_MAX);
		break;
	default:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vgpu_consumer consumer = { 0 };
	struct vx_call call;
	int bytes;

	if (!control_area)
		control_area = calloc(1, 2 << 20);
	if (!control_area || size < 1 || size > VGPU_ENTRY_MAX)
		return 0;
	consumer.control = vgpu_control_at(control_area);
	consumer.head = VGPU_RING_BYTES - VGPU_CELL_BYTES * (1 + data[0] % 8u);
	vgpu_ring_write(&consumer.control, consumer.head, data + 1, size - 1);
	*vgpu_ring_stamp(&consumer.control, consumer.head) = vgpu_ring_lap(consumer.head);
	bytes = vgpu_ring_take(&consumer, entry);
	if (bytes > 0 && vx_validate(entry, (size_t)bytes, &call) == 0)
		check(&call, (size_t)bytes);
	return 0;
}
