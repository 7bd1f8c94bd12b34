// SPDX-License-Identifier: MIT
/*
 * Copying between the program's memory and pinned buffers: past the caches, since what is copied
 * is not looked at again here. With AVX-512, four pages in turn keep more of the memory's channels
 * busy than one (docs/decisions/0001, "Pageable pipeline"); without it memcpy was as fast as anything.
 */
#include "client/libvgpu/internal.h"

#if defined(__x86_64__)
#include <immintrin.h>

enum { PAGE = 4096, PAGES = 4, LINE = 64 };

__attribute__((target("avx512f"))) static void copy_lines(uint8_t *to, const uint8_t *from, size_t bytes)
{
	for (size_t i = 0; i + LINE <= bytes; i += LINE)
		_mm512_stream_si512((void *)(to + i), _mm512_loadu_si512(from + i));
}

__attribute__((target("avx512f"))) static void copy_pages(uint8_t *to, const uint8_t *from)
{
	for (size_t i = 0; i < PAGE; i += 2 * LINE)
		for (size_t p = i; p < PAGE * PAGES; p += PAGE) {
			__m512i a = _mm512_loadu_si512(from + p);
			__m512i b = _mm512_loadu_si512(from + p + LINE);

			_mm512_stream_si512((void *)(to + p), a);
			_mm512_stream_si512((void *)(to + p + LINE), b);
		}
}

static void copy_avx512(uint8_t *to, const uint8_t *from, size_t bytes)
{
	size_t head = -(uintptr_t)to & (LINE - 1);

	if (head > bytes)
		head = bytes;
	memcpy(to, from, head);
	for (to += head, from += head, bytes -= head; bytes >= PAGE * PAGES;
	     to += PAGE * PAGES, from += PAGE * PAGES, bytes -= PAGE * PAGES)
		copy_pages(to, from);
	copy_lines(to, from, bytes);
	head = bytes & ~(size_t)(LINE - 1);
	memcpy(to + head, from + head, bytes - head);
	_mm_sfence(); /* others see it when they see what is stored after */
}

void vgpu_stream_copy(void *to, const void *from, size_t bytes)
{
	if (bytes >= PAGE * PAGES && __builtin_cpu_supports("avx512f"))
		copy_avx512(to, from, bytes);
	else
		memcpy(to, from, bytes);
}
#else
void vgpu_stream_copy(void *to, const void *from, size_t bytes)
{
	memcpy(to, from, bytes);
}
#endif
