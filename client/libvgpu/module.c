// SPDX-License-Identifier: MIT
/* Modules, their functions and variables. */
#include "client/libvgpu/internal.h"

#include <stdlib.h>

/* Image and log lie in one pinned block: the image, a 0, then the log. */
static vgpu_status load(struct vgpu_session *s, const void *image, size_t bytes, char *log, size_t log_bytes,
			struct vgpu_module *m)
{
	uint64_t log_at = (bytes + 1 + 63) & ~63ull;
	uint64_t log_room = log_bytes > VGPU_LOG_MAX ? VGPU_LOG_MAX : log_bytes;
	struct vgpu_heap_block *block;
	struct vgpu_call_module head;
	__u64 value[6] = { 0 };
	uint64_t address;
	uint8_t *data;
	vgpu_status status = vgpu_pinned_take(s, log_at + log_room, true, &block);

	if (status)
		return status;
	address = vgpu_pinned_address(s, block);
	data = vgpu_pinned_view(s, block);
	memcpy(data, image, bytes);
	data[bytes] = 0; /* PTX is text */
	memset(data + log_at, 0, log_room);
	head = (struct vgpu_call_module){ .image = address, .image_bytes = bytes,
					  .log = log_room ? address + log_at : 0,
					  .log_bytes = (uint32_t)log_room };
	status = vgpu_call_wait(s, &(struct vgpu_call){ .op = VGPU_OP_MODULE_LOAD, .head = &head,
							.head_bytes = sizeof(head) }, value);
	if (log_room) {
		memcpy(log, data + log_at, log_room);
		log[log_room - 1] = 0;
	}
	m->handle = (uint32_t)value[0];
	vgpu_pinned_give(s, block);
	return vgpu_fail_host(status, "load module");
}

vgpu_status vgpu_module_load(struct vgpu_session *s, const void *image, size_t bytes, char *log,
			     size_t log_bytes, struct vgpu_module **ret_module)
{
	struct vgpu_module *m;
	vgpu_status status = vgpu_session_check(s);

	if (status)
		return status;
	if (log && log_bytes)
		log[0] = 0;
	if (!image || !bytes || !ret_module || (log_bytes && !log))
		return vgpu_fail(VGPU_ERROR_CALL_INVALID, "load module: an argument is NULL, or the image has 0 bytes");
	if (bytes > VGPU_IMAGE_MAX)
		return vgpu_fail(VGPU_ERROR_CALL_TOO_LARGE, "load module: %zu bytes, the limit is %d", bytes,
				 VGPU_IMAGE_MAX);
	m = calloc(1, sizeof(*m));
	if (!m)
		return vgpu_fail(VGPU_ERROR_CALL_NO_MEMORY, "load module: no memory");
	status = load(s, image, bytes, log, log_bytes, m);
	if (status) {
		free(m);
		return status;
	}
	m->session = s;
	pthread_mutex_init(&m->lock, NULL);
	pthread_mutex_lock(&s->object_lock);
	LIST_INSERT_HEAD(&s->modules, m, link);
	pthread_mutex_unlock(&s->object_lock);
	*ret_module = m;
	return VGPU_OK;
}

vgpu_status vgpu_module_unload(struct vgpu_module *m)
{
	struct vgpu_call_module head = { 0 };
	struct vgpu_session *s;
	vgpu_status status;

	if (!m)
		return VGPU_OK;
	s = m->session;
	if (*vgpu_generation != s->generation)
		return vgpu_session_bad(s);
	head.module = m->handle;
	pthread_mutex_lock(&s->object_lock);
	LIST_REMOVE(m, link);
	pthread_mutex_unlock(&s->object_lock);
	vgpu_ranges_remove_data(&s->memory, m);
	status = vgpu_session_check(s);
	if (!status)
		status = vgpu_fail_host(vgpu_call_wait(s, &(struct vgpu_call){ .op = VGPU_OP_MODULE_UNLOAD,
									       .head = &head,
									       .head_bytes = sizeof(head) }, NULL),
					"unload module");
	while (m->functions) {
		struct vgpu_function *f = m->functions;

		m->functions = f->next;
		free(f);
	}
	pthread_mutex_destroy(&m->lock);
	free(m);
	return status;
}

