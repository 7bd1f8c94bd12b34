/* SPDX-License-Identifier: MIT */
/* What a stream's worker does for copies, fills, and values written and waited for. */
#include <string.h>
#include <time.h>

#include "softgpu/internal.h"

enum { CHUNK = 1 << 20, SLOW_CHUNK = 64 << 10 };

/*
 * The GPU touches memory when its clients say so, and they agree among themselves, often by way of
 * another process: ThreadSanitizer would take that for races of ours.
 */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if __has_feature(thread_sanitizer) || defined(__SANITIZE_THREAD__)
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
#define CLIENTS_MEMORY_BEGIN() \
	(AnnotateIgnoreReadsBegin(__FILE__, __LINE__), AnnotateIgnoreWritesBegin(__FILE__, __LINE__))
#define CLIENTS_MEMORY_END() \
	(AnnotateIgnoreWritesEnd(__FILE__, __LINE__), AnnotateIgnoreReadsEnd(__FILE__, __LINE__))
#else
#define CLIENTS_MEMORY_BEGIN() ((void)0)
#define CLIENTS_MEMORY_END() ((void)0)
#endif

static void *at(uint64_t address)
{
	return (void *)(uintptr_t)address;
}

static void sleep_ns(uint64_t ns)
{
	struct timespec time = { .tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000) };

	nanosleep(&time, NULL);
}

CUresult softgpu_run_copy(struct softgpu_context *context, const struct softgpu_command *command)
{
	const uint64_t size = command->copy.size, rate = softgpu.config.copy_bytes_per_s;
	const uint64_t chunk = rate ? SLOW_CHUNK : CHUNK;
	char *dst = at(command->copy.dst);
	const char *src = command->copy.staging ? command->copy.staging : at(command->copy.src);

	/* The table is asked again: memory may have been freed since the call. */
	if (!command->copy.dst_pageable && !softgpu_range_covers(context, command->copy.dst, size))
		return CUDA_ERROR_ILLEGAL_ADDRESS;
	if (!command->copy.src_pageable && !softgpu_range_covers(context, command->copy.src, size))
		return CUDA_ERROR_ILLEGAL_ADDRESS;
	for (uint64_t done = 0; done < size; done += chunk) {
		uint64_t part = size - done < chunk ? size - done : chunk;

		if (softgpu_context_error(context))
			return CUDA_SUCCESS;
		if (rate)
			sleep_ns(part * 1000000000 / rate);
		CLIENTS_MEMORY_BEGIN();
		memmove(dst + done, src + done, part);
		CLIENTS_MEMORY_END();
	}
	return CUDA_SUCCESS;
}

static void fill_row(char *dst, uint64_t count, uint32_t value, uint32_t element_bytes)
{
	if (element_bytes == 1) {
		memset(dst, (int)value, count);
	} else if (element_bytes == 2) {
		uint16_t *row = (uint16_t *)dst;

		for (uint64_t i = 0; i < count; i++)
			row[i] = (uint16_t)value;
	} else {
		uint32_t *row = (uint32_t *)dst;

		for (uint64_t i = 0; i < count; i++)
			row[i] = value;
	}
}

CUresult softgpu_run_fill(struct softgpu_context *context, const struct softgpu_command *command)
{
	uint64_t row = command->fill.width * command->fill.element_bytes;

	for (uint64_t y = 0; y < command->fill.height; y++) {
		uint64_t address = command->fill.dst + y * command->fill.pitch;

		if (!softgpu_range_covers(context, address, row))
			return CUDA_ERROR_ILLEGAL_ADDRESS;
		CLIENTS_MEMORY_BEGIN();
		fill_row(at(address), command->fill.width, command->fill.value, command->fill.element_bytes);
		CLIENTS_MEMORY_END();
	}
	return CUDA_SUCCESS;
}

CUresult softgpu_run_write(struct softgpu_context *context, const struct softgpu_command *command)
{
	if (!softgpu_range_covers(context, command->value.address, command->value.wide ? 8 : 4))
		return CUDA_ERROR_ILLEGAL_ADDRESS;
	if (command->value.wide)
		__atomic_store_n((uint64_t *)at(command->value.address), command->value.value, __ATOMIC_SEQ_CST);
	else
		__atomic_store_n((uint32_t *)at(command->value.address), (uint32_t)command->value.value,
				 __ATOMIC_SEQ_CST);
	return CUDA_SUCCESS;
}

static bool reached(const struct softgpu_command *command)
{
	uint64_t value = command->value.value, now;
	int64_t ahead;

	if (command->value.wide) {
		now = __atomic_load_n((uint64_t *)at(command->value.address), __ATOMIC_SEQ_CST);
		ahead = (int64_t)(now - value);
	} else {
		now = __atomic_load_n((uint32_t *)at(command->value.address), __ATOMIC_SEQ_CST);
		ahead = (int32_t)(now - value);
	}
	switch (command->value.flags & ~(unsigned int)CU_STREAM_WAIT_VALUE_FLUSH) {
	case CU_STREAM_WAIT_VALUE_GEQ:
		return ahead >= 0;
	case CU_STREAM_WAIT_VALUE_EQ:
		return now == value;
	case CU_STREAM_WAIT_VALUE_AND:
		return (now & value) != 0;
	default:
		/* NOR: some bit is clear in both. */
		return command->value.wide ? ~(now | value) != 0 : (uint32_t)~(now | value) != 0;
	}
}

CUresult softgpu_run_wait_value(struct softgpu_context *context, const struct softgpu_command *command)
{
	uint64_t pause_ns = 0;

	for (unsigned int i = 0; !softgpu_context_error(context); i++) {
		if (i % 64 == 0 &&
		    !softgpu_range_covers(context, command->value.address, command->value.wide ? 8 : 4))
			return CUDA_ERROR_ILLEGAL_ADDRESS;
		if (reached(command))
			break;
		softgpu_relax();
		if (i < 1000)
			continue;
		/* Nobody wakes us, since the value is plain memory: poll ever more slowly. */
		if (pause_ns < 100000)
			pause_ns += 2000;
		sleep_ns(pause_ns);
	}
	return CUDA_SUCCESS;
}
