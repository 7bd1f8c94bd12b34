// SPDX-License-Identifier: MIT
/* The device's properties, fetched once: they do not change while a session lives. */
#include "client/libvgpu/internal.h"

static vgpu_status fetch(struct vgpu_session *s)
{
	struct vgpu_call_buffer head;
	struct vgpu_stage *b;
	__u64 value[6];
	vgpu_status status = vgpu_stage_get(s, VGPU_STAGE_SMALL, 0, true, &b);

	if (status)
		return status;
	head = (struct vgpu_call_buffer){ .address = b->address, .bytes = sizeof(s->info) };
	status = vgpu_fail_host(vgpu_call_wait(s, &(struct vgpu_call){ .op = VGPU_OP_DEVICE_INFO, .head = &head,
								       .head_bytes = sizeof(head) }, value),
				"device information");
	if (!status && value[0] < sizeof(s->info))
		status = vgpu_fail(VGPU_ERROR_HOST_VERSION, "device information: %llu bytes came, expected %zu",
				   (unsigned long long)value[0], sizeof(s->info));
	if (!status) {
		memcpy(&s->info, b->data, sizeof(s->info));
		status = vgpu_view_check(s);
	}
	if (!status) {
		s->info.name[sizeof(s->info.name) - 1] = 0;
		__atomic_store_n(&s->device_info_known, true, __ATOMIC_RELEASE);
	}
	vgpu_stage_put(s, VGPU_STAGE_SMALL, b, 0, 0);
	return status;
}

vgpu_status vgpu_device_know(struct vgpu_session *s)
{
	vgpu_status status = VGPU_OK;

	if (likely(__atomic_load_n(&s->device_info_known, __ATOMIC_ACQUIRE)))
		return VGPU_OK;
	pthread_mutex_lock(&s->info_lock);
	if (!s->device_info_known)
		status = fetch(s);
	pthread_mutex_unlock(&s->info_lock);
	return status;
}

vgpu_status vgpu_device_properties(struct vgpu_session *s, struct vgpu_device_properties *ret)
{
	vgpu_status status;

	if (!s || !ret)
		return vgpu_fail(VGPU_ERROR_CALL_INVALID, "device properties: an argument is NULL");
	status = vgpu_session_check(s);
	if (!status)
		status = vgpu_device_know(s);
	if (status)
		return status;
	memset(ret, 0, sizeof(*ret));
	memcpy(ret->name, s->info.name, sizeof(ret->name));
	memcpy(ret->uuid, s->info.uuid, sizeof(ret->uuid));
	ret->total_bytes = s->info.total_bytes;
	ret->driver_version = (int)s->info.driver_version;
	ret->compute_major = vgpu_attribute(s, VGPU_ATTR_COMPUTE_MAJOR);
	ret->compute_minor = vgpu_attribute(s, VGPU_ATTR_COMPUTE_MINOR);
	ret->multiprocessors = vgpu_attribute(s, VGPU_ATTR_MULTIPROCESSORS);
	ret->warp_threads = vgpu_attribute(s, VGPU_ATTR_WARP);
	ret->clock_khz = vgpu_attribute(s, VGPU_ATTR_CLOCK);
	ret->max_block_threads = vgpu_attribute(s, VGPU_ATTR_MAX_BLOCK_THREADS);
	for (int i = 0; i < 3; i++) {
		ret->max_block[i] = vgpu_attribute(s, VGPU_ATTR_MAX_BLOCK_X + i);
		ret->max_grid[i] = vgpu_attribute(s, VGPU_ATTR_MAX_GRID_X + i);
	}
	ret->max_block_shared_bytes = vgpu_attribute(s, VGPU_ATTR_MAX_SHARED);
	ret->max_block_shared_optin_bytes = vgpu_attribute(s, VGPU_ATTR_MAX_SHARED_OPTIN);
	ret->max_block_registers = vgpu_attribute(s, VGPU_ATTR_MAX_REGISTERS);
	return VGPU_OK;
}

vgpu_status vgpu_device_attribute(struct vgpu_session *s, int attribute, int *ret_value)
{
	vgpu_status status = vgpu_session_check(s);

	if (!status)
		status = vgpu_device_know(s);
	if (status)
		return status;
	if (!ret_value || attribute < 1 || attribute >= 256 || (uint32_t)attribute > s->info.attributes)
		return vgpu_fail(VGPU_ERROR_CALL_INVALID, "device attribute %d: the host's driver knows 1 to %u",
				 attribute, s->info.attributes);
	*ret_value = s->info.attribute[attribute];
	return VGPU_OK;
}
