/* SPDX-License-Identifier: MIT */
/* memcpy into memory that only the GPU will read: past the caches, where the CPU can do that. */
#ifndef VGPU_STREAM_COPY_H
#define VGPU_STREAM_COPY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>

/* `to` is aligned to 16 bytes; complete for other processors when it returns. */
static inline void vgpu_stream_copy(void *to, const void *from, size_t bytes)
{
	const uint8_t *src = from;
	uint8_t *dst = to;

	for (; bytes >= 64; bytes -= 64, src += 64, dst += 64) {
		__m128i a = _mm_loadu_si128((const __m128i *)src);
		__m128i b = _mm_loadu_si128((const __m128i *)(src + 16));
		__m128i c = _mm_loadu_si128((const __m128i *)(src + 32));
		__m128i d = _mm_loadu_si128((const __m128i *)(src + 48));

		_mm_stream_si128((__m128i *)dst, a);
		_mm_stream_si128((__m128i *)(dst + 16), b);
		_mm_stream_si128((__m128i *)(dst + 32), c);
		_mm_stream_si128((__m128i *)(dst + 48), d);
	}
	memcpy(dst, src, bytes);
	_mm_sfence();
}
#else
static inline void vgpu_stream_copy(void *to, const void *from, size_t bytes)
{
	memcpy(to, from, bytes);
}
#endif

#endif
