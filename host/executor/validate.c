/* SPDX-License-Identifier: MIT */
#include "host/executor/validate.h"

#include <stdbool.h>
#include <string.h>

struct op_form {
	uint16_t op; /* 0: no such opcode */
	uint8_t class;
	bool posted; /* may come without a slot */
};

enum { OP_LIMIT = 0x80 };

#define OP_FORM(name, code, class_, posted_) \
	[code] = { .op = code, .class = VGPU_CLASS_##class_, .posted = posted_ },
static const struct op_form op_forms[OP_LIMIT] = { VGPU_OPS(OP_FORM) };
#undef OP_FORM

static size_t op_fixed_bytes(uint16_t op)
{
	switch (op) {
	case VGPU_OP_DEVICE_INFO:
		return sizeof(struct vgpu_call_buffer);
	case VGPU_OP_MEM_ALLOC:
	case VGPU_OP_MEM_FREE:
		return sizeof(struct vgpu_call_mem);
	case VGPU_OP_COPY_H2D:
	case VGPU_OP_COPY_D2H:
	case VGPU_OP_COPY_D2D:
		return sizeof(struct vgpu_call_copy);
	case VGPU_OP_COPY_INLINE:
		return sizeof(struct vgpu_call_inline);
	case VGPU_OP_MEMSET:
		return sizeof(struct vgpu_call_memset);
	case VGPU_OP_MODULE_LOAD:
	case VGPU_OP_MODULE_UNLOAD:
		return sizeof(struct vgpu_call_module);
	case VGPU_OP_FUNCTION_GET:
	case VGPU_OP_GLOBAL_GET:
		return sizeof(struct vgpu_call_name);
	case VGPU_OP_FUNCTION_SET:
		return sizeof(struct vgpu_call_function_set);
	case VGPU_OP_OCCUPANCY:
		return sizeof(struct vgpu_call_occupancy);
	case VGPU_OP_LAUNCH:
	case VGPU_OP_LAUNCH_FIRST:
		return sizeof(struct vgpu_call_launch);
	case VGPU_OP_STREAM_CREATE:
		return sizeof(struct vgpu_call_stream);
	case VGPU_OP_STREAM_MARK:
		return sizeof(struct vgpu_call_mark);
	case VGPU_OP_STREAM_WAIT_EVENT:
	case VGPU_OP_EVENT_CREATE:
	case VGPU_OP_EVENT_DESTROY:
	case VGPU_OP_EVENT_RECORD:
	case VGPU_OP_EVENT_QUERY:
	case VGPU_OP_EVENT_SYNC:
	case VGPU_OP_EVENT_ELAPSED:
		return sizeof(struct vgpu_call_event);
	default:
		return 0;
	}
}

static bool op_names_stream(const struct op_form *form)
{
	return form->class == VGPU_CLASS_STREAM || form->op == VGPU_OP_LAUNCH_FIRST ||
	       form->op == VGPU_OP_STREAM_SYNC || form->op == VGPU_OP_STREAM_DESTROY ||
	       form->op == VGPU_OP_STREAM_QUERY;
}

static bool range_wraps(uint64_t start, uint64_t bytes)
{
	uint64_t end;

	return __builtin_add_overflow(start, bytes, &end);
}

static uint32_t validate_mem(const struct vx_call *c)
{
	if (c->mem->reserved)
		return VGPU_ERROR_CALL_PROTOCOL;
	if (c->entry->op == VGPU_OP_MEM_ALLOC && !c->mem->bytes)
		return VGPU_ERROR_CALL_INVALID;
	return 0;
}

static uint32_t validate_copy(const struct vx_call *c)
{
	if (!c->copy->bytes)
		return VGPU_ERROR_CALL_INVALID;
	if (range_wraps(c->copy->dst, c->copy->bytes) || range_wraps(c->copy->src, c->copy->bytes))
		return VGPU_ERROR_CALL_ADDRESS;
	return 0;
}

static uint32_t validate_inline(const struct vx_call *c)
{
	if (c->inlined->reserved || c->inlined->bytes != c->data_bytes)
		return VGPU_ERROR_CALL_PROTOCOL;
	if (!c->data_bytes)
		return VGPU_ERROR_CALL_INVALID;
	if (c->data_bytes > VGPU_INLINE_MAX)
		return VGPU_ERROR_CALL_TOO_LARGE;
	return range_wraps(c->inlined->dst, c->data_bytes) ? VGPU_ERROR_CALL_ADDRESS : 0;
}

static uint32_t validate_memset(const struct vx_call *c)
{
	const struct vgpu_call_memset *m = c->memset;
	uint64_t bytes;

	if (m->width != 1 && m->width != 2 && m->width != 4)
		return VGPU_ERROR_CALL_INVALID;
	if (!m->count || m->dst % m->width)
		return VGPU_ERROR_CALL_INVALID;
	if (__builtin_mul_overflow(m->count, (uint64_t)m->width, &bytes) ||
	    range_wraps(m->dst, bytes))
		return VGPU_ERROR_CALL_ADDRESS;
	return 0;
}

static uint32_t validate_buffer(const struct vgpu_call_buffer *b)
{
	return range_wraps(b->address, b->bytes) ? VGPU_ERROR_CALL_ADDRESS : 0;
}

static uint32_t validate_module(const struct vx_call *c)
{
	const struct vgpu_call_module *m = c->module;

	if (c->entry->op == VGPU_OP_MODULE_UNLOAD)
		return m->image || m->image_bytes || m->log || m->log_bytes ?
			       VGPU_ERROR_CALL_PROTOCOL :
			       0;
	if (m->module)
		return VGPU_ERROR_CALL_PROTOCOL;
	if (!m->image_bytes)
		return VGPU_ERROR_CALL_INVALID;
	if (m->image_bytes > VGPU_IMAGE_MAX || m->log_bytes > VGPU_LOG_MAX)
		return VGPU_ERROR_CALL_TOO_LARGE;
	if (range_wraps(m->image, m->image_bytes) || range_wraps(m->log, m->log_bytes))
		return VGPU_ERROR_CALL_ADDRESS;
	return 0;
}

static uint32_t validate_name(const struct vx_call *c)
{
	if (c->name->name_bytes != c->data_bytes)
		return VGPU_ERROR_CALL_PROTOCOL;
	if (!c->data_bytes || memchr(c->data, 0, c->data_bytes))
		return VGPU_ERROR_CALL_INVALID;
	if (c->data_bytes >= VGPU_NAME_MAX)
		return VGPU_ERROR_CALL_TOO_LARGE;
	return validate_buffer(&c->name->out);
}

static uint32_t validate_launch(const struct vx_call *c)
{
	if (c->launch->reserved || c->launch->param_bytes != c->data_bytes)
		return VGPU_ERROR_CALL_PROTOCOL;
	return c->data_bytes > VGPU_PARAMS_MAX ? VGPU_ERROR_CALL_TOO_LARGE : 0;
}

static uint32_t validate_event(const struct vx_call *c)
{
	if (c->event->reserved)
		return VGPU_ERROR_CALL_PROTOCOL;
	if (c->entry->op != VGPU_OP_EVENT_CREATE && c->event->flags)
		return VGPU_ERROR_CALL_PROTOCOL;
	return c->entry->op != VGPU_OP_EVENT_ELAPSED && c->event->end ? VGPU_ERROR_CALL_PROTOCOL : 0;
}

static uint32_t validate_payload(const struct vx_call *c)
{
	switch (c->entry->op) {
	case VGPU_OP_MEM_ALLOC:
	case VGPU_OP_MEM_FREE:
		return validate_mem(c);
	case VGPU_OP_COPY_H2D:
	case VGPU_OP_COPY_D2H:
	case VGPU_OP_COPY_D2D:
		return validate_copy(c);
	case VGPU_OP_COPY_INLINE:
		return validate_inline(c);
	case VGPU_OP_MEMSET:
		return validate_memset(c);
	case VGPU_OP_DEVICE_INFO:
		return validate_buffer(c->buffer);
	case VGPU_OP_MODULE_LOAD:
	case VGPU_OP_MODULE_UNLOAD:
		return validate_module(c);
	case VGPU_OP_FUNCTION_GET:
	case VGPU_OP_GLOBAL_GET:
		return validate_name(c);
	case VGPU_OP_FUNCTION_SET:
		return c->set->reserved ? VGPU_ERROR_CALL_PROTOCOL : 0;
	case VGPU_OP_OCCUPANCY:
		return c->occupancy->block_threads > INT32_MAX ? VGPU_ERROR_CALL_INVALID : 0;
	case VGPU_OP_LAUNCH:
	case VGPU_OP_LAUNCH_FIRST:
		return validate_launch(c);
	case VGPU_OP_STREAM_CREATE:
		return c->stream->flags > 1 ? VGPU_ERROR_CALL_INVALID : 0;
	case VGPU_OP_STREAM_WAIT_EVENT:
	case VGPU_OP_EVENT_CREATE:
	case VGPU_OP_EVENT_DESTROY:
	case VGPU_OP_EVENT_RECORD:
	case VGPU_OP_EVENT_QUERY:
	case VGPU_OP_EVENT_SYNC:
	case VGPU_OP_EVENT_ELAPSED:
		return validate_event(c);
	default: /* fixed forms without rules of their own */
		return 0;
	}
}

static bool op_has_data(uint16_t op)
{
	return op == VGPU_OP_LAUNCH || op == VGPU_OP_LAUNCH_FIRST || op == VGPU_OP_COPY_INLINE ||
	       op == VGPU_OP_FUNCTION_GET || op == VGPU_OP_GLOBAL_GET;
}

uint32_t vx_validate(const void *bytes, size_t length, struct vx_call *ret_call)
{
	const struct vgpu_entry *e = bytes;
	const struct op_form *form = NULL;
	size_t rest, fixed;

	*ret_call = (struct vx_call){ .entry = e, .class = VGPU_CLASS_HOST };
	if (length < sizeof(*e) || length > VGPU_ENTRY_MAX || e->bytes != length)
		return VGPU_ERROR_SESSION_PROTOCOL;
	if (e->slot != VGPU_NO_SLOT && e->slot >= VGPU_SLOTS)
		return VGPU_ERROR_SESSION_PROTOCOL;
	if (e->op < OP_LIMIT && op_forms[e->op].op)
		form = &op_forms[e->op];
	if (!form)
		return VGPU_ERROR_CALL_UNSUPPORTED;
	ret_call->class = form->class;
	if (e->flags || e->context || e->reserved)
		return VGPU_ERROR_CALL_PROTOCOL;
	if (e->slot == VGPU_NO_SLOT && !form->posted)
		return VGPU_ERROR_CALL_PROTOCOL;
	if (op_names_stream(form) ? e->stream >= VGPU_STREAMS : e->stream != 0)
		return VGPU_ERROR_CALL_PROTOCOL;
	fixed = op_fixed_bytes(e->op);
	rest = length - sizeof(*e);
	if (rest < fixed || (rest > fixed && !op_has_data(e->op)))
		return VGPU_ERROR_CALL_PROTOCOL;
	ret_call->payload = e + 1;
	ret_call->data = (const uint8_t *)(e + 1) + fixed;
	ret_call->data_bytes = (uint32_t)(rest - fixed);
	return validate_payload(ret_call);
}
