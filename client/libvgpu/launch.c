// SPDX-License-Identifier: MIT
/* Launches. Everything that the driver would refuse is refused here, so that they can be posted. */
#include "client/libvgpu/internal.h"

enum { SMALL_PARAMS = 512 }; /* built on the stack and copied once */

struct launch_entry {
	struct vgpu_entry e;
	struct vgpu_call_launch l;
	uint8_t params[SMALL_PARAMS];
};
/* params follow the structures without a gap, as on the wire */
VGPU_WIRE_AT(struct launch_entry, params, sizeof(struct vgpu_entry) + sizeof(struct vgpu_call_launch));

static vgpu_status refuse_dimension(const char *what, const uint32_t is[3], const int max[3])
{
	return vgpu_fail(is[0] && is[1] && is[2] ? VGPU_ERROR_CALL_TOO_LARGE : VGPU_ERROR_CALL_INVALID,
			 "launch: %s %u x %u x %u, allowed are 1 to %d x %d x %d", what, is[0], is[1], is[2],
			 max[0], max[1], max[2]);
}

static bool fits(const uint32_t is[3], const int max[3])
{
	return is[0] - 1 < (uint32_t)max[0] && is[1] - 1 < (uint32_t)max[1] && is[2] - 1 < (uint32_t)max[2];
}

static vgpu_status check(const struct vgpu_function *f, const struct vgpu_call_launch *l)
{
	const struct vgpu_session *s = f->session;
	const int *block = &s->info.attribute[VGPU_ATTR_MAX_BLOCK_X];
	const int *grid = &s->info.attribute[VGPU_ATTR_MAX_GRID_X];
	uint64_t threads = (uint64_t)l->block[0] * l->block[1] * l->block[2];
	uint32_t shared = atomic_load_explicit(&f->max_dynamic_shared_bytes, memory_order_relaxed);

	if (unlikely(!fits(l->grid, grid)))
		return refuse_dimension("grid", l->grid, grid);
	if (unlikely(!fits(l->block, block)))
		return refuse_dimension("block", l->block, block);
	if (unlikely(threads > f->info.max_threads))
		return vgpu_fail(VGPU_ERROR_CALL_TOO_LARGE, "launch: %llu threads a block, this function allows %u",
				 (unsigned long long)threads, f->info.max_threads);
	if (unlikely(l->shared_bytes > shared))
		return vgpu_fail(VGPU_ERROR_CALL_TOO_LARGE,
				 "launch: %u bytes of dynamic shared memory, this function allows %u; see "
				 "VGPU_FUNCTION_MAX_DYNAMIC_SHARED_BYTES", l->shared_bytes, shared);
	return VGPU_OK;
}

static void pack(uint8_t *to, const struct vgpu_function *f, void **params, const void *buffer)
{
	uint32_t end = 0;

	if (buffer) {
		memcpy(to, buffer, f->info.param_bytes);
		return;
	}
	for (uint32_t i = 0; i < f->info.param_count; i++) {
		const struct vgpu_param *p = &f->param[i];

		if (p->offset > end) /* what lies between is no data of anybody */
			memset(to + end, 0, p->offset - end);
		memcpy(to + p->offset, params[i], p->bytes);
		end = p->offset + p->bytes;
	}
	if (end < f->info.param_bytes)
		memset(to + end, 0, f->info.param_bytes - end);
}

static vgpu_status post_small(struct vgpu_session *s, struct launch_entry *entry)
{
	uint32_t bytes = entry->e.bytes;
	vgpu_status status = vgpu_call_backlog(s, entry->e.stream,
					       (uint32_t)vgpu_ring_cells(bytes) * VGPU_CELL_BYTES, true);
	uint64_t pos;

	if (unlikely(status))
		return status;
	status = vgpu_call_reserve(s, bytes, true, &pos);
	if (unlikely(status))
		return status;
	vgpu_ring_write(&s->producer.control, pos, entry, bytes);
	vgpu_call_commit(s, pos);
	atomic_fetch_add_explicit(&s->stream[entry->e.stream].work, 1, memory_order_release);
	return VGPU_OK;
}

