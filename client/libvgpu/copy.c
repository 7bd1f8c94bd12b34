// SPDX-License-Identifier: MIT
/* Copies and memsets: which way each one takes. */
#include "client/libvgpu/internal.h"

vgpu_status vgpu_copy_post(struct vgpu_session *s, uint32_t op, uint64_t dst, uint64_t src,
			   uint64_t bytes, uint32_t stream)
{
	struct vgpu_call_copy head = { .dst = dst, .src = src, .bytes = bytes };

	return vgpu_call_post(s, &(struct vgpu_call){ .op = op, .stream = stream, .stream_class = true,
						      .head = &head, .head_bytes = sizeof(head) });
}

vgpu_status vgpu_copy_inline(struct vgpu_session *s, uint64_t dst, const void *src, size_t bytes,
			     uint32_t stream)
{
	struct vgpu_call_inline head = { .dst = dst, .bytes = (uint32_t)bytes };

	return vgpu_call_post(s, &(struct vgpu_call){ .op = VGPU_OP_COPY_INLINE, .stream = stream,
						      .stream_class = true, .head = &head,
						      .head_bytes = sizeof(head), .tail = src,
						      .tail_bytes = (uint32_t)bytes });
}

/* Inside one block of vgpu_host_malloc: the GPU reaches it as it is. */
static bool is_pinned(struct vgpu_session *s, const void *memory, size_t bytes)
{
	uint64_t at = (uint64_t)(uintptr_t)memory;

	return at - (uint64_t)(uintptr_t)s->transport->heap < s->transport->heap_limit &&
	       vgpu_ranges_holds(&s->pinned.user, at, bytes);
}

static vgpu_status check(struct vgpu_session *s, struct vgpu_stream *stream, uint64_t device,
			 const void *host, size_t bytes, const char *what)
{
	vgpu_status status = vgpu_session_check(s);

	if (status)
		return status;
	if (unlikely(stream && stream->session != s))
		return vgpu_fail(VGPU_ERROR_CALL_INVALID, "%s: the stream belongs to another session", what);
	if (!bytes)
		return VGPU_OK;
	if (unlikely(!host))
		return vgpu_fail(VGPU_ERROR_CALL_INVALID, "%s: %zu bytes, the host address is NULL", what, bytes);
	return vgpu_memory_check(s, device, bytes, what);
}

static vgpu_status h2d(struct vgpu_session *s, uint64_t dst, const void *src, size_t bytes,
		       struct vgpu_stream *stream, bool wait)
{
	uint32_t handle = vgpu_stream_handle(stream);
	vgpu_status status = check(s, stream, dst, src, bytes, "copy to the GPU");

	if (status || !bytes)
		return status;
	if (is_pinned(s, src, bytes)) {
		status = vgpu_copy_post(s, VGPU_OP_COPY_H2D, dst, (uintptr_t)src, bytes, handle);
		return status || !wait ? status : vgpu_stream_finish(s, handle, bytes);
	}
	if (bytes <= VGPU_INLINE_MAX)
		return vgpu_copy_inline(s, dst, src, bytes, handle);
	return vgpu_pipeline_h2d(s, dst, src, bytes, handle);
}

static vgpu_status d2h(struct vgpu_session *s, void *dst, uint64_t src, size_t bytes,
		       struct vgpu_stream *stream, bool wait)
{
	uint32_t handle = vgpu_stream_handle(stream);
	vgpu_status status = check(s, stream, src, dst, bytes, "copy from the GPU");

	if (status || !bytes)
		return status;
	if (!is_pinned(s, dst, bytes))
		return vgpu_pipeline_d2h(s, dst, src, bytes, handle);
	status = vgpu_copy_post(s, VGPU_OP_COPY_D2H, (uintptr_t)dst, src, bytes, handle);
	return status || !wait ? status : vgpu_stream_finish(s, handle, bytes);
}

vgpu_status vgpu_copy_h2d(struct vgpu_session *s, uint64_t dst, const void *src, size_t bytes)
{
	return h2d(s, dst, src, bytes, NULL, true);
}

