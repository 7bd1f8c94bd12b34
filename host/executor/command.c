/* SPDX-License-Identifier: MIT */
/* The commands of the stream class: checked against the session's tables, then given to the driver. */
#include "host/executor/internal.h"

static uint32_t resolve_copy(struct vx_session *s, const struct vx_call *c)
{
	const struct vgpu_call_copy *copy = c->copy;
	bool ok;

	switch (c->entry->op) {
	case VGPU_OP_COPY_H2D:
		ok = vx_ranges_cover(&s->heap, copy->src, copy->bytes) &&
		     vx_ranges_hold(&s->device, copy->dst, copy->bytes);
		break;
	case VGPU_OP_COPY_D2H:
		ok = vx_ranges_hold(&s->device, copy->src, copy->bytes) &&
		     vx_ranges_cover(&s->heap, copy->dst, copy->bytes);
		break;
	default:
		ok = vx_ranges_hold(&s->device, copy->src, copy->bytes) &&
		     vx_ranges_hold(&s->device, copy->dst, copy->bytes);
	}
	return ok ? 0 : VGPU_ERROR_CALL_ADDRESS;
}

static uint32_t resolve_launch(struct vx_session *s, struct vx_call *c)
{
	struct vx_function *f = vx_table_get(&s->functions, c->launch->function);

	if (!f || f->module->dying)
		return VGPU_ERROR_CALL_HANDLE;
	if (c->data_bytes != f->param_bytes)
		return VGPU_ERROR_CALL_INVALID;
	c->object = f;
	return 0;
}

uint32_t vx_command_resolve(struct vx_session *s, struct vx_call *c)
{
	const struct vx_stream *stream = &s->stream[c->entry->stream];

	if (!stream->used || stream->dying)
		return VGPU_ERROR_CALL_HANDLE;
	switch (c->entry->op) {
	case VGPU_OP_LAUNCH:
	case VGPU_OP_LAUNCH_FIRST:
		return resolve_launch(s, c);
	case VGPU_OP_COPY_H2D:
	case VGPU_OP_COPY_D2H:
	case VGPU_OP_COPY_D2D:
		return resolve_copy(s, c);
	case VGPU_OP_COPY_INLINE:
		return vx_ranges_hold(&s->device, c->inlined->dst, c->data_bytes) ?
			       0 :
			       VGPU_ERROR_CALL_ADDRESS;
	case VGPU_OP_MEMSET:
		return vx_ranges_hold(&s->device, c->memset->dst,
				      c->memset->count * c->memset->width) ?
			       0 :
			       VGPU_ERROR_CALL_ADDRESS;
	case VGPU_OP_EVENT_RECORD:
	case VGPU_OP_STREAM_WAIT_EVENT:
		c->object = vx_table_get(&s->events, c->event->event);
		return c->object ? 0 : VGPU_ERROR_CALL_HANDLE;
	default: /* STREAM_MARK */
		return 0;
	}
}

CUresult vx_command_launch(const struct vx_gpu *gpu, const struct vx_call *c, CUstream stream)
{
	const struct vgpu_call_launch *l = c->launch;
	const struct vx_function *f = c->object;
	size_t bytes = c->data_bytes;
	void *extra[] = { CU_LAUNCH_PARAM_BUFFER_POINTER, (void *)(uintptr_t)c->data,
			  CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes, CU_LAUNCH_PARAM_END };

	return gpu->cu.cuLaunchKernel(f->cu, l->grid[0], l->grid[1], l->grid[2], l->block[0],
				      l->block[1], l->block[2], l->shared_bytes, stream, NULL,
				      bytes ? extra : NULL);
}

/* The part of a copy from `at` on that lies in one registration. */
static uint64_t heap_part(struct vx_session *s, uint64_t at, uint64_t bytes)
{
	const struct vx_range *r = vx_ranges_find(&s->heap, at);
	uint64_t here = r->bytes - (at - r->start);

	return here < bytes ? here : bytes;
}

