/* SPDX-License-Identifier: MIT */
/*
 * Checks a ring entry's form. Pure: no CUDA, no state, no shared memory; the bytes are the
 * executor's private copy. Whether handles exist and addresses belong to the session is asked
 * later, by the code that owns those tables.
 */
#ifndef HOST_EXECUTOR_VALIDATE_H
#define HOST_EXECUTOR_VALIDATE_H

#include <stddef.h>
#include <stdint.h>

#include "protocol/session/session.h"

/* A well-formed entry. The pointers lead into the bytes that were given to vx_validate. */
struct vx_call {
	const struct vgpu_entry *entry;
	union { /* by entry->op */
		const void *payload;
		const struct vgpu_call_mem *mem;
		const struct vgpu_call_copy *copy;
		const struct vgpu_call_inline *inlined;
		const struct vgpu_call_memset *memset;
		const struct vgpu_call_buffer *buffer;
		const struct vgpu_call_module *module;
		const struct vgpu_call_name *name;
		const struct vgpu_call_function_set *set;
		const struct vgpu_call_occupancy *occupancy;
		const struct vgpu_call_launch *launch;
		const struct vgpu_call_stream *stream;
		const struct vgpu_call_mark *mark;
		const struct vgpu_call_event *event;
	};
	const uint8_t *data; /* what follows the fixed payload: parameters, a name, inline bytes */
	uint32_t data_bytes;
	enum vgpu_class class;
	void *object;	   /* the function or event, found by whoever resolves the call */
	uint64_t progress; /* bytes of a copy that the driver has already been given */
};

/*
 * bytes: 8-byte aligned, `length` long, at least sizeof(struct vgpu_entry). Returns 0, or the
 * error that the call is answered with; ret_call->entry and class are then set all the same (class
 * HOST for an unknown opcode). VGPU_ERROR_SESSION_PROTOCOL: it cannot even be answered.
 */
uint32_t vx_validate(const void *bytes, size_t length, struct vx_call *ret_call);

#endif
