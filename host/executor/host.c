/* SPDX-License-Identifier: MIT */
/* Calls that are answered at once, without the GPU's queues. */
#include "host/executor/internal.h"

static void device_info(struct vx_session *s, const struct vx_call *c)
{
	struct vgpu_device_info info = s->gpu->info;
	__u64 value[6] = { sizeof(info) };
	uint64_t free_bytes, total;
	uint64_t bytes = c->buffer->bytes < sizeof(info) ? c->buffer->bytes : sizeof(info);

	if (bytes && !vx_ranges_cover(&s->heap, c->buffer->address, bytes)) {
		vx_reply_call(s, c, VGPU_ERROR_CALL_ADDRESS, NULL);
		return;
	}
	vx_quota_info(&s->quota, &free_bytes, &total);
	if (total < info.total_bytes)
		info.total_bytes = total;
	if (bytes)
		memcpy((void *)(uintptr_t)c->buffer->address, &info, bytes);
	vx_reply_call(s, c, 0, value);
}

static void mem_info(struct vx_session *s, const struct vx_call *c)
{
	__u64 value[6] = { 0 };
	uint64_t free_bytes, total;

	vx_quota_info(&s->quota, &free_bytes, &total);
	value[0] = free_bytes;
	value[1] = total;
	vx_reply_call(s, c, 0, value);
}

static void occupancy(struct vx_session *s, const struct vx_call *c)
{
	const struct vgpu_call_occupancy *o = c->occupancy;
	struct vx_function *f = vx_table_get(&s->functions, o->function);
	__u64 value[6] = { 0 };
	uint32_t status;
	int blocks = 0;

	if (!f || f->module->dying) {
		vx_reply_call(s, c, VGPU_ERROR_CALL_HANDLE, NULL);
		return;
	}
	status = s->gpu->cu.cuOccupancyMaxActiveBlocksPerMultiprocessor(
		&blocks, f->cu, (int)o->block_threads, o->dynamic_shared_bytes);
	value[0] = (__u64)blocks;
	vx_reply_call(s, c, vx_check(s, status), value);
}

static void stream_query(struct vx_session *s, const struct vx_call *c)
{
	struct vx_stream *st = &s->stream[c->entry->stream];

	if (!st->used || st->dying)
		vx_reply_call(s, c, VGPU_ERROR_CALL_HANDLE, NULL);
	else if (!vx_stream_idle(s, st))
		vx_reply_call(s, c, CUDA_ERROR_NOT_READY, NULL);
	else
		vx_reply_call(s, c, vx_check(s, s->gpu->cu.cuStreamQuery(st->cu)), NULL);
}

void vx_host_call(struct vx_session *s, const struct vx_call *c)
{
	switch (c->entry->op) {
	case VGPU_OP_NOP:
		vx_reply_call(s, c, 0, NULL);
		break;
	case VGPU_OP_DEVICE_INFO:
		device_info(s, c);
		break;
	case VGPU_OP_MEM_INFO:
		mem_info(s, c);
		break;
	case VGPU_OP_OCCUPANCY:
		occupancy(s, c);
		break;
	case VGPU_OP_STREAM_QUERY:
		stream_query(s, c);
		break;
	case VGPU_OP_EVENT_CREATE:
		vx_event_create(s, c);
		break;
	case VGPU_OP_EVENT_DESTROY:
		vx_event_destroy(s, c);
		break;
	case VGPU_OP_EVENT_QUERY:
		vx_event_query(s, c);
		break;
	default: /* EVENT_ELAPSED */
		vx_event_elapsed(s, c);
	}
}
