// SPDX-License-Identifier: MIT
/* A full quota, a full heap, too many streams and events, bad images: each has its own error. */
#include "tests/native/native.h"

static void quota(struct vgpu_session *gpu)
{
	uint64_t limit = native_env("VGPU_QUOTA_BYTES"), part = limit / 8, address[16], free_bytes, total, after;
	unsigned int n = 0;
	vgpu_status status;

	OK(vgpu_memory_info(gpu, &free_bytes, &total));
	CHECK(total == limit && free_bytes <= total);
	while (n < 16 && !(status = vgpu_malloc(gpu, part, &address[n])))
		n++;
	CHECK(n >= 6 && n <= 8);
	if (status != VGPU_ERROR_CALL_QUOTA)
		FAIL("full quota: %s", vgpu_session_error_text());
	CHECK(strstr(vgpu_session_error_text(), "quota"));
	GIVES(VGPU_ERROR_CALL_QUOTA, vgpu_malloc(gpu, limit * 2, &address[15]));
	GIVES(VGPU_ERROR_CALL_QUOTA, vgpu_malloc(gpu, SIZE_MAX, &address[15]));
	OK(vgpu_free(gpu, address[--n]));
	OK(vgpu_malloc(gpu, part, &address[n++]));
	while (n)
		OK(vgpu_free(gpu, address[--n]));
	OK(vgpu_memory_info(gpu, &after, &total));
	CHECK(after == free_bytes);
}

static void heap(struct vgpu_session *gpu)
{
	uint64_t window = native_env("VGPU_WINDOW_BYTES"), part = window / 16;
	uint8_t *host = malloc(4 * MIB), *back = malloc(4 * MIB);
	void *block[20];
	unsigned int n = 0;
	uint64_t device;
	vgpu_status status;

	CHECK(host && back);
	OK(vgpu_malloc(gpu, 4 * MIB, &device));
	while (n < 20 && !(status = vgpu_host_malloc(gpu, part, &block[n])))
		n++;
	CHECK(n >= 12 && n <= 16);
	if (status != VGPU_ERROR_CALL_HEAP_FULL)
		FAIL("full heap: %s (%s)", vgpu_session_error_text(), vgpu_status_name(status));
	CHECK(*vgpu_session_error_text());
	/* copies go on */
	native_fill(host, 4 * MIB, 3);
	OK(vgpu_copy_h2d(gpu, device, host, 4 * MIB));
	OK(vgpu_host_free(gpu, block[--n]));
	OK(vgpu_copy_d2h(gpu, back, device, 4 * MIB));
	CHECK(!memcmp(host, back, 4 * MIB));
	while (n)
		OK(vgpu_host_free(gpu, block[--n]));
	OK(vgpu_synchronize(gpu));
	OK(vgpu_host_malloc(gpu, part, &block[0]));
	OK(vgpu_host_free(gpu, block[0]));
	OK(vgpu_free(gpu, device));
	free(host);
	free(back);
}

static void objects(struct vgpu_session *gpu)
{
	static struct vgpu_stream *stream[300];
	static struct vgpu_event *event[5000];
	unsigned int n = 0;

	while (n < 300 && !vgpu_stream_create(gpu, 0, 0, &stream[n]))
		n++;
	CHECK(n == 255);
	GIVES(VGPU_ERROR_CALL_LIMIT, vgpu_stream_create(gpu, 0, 0, &stream[n]));
	while (n)
		OK(vgpu_stream_destroy(stream[--n]));
	OK(vgpu_stream_create(gpu, 0, 0, &stream[0]));
	OK(vgpu_stream_destroy(stream[0]));
	while (n < 5000 && !vgpu_event_create(gpu, 0, &event[n]))
		n++;
	CHECK(n == 4096);
	GIVES(VGPU_ERROR_CALL_LIMIT, vgpu_event_create(gpu, 0, &event[n]));
	while (n)
		OK(vgpu_event_destroy(event[--n]));
}

static void images(struct vgpu_session *gpu)
{
	static const char bad[] = ".version 7.0\n.target sm_70\n.address_size 64\n.visible .entry f()\n{\n\tnonsense;\n}\n";
	struct vgpu_module *module;
	struct vgpu_function *function;
	char log[1000];
	vgpu_status status = vgpu_module_load(gpu, bad, sizeof(bad) - 1, log, sizeof(log), &module);

	if (status != 218)
		FAIL("bad PTX: %s", vgpu_status_name(status));
	CHECK(*log);
	status = vgpu_module_load(gpu, "\177ELF rubbish", 12, NULL, 0, &module);
	CHECK(status && VGPU_ERROR_GROUP(status) == VGPU_GROUP_CUDA);
	GIVES(VGPU_ERROR_CALL_INVALID, vgpu_module_load(gpu, bad, 0, NULL, 0, &module));
	module = native_module(gpu);
	GIVES(500, vgpu_function_get(module, "missing", &function));
	function = native_function(module, "add_one");
	GIVES(VGPU_ERROR_CALL_TOO_LARGE,
	      vgpu_launch(function, native_one, (struct vgpu_dim3){ 1025, 1, 1 }, 0, NULL, (void *[]){ &module }));
	GIVES(VGPU_ERROR_CALL_TOO_LARGE,
	      vgpu_launch(function, native_one, native_one, 1 << 20, NULL, (void *[]){ &module }));
	GIVES(VGPU_ERROR_CALL_INVALID,
	      vgpu_launch(function, (struct vgpu_dim3){ 1, 0, 1 }, native_one, 0, NULL, (void *[]){ &module }));
	OK(vgpu_module_unload(module));
}

int main(void)
{
	struct vgpu_session *gpu = native_open();

	quota(gpu);
	heap(gpu);
	objects(gpu);
	images(gpu);
	native_close(gpu);
	return 0;
}
