// SPDX-License-Identifier: MIT
/* Copies of 0 bytes to more than the heap, every alignment, pageable and pinned, sync and async. */
#include "tests/native/native.h"

static void sizes(struct vgpu_session *gpu, uint64_t device, size_t room, const uint8_t *from, uint8_t *to)
{
	static const size_t list[] = { 0, 1, 2, 3, 4, 7, 8, 63, 64, 65, 4095, 4096, 4097, 32767, 32768, 32769, 65535,
				       65536, 65537, 131071, 999999, 1048576, 1048577, 5000001, 16777213 };

	for (size_t i = 0; i < sizeof(list) / sizeof(*list); i++)
		for (size_t odd = 0; odd < (list[i] > MIB ? 2 : 9); odd++) {
			size_t n = list[i];

			CHECK(n + 32 < room);
			memset(to, 0xee, n + 16);
			OK(vgpu_copy_h2d(gpu, device + odd, from + odd * 3, n));
			OK(vgpu_copy_d2h(gpu, to + odd, device + odd, n));
			if (memcmp(to + odd, from + odd * 3, n))
				FAIL("%zu bytes at offset %zu came back changed", n, odd);
			CHECK(to[odd + n] == 0xee);
		}
}

static void whole_and_more(struct vgpu_session *gpu, size_t bytes)
{
	uint8_t *from = malloc(bytes), *to = malloc(bytes);
	uint64_t device;

	CHECK(from && to);
	native_fill(from, bytes, 11);
	OK(vgpu_malloc(gpu, bytes, &device));
	OK(vgpu_copy_h2d(gpu, device, from, bytes));
	OK(vgpu_copy_d2h(gpu, to, device, bytes));
	CHECK(!memcmp(from, to, bytes));
	OK(vgpu_free(gpu, device));
	free(from);
	free(to);
}

static void pinned(struct vgpu_session *gpu, uint64_t device, uint8_t *other)
{
	const size_t bytes = 9 * MIB + 5;
	struct vgpu_stream *stream;
	uint8_t *a, *b;

	OK(vgpu_stream_create(gpu, VGPU_STREAM_NON_BLOCKING, 0, &stream));
	OK(vgpu_host_malloc(gpu, bytes, (void **)&a));
	OK(vgpu_host_malloc(gpu, bytes, (void **)&b));
	native_fill(a, bytes, 5);
	for (size_t odd = 0; odd < 3; odd++) {
		memset(b, 0, bytes);
		OK(vgpu_copy_h2d_async(gpu, device + odd, a, bytes, stream));
		OK(vgpu_copy_d2h_async(gpu, b, device + odd, bytes, stream));
		OK(vgpu_stream_synchronize(stream));
		CHECK(!memcmp(a, b, bytes));
		OK(vgpu_copy_h2d(gpu, device, a + odd, 1000));
		OK(vgpu_copy_d2h(gpu, b + odd, device, 1000));
		CHECK(!memcmp(a + odd, b + odd, 1000));
	}
	/* pinned to pageable and back */
	OK(vgpu_copy_h2d(gpu, device, a, bytes));
	OK(vgpu_copy_d2h(gpu, other, device, bytes));
	CHECK(!memcmp(a, other, bytes));
	/* freed while a copy from it may be under way: the data arrive all the same */
	native_fill(a, bytes, 6);
	memcpy(other, a, bytes);
	OK(vgpu_copy_h2d_async(gpu, device, a, bytes, stream));
	OK(vgpu_host_free(gpu, a));
	OK(vgpu_host_malloc(gpu, bytes, (void **)&a));
	memset(a, 0, bytes);
	OK(vgpu_copy_d2h_async(gpu, b, device, bytes, stream));
	OK(vgpu_stream_synchronize(stream));
	CHECK(!memcmp(b, other, bytes));
	OK(vgpu_host_free(gpu, a));
	OK(vgpu_host_free(gpu, b));
	OK(vgpu_stream_destroy(stream));
}

static void on_the_gpu(struct vgpu_session *gpu, uint64_t device, uint8_t *to)
{
	OK(vgpu_memset8(gpu, device, 0x5a, 100001));
	OK(vgpu_memset16(gpu, device + 2, 0x1234, 3));
	OK(vgpu_memset32(gpu, device + 16, 0xdeadbeef, 2));
	OK(vgpu_copy_d2d(gpu, device + 200001, device, 100001));
	OK(vgpu_copy_d2h(gpu, to, device + 200001, 100001));
	CHECK(to[0] == 0x5a && to[2] == 0x34 && to[3] == 0x12 && to[8] == 0x5a && to[16] == 0xef && to[23] == 0xde);
	CHECK(to[24] == 0x5a && to[100000] == 0x5a);
	GIVES(VGPU_ERROR_CALL_INVALID, vgpu_memset32(gpu, device + 1, 0, 1));
}

static void refusals(struct vgpu_session *gpu, uint64_t device, size_t bytes, uint8_t *host)
{
	GIVES(VGPU_ERROR_CALL_ADDRESS, vgpu_copy_h2d(gpu, device + 1, host, bytes));
	GIVES(VGPU_ERROR_CALL_ADDRESS, vgpu_copy_h2d(gpu, (uintptr_t)host, host, 1));
	GIVES(VGPU_ERROR_CALL_ADDRESS, vgpu_copy_d2h(gpu, host, 0, 1));
	GIVES(VGPU_ERROR_CALL_ADDRESS, vgpu_copy_d2h(gpu, host, UINT64_MAX - 3, 8));
	GIVES(VGPU_ERROR_CALL_ADDRESS, vgpu_free(gpu, device + 1));
}

int main(void)
{
	const size_t bytes = 17 * MIB;
	struct vgpu_session *gpu = native_open();
	uint8_t *from = malloc(bytes), *to = malloc(bytes);
	uint64_t device;

	CHECK(from && to);
	native_fill(from, bytes, 1);
	OK(vgpu_malloc(gpu, bytes, &device));
	sizes(gpu, device, bytes, from, to);
	pinned(gpu, device, to);
	on_the_gpu(gpu, device, to);
	refusals(gpu, device, bytes, to);
	OK(vgpu_free(gpu, device));
	/* a heap of 32 MiB, and a copy of more than that */
	native_close(gpu);
	OK(vgpu_session_open(&(struct vgpu_open_options){ .size = sizeof(struct vgpu_open_options),
							  .window_bytes = 34 * MIB }, &gpu));
	whole_and_more(gpu, 70 * MIB + 3);
	native_close(gpu);
	free(from);
	free(to);
	return 0;
}