static vgpu_status check_name(struct vgpu_module *m, const char *name, const void *ret, const char *what)
{
	size_t length;

	if (!m || !name || !ret)
		return vgpu_fail(VGPU_ERROR_CALL_INVALID, "%s: an argument is NULL", what);
	length = strnlen(name, VGPU_NAME_MAX);
	if (!length || length == VGPU_NAME_MAX)
		return vgpu_fail(VGPU_ERROR_CALL_INVALID, "%s: the name is empty or longer than %d bytes", what,
				 VGPU_NAME_MAX - 1);
	return vgpu_session_check(m->session);
}

static vgpu_status ask_name(struct vgpu_module *m, uint32_t op, const char *name,
			    const struct vgpu_stage *out, const char *what, __u64 value[6])
{
	struct vgpu_call_name head = { .module = m->handle, .name_bytes = (uint32_t)strlen(name) };
	struct vgpu_call c = { .op = op, .head = &head, .head_bytes = sizeof(head), .tail = name,
			       .tail_bytes = head.name_bytes };
	vgpu_status status;

	if (out)
		head.out = (struct vgpu_call_buffer){ .address = out->address, .bytes = out->bytes };
	status = vgpu_call_wait(m->session, &c, value);
	if (!status)
		return VGPU_OK;
	return vgpu_fail(status, "%s \"%.200s\": %s (%s)", what, name, vgpu_status_text(status),
			 vgpu_status_name(status));
}

/* The host's description becomes a function when it is whole and makes sense. */
static vgpu_status take_info(const struct vgpu_stage *b, uint64_t bytes, const char *name,
			     struct vgpu_function **ret)
{
	struct vgpu_function_info info;
	const struct vgpu_param *param = (const struct vgpu_param *)(b->data + sizeof(info));
	struct vgpu_function *f;

	VGPU_WIRE_ASSERT(sizeof(struct vgpu_param) == sizeof(struct vgpu_param_info));
	if (bytes < sizeof(info) || bytes > b->bytes)
		return vgpu_fail(VGPU_ERROR_HOST_INTERNAL, "function \"%.200s\": the host's description has %llu bytes",
				 name, (unsigned long long)bytes);
	memcpy(&info, b->data, sizeof(info));
	if (info.param_count > VGPU_PARAM_COUNT_MAX || info.param_bytes > VGPU_PARAMS_MAX ||
	    bytes < sizeof(info) + info.param_count * sizeof(*param))
		return vgpu_fail(VGPU_ERROR_HOST_INTERNAL, "function \"%.200s\": %u parameters of %u bytes", name,
				 info.param_count, info.param_bytes);
	f = calloc(1, sizeof(*f) + info.param_count * sizeof(*param));
	if (!f)
		return vgpu_fail(VGPU_ERROR_CALL_NO_MEMORY, "function \"%.200s\": no memory", name);
	f->info = info;
	for (uint32_t i = 0; i < info.param_count; i++) {
		f->param[i] = param[i];
		if (f->param[i].bytes > info.param_bytes ||
		    f->param[i].offset > info.param_bytes - f->param[i].bytes) {
			free(f);
			return vgpu_fail(VGPU_ERROR_HOST_INTERNAL, "function \"%.200s\": parameter %u is outside", name, i);
		}
	}
	*ret = f;
	return VGPU_OK;
}

vgpu_status vgpu_function_get(struct vgpu_module *m, const char *name, struct vgpu_function **ret_function)
{
	struct vgpu_function *f = NULL;
	struct vgpu_stage *b;
	__u64 value[6];
	vgpu_status status = check_name(m, name, ret_function, "function");

	if (status)
		return status;
	status = vgpu_device_know(m->session); /* launches check against the device's limits */
	if (!status)
		status = vgpu_stage_get(m->session, VGPU_STAGE_SMALL, 0, true, &b);
	if (status)
		return status;
	status = ask_name(m, VGPU_OP_FUNCTION_GET, name, b, "function", value);
	if (!status) {
		vgpu_status ended;

		status = take_info(b, value[1], name, &f);
		ended = vgpu_view_check(m->session);
		status = ended ? ended : status;
	}
	vgpu_stage_put(m->session, VGPU_STAGE_SMALL, b, 0, 0);
	if (status) {
		free(f);
		return status;
	}
	f->session = m->session;
	f->module = m;
	f->handle = (uint32_t)value[0];
	atomic_store(&f->max_dynamic_shared_bytes, f->info.max_dynamic_shared_bytes);
	pthread_mutex_lock(&m->lock);
	f->next = m->functions;
	m->functions = f;
	pthread_mutex_unlock(&m->lock);
	*ret_function = f;
	return VGPU_OK;
}