static vgpu_status launch_large(struct vgpu_function *f, const struct vgpu_call *c, void **params, const void *buffer)
{
	uint8_t packed[VGPU_PARAMS_MAX];

	struct vgpu_call call = *c;

	pack(packed, f, params, buffer);
	call.tail = packed;
	return c->op == VGPU_OP_LAUNCH ? vgpu_call_post(f->session, &call) : vgpu_call_wait(f->session, &call, NULL);
}

/* Large parameters, and the first launch of a function: the driver may load its code then. */
static vgpu_status launch_slow(struct vgpu_function *f, struct launch_entry *entry, bool first, void **params,
			       const void *buffer)
{
	struct vgpu_call c = { .op = first ? VGPU_OP_LAUNCH_FIRST : VGPU_OP_LAUNCH, .stream = entry->e.stream,
			       .stream_class = !first, .head = &entry->l, .head_bytes = sizeof(entry->l),
			       .tail_bytes = f->info.param_bytes };
	vgpu_status status;

	if (f->info.param_bytes > SMALL_PARAMS) {
		status = launch_large(f, &c, params, buffer);
	} else {
		pack(entry->params, f, params, buffer);
		c.tail = entry->params;
		status = vgpu_call_wait(f->session, &c, NULL);
	}
	if (first && !status)
		atomic_store_explicit(&f->launched, true, memory_order_relaxed);
	return first ? vgpu_fail_host(status, "first launch of a function") : status;
}

static vgpu_status launch(struct vgpu_function *f, struct vgpu_dim3 grid, struct vgpu_dim3 block,
			  uint32_t shared_bytes, struct vgpu_stream *stream, void **params, const void *buffer)
{
	struct launch_entry entry;
	bool first = !atomic_load_explicit(&f->launched, memory_order_relaxed);
	vgpu_status status;

	entry.l = (struct vgpu_call_launch){ .function = f->handle, .grid = { grid.x, grid.y, grid.z },
					     .block = { block.x, block.y, block.z },
					     .shared_bytes = shared_bytes, .param_bytes = f->info.param_bytes };
	entry.e = (struct vgpu_entry){ .bytes = (uint32_t)(sizeof(entry.e) + sizeof(entry.l)) + f->info.param_bytes,
				       .op = VGPU_OP_LAUNCH, .slot = VGPU_NO_SLOT,
				       .stream = vgpu_stream_handle(stream), .thread = vgpu_call_thread() };
	status = vgpu_session_check(f->session);
	if (unlikely(status))
		return status;
	if (unlikely(stream && stream->session != f->session))
		return vgpu_fail(VGPU_ERROR_CALL_INVALID, "launch: the stream belongs to another session");
	status = check(f, &entry.l);
	if (unlikely(status))
		return status;
	if (unlikely(first || f->info.param_bytes > SMALL_PARAMS))
		return launch_slow(f, &entry, first, params, buffer);
	pack(entry.params, f, params, buffer);
	return post_small(f->session, &entry);
}

vgpu_status vgpu_launch(struct vgpu_function *f, struct vgpu_dim3 grid, struct vgpu_dim3 block,
			uint32_t dynamic_shared_bytes, struct vgpu_stream *stream, void **params)
{
	if (unlikely(!f || (!params && f->info.param_count)))
		return vgpu_fail(VGPU_ERROR_CALL_INVALID, "launch: the function is NULL, or it has parameters and params is");
	return launch(f, grid, block, dynamic_shared_bytes, stream, params, NULL);
}

vgpu_status vgpu_launch_buffer(struct vgpu_function *f, struct vgpu_dim3 grid, struct vgpu_dim3 block,
			       uint32_t dynamic_shared_bytes, struct vgpu_stream *stream, const void *buffer,
			       size_t bytes)
{
	if (unlikely(!f || (!buffer && bytes)))
		return vgpu_fail(VGPU_ERROR_CALL_INVALID, "launch: the function or the buffer is NULL");
	if (unlikely(bytes != f->info.param_bytes))
		return vgpu_fail(VGPU_ERROR_CALL_INVALID, "launch: %zu bytes of parameters, the function has %u", bytes,
				 f->info.param_bytes);
	return launch(f, grid, block, dynamic_shared_bytes, stream, NULL, bytes ? buffer : "");
}