vgpu_status vgpu_copy_h2d_async(struct vgpu_session *s, uint64_t dst, const void *src, size_t bytes,
				struct vgpu_stream *stream)
{
	return h2d(s, dst, src, bytes, stream, false);
}

vgpu_status vgpu_copy_d2h(struct vgpu_session *s, void *dst, uint64_t src, size_t bytes)
{
	return d2h(s, dst, src, bytes, NULL, true);
}

vgpu_status vgpu_copy_d2h_async(struct vgpu_session *s, void *dst, uint64_t src, size_t bytes,
				struct vgpu_stream *stream)
{
	return d2h(s, dst, src, bytes, stream, false);
}

vgpu_status vgpu_copy_d2d_async(struct vgpu_session *s, uint64_t dst, uint64_t src, size_t bytes,
				struct vgpu_stream *stream)
{
	vgpu_status status = vgpu_session_check(s);

	if (status)
		return status;
	if (stream && stream->session != s)
		return vgpu_fail(VGPU_ERROR_CALL_INVALID, "copy on the GPU: the stream belongs to another session");
	if (!bytes)
		return VGPU_OK;
	status = vgpu_memory_check(s, dst, bytes, "copy on the GPU, destination");
	if (!status)
		status = vgpu_memory_check(s, src, bytes, "copy on the GPU, source");
	return status ? status : vgpu_copy_post(s, VGPU_OP_COPY_D2D, dst, src, bytes, vgpu_stream_handle(stream));
}

vgpu_status vgpu_copy_d2d(struct vgpu_session *s, uint64_t dst, uint64_t src, size_t bytes)
{
	return vgpu_copy_d2d_async(s, dst, src, bytes, NULL);
}

static vgpu_status set(struct vgpu_session *s, uint64_t dst, uint32_t value, size_t count, uint32_t width,
		       struct vgpu_stream *stream)
{
	struct vgpu_call_memset head = { .dst = dst, .count = count, .value = value, .width = width };
	vgpu_status status = vgpu_session_check(s);

	if (status)
		return status;
	if (stream && stream->session != s)
		return vgpu_fail(VGPU_ERROR_CALL_INVALID, "memset: the stream belongs to another session");
	if (dst % width)
		return vgpu_fail(VGPU_ERROR_CALL_INVALID, "memset: address %#llx is not a multiple of %u bytes",
				 (unsigned long long)dst, width);
	if (!count)
		return VGPU_OK;
	if (count > SIZE_MAX / width)
		return vgpu_fail(VGPU_ERROR_CALL_ADDRESS, "memset: %zu elements are more than any memory", count);
	status = vgpu_memory_check(s, dst, (uint64_t)count * width, "memset");
	if (status)
		return status;
	return vgpu_call_post(s, &(struct vgpu_call){ .op = VGPU_OP_MEMSET, .stream = vgpu_stream_handle(stream),
						      .stream_class = true, .head = &head,
						      .head_bytes = sizeof(head) });
}

vgpu_status vgpu_memset8_async(struct vgpu_session *s, uint64_t dst, uint8_t value, size_t count,
			       struct vgpu_stream *stream)
{
	return set(s, dst, value, count, 1, stream);
}

vgpu_status vgpu_memset16_async(struct vgpu_session *s, uint64_t dst, uint16_t value, size_t count,
				struct vgpu_stream *stream)
{
	return set(s, dst, value, count, 2, stream);
}

vgpu_status vgpu_memset32_async(struct vgpu_session *s, uint64_t dst, uint32_t value, size_t count,
				struct vgpu_stream *stream)
{
	return set(s, dst, value, count, 4, stream);
}

vgpu_status vgpu_memset8(struct vgpu_session *s, uint64_t dst, uint8_t value, size_t count)
{
	return set(s, dst, value, count, 1, NULL);
}

vgpu_status vgpu_memset16(struct vgpu_session *s, uint64_t dst, uint16_t value, size_t count)
{
	return set(s, dst, value, count, 2, NULL);
}

vgpu_status vgpu_memset32(struct vgpu_session *s, uint64_t dst, uint32_t value, size_t count)
{
	return set(s, dst, value, count, 4, NULL);
}