vgpu_status vgpu_global_get(struct vgpu_module *m, const char *name, uint64_t *ret_address, uint64_t *ret_bytes)
{
	__u64 value[6];
	vgpu_status status = check_name(m, name, ret_address, "variable");

	if (!status)
		status = ask_name(m, VGPU_OP_GLOBAL_GET, name, NULL, "variable", value);
	if (status)
		return status;
	/* asked for a second time, or by another thread meanwhile, it is there already */
	if (value[1] && !vgpu_ranges_holds(&m->session->memory, value[0], value[1])) {
		if (vgpu_ranges_add(&m->session->memory, value[0], value[1], m) &&
		    !vgpu_ranges_holds(&m->session->memory, value[0], value[1]))
			return vgpu_fail(VGPU_ERROR_CALL_NO_MEMORY, "variable \"%.200s\": cannot be kept in the tables", name);
		/* a variable's address cannot be chosen again: where it is taken, the number is ambiguous */
		(void)vgpu_reserve_add(value[0], value[1]);
	}
	*ret_address = value[0];
	if (ret_bytes)
		*ret_bytes = value[1];
	return VGPU_OK;
}

vgpu_status vgpu_function_info(struct vgpu_function *f, struct vgpu_function_properties *ret)
{
	if (!f || !ret)
		return vgpu_fail(VGPU_ERROR_CALL_INVALID, "function information: an argument is NULL");
	*ret = (struct vgpu_function_properties){
		.max_block_threads = f->info.max_threads,
		.static_shared_bytes = f->info.static_shared_bytes,
		.const_bytes = f->info.const_bytes,
		.local_bytes = f->info.local_bytes,
		.registers = f->info.registers,
		.ptx_version = f->info.ptx_version,
		.binary_version = f->info.binary_version,
		.max_dynamic_shared_bytes = atomic_load(&f->max_dynamic_shared_bytes),
		.param_bytes = f->info.param_bytes,
		.param_count = f->info.param_count,
		.params = f->param,
	};
	return VGPU_OK;
}

vgpu_status vgpu_function_set_attribute(struct vgpu_function *f, enum vgpu_function_attribute attribute, int value)
{
	struct vgpu_call_function_set head = { .attribute = (uint32_t)attribute, .value = value };
	struct vgpu_call c = { .op = VGPU_OP_FUNCTION_SET, .head = &head, .head_bytes = sizeof(head) };
	vgpu_status status;

	if (!f)
		return vgpu_fail(VGPU_ERROR_CALL_INVALID, "function attribute: the function is NULL");
	status = vgpu_session_check(f->session);
	if (status)
		return status;
	if (attribute != VGPU_FUNCTION_MAX_DYNAMIC_SHARED_BYTES && attribute != VGPU_FUNCTION_SHARED_CARVEOUT)
		return vgpu_fail(VGPU_ERROR_CALL_INVALID, "function attribute %d: 8 and 9 can be set", (int)attribute);
	head.function = f->handle;
	status = vgpu_fail_host(vgpu_call_wait(f->session, &c, NULL), "set function attribute");
	if (!status && attribute == VGPU_FUNCTION_MAX_DYNAMIC_SHARED_BYTES)
		atomic_store(&f->max_dynamic_shared_bytes, (uint32_t)value);
	return status;
}

vgpu_status vgpu_occupancy(struct vgpu_function *f, uint32_t block_threads, size_t dynamic_shared_bytes,
			   int *ret_blocks)
{
	struct vgpu_call_occupancy head = { .block_threads = block_threads,
					    .dynamic_shared_bytes = dynamic_shared_bytes };
	struct vgpu_call c = { .op = VGPU_OP_OCCUPANCY, .head = &head, .head_bytes = sizeof(head) };
	__u64 value[6];
	vgpu_status status;

	if (!f || !ret_blocks)
		return vgpu_fail(VGPU_ERROR_CALL_INVALID, "occupancy: an argument is NULL");
	status = vgpu_session_check(f->session);
	if (status)
		return status;
	head.function = f->handle;
	status = vgpu_fail_host(vgpu_call_wait(f->session, &c, value), "occupancy");
	if (!status)
		*ret_blocks = (int)value[0];
	return status;
}