static CUresult copy_part(struct vx_session *s, const struct vx_call *c, CUstream stream,
			  uint64_t *ret_bytes)
{
	const struct cuda_driver *cu = &s->gpu->cu;
	uint64_t dst = c->copy->dst + c->progress;
	uint64_t src = c->copy->src + c->progress;
	uint64_t bytes = c->copy->bytes - c->progress;

	switch (c->entry->op) {
	case VGPU_OP_COPY_H2D:
		*ret_bytes = bytes = heap_part(s, src, bytes);
		s->stats.bytes_h2d += bytes;
		return cu->cuMemcpyHtoDAsync(dst, (const void *)(uintptr_t)src, bytes, stream);
	case VGPU_OP_COPY_D2H:
		*ret_bytes = bytes = heap_part(s, dst, bytes);
		s->stats.bytes_d2h += bytes;
		return cu->cuMemcpyDtoHAsync((void *)(uintptr_t)dst, src, bytes, stream);
	default:
		*ret_bytes = bytes;
		s->stats.bytes_d2d += bytes;
		return cu->cuMemcpyDtoDAsync(dst, src, bytes, stream);
	}
}

static bool copy_issue(struct vx_session *s, struct vx_call *c, CUstream stream, uint64_t budget,
		       uint64_t *commands, uint32_t *ret_status)
{
	while (budget-- > 0) {
		uint64_t part;

		*ret_status = copy_part(s, c, stream, &part);
		++*commands;
		c->progress += part;
		if (*ret_status || c->progress == c->copy->bytes)
			return true;
	}
	return false;
}

static CUresult memset_issue(const struct cuda_driver *cu, const struct vgpu_call_memset *m,
			     CUstream stream)
{
	switch (m->width) {
	case 1:
		return cu->cuMemsetD8Async(m->dst, (unsigned char)m->value, m->count, stream);
	case 2:
		return cu->cuMemsetD16Async(m->dst, (unsigned short)m->value, m->count, stream);
	default:
		return cu->cuMemsetD32Async(m->dst, m->value, m->count, stream);
	}
}

static CUresult mark_issue(struct vx_session *s, const struct vx_call *c, CUstream stream)
{
	CUdeviceptr to = s->control_device + VGPU_STREAM_OFFSET +
			 c->entry->stream * sizeof(struct vgpu_stream_progress) +
			 offsetof(struct vgpu_stream_progress, completed);

	return s->gpu->cu.cuStreamWriteValue64(stream, to, c->mark->value, 0);
}

bool vx_command_issue(struct vx_session *s, struct vx_call *c, CUstream stream, uint64_t budget,
		      uint64_t *commands, uint32_t *ret_status)
{
	const struct cuda_driver *cu = &s->gpu->cu;
	CUresult rc;

	switch (c->entry->op) {
	case VGPU_OP_COPY_H2D:
	case VGPU_OP_COPY_D2H:
	case VGPU_OP_COPY_D2D:
		return copy_issue(s, c, stream, budget, commands, ret_status);
	case VGPU_OP_LAUNCH:
	case VGPU_OP_LAUNCH_FIRST:
		rc = vx_command_launch(s->gpu, c, stream);
		s->stats.launches++;
		break;
	case VGPU_OP_COPY_INLINE:
		rc = cu->cuMemcpyHtoDAsync(c->inlined->dst, c->data, c->data_bytes, stream);
		s->stats.bytes_h2d += c->data_bytes;
		break;
	case VGPU_OP_MEMSET:
		rc = memset_issue(cu, c->memset, stream);
		break;
	case VGPU_OP_STREAM_MARK:
		rc = mark_issue(s, c, stream);
		break;
	case VGPU_OP_EVENT_RECORD:
		rc = cu->cuEventRecord(((struct vx_event *)c->object)->cu, stream);
		break;
	default: /* STREAM_WAIT_EVENT */
		rc = cu->cuStreamWaitEvent(stream, ((struct vx_event *)c->object)->cu, 0);
	}
	++*commands;
	*ret_status = rc;
	return true;
}
