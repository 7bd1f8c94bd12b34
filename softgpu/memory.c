/* SPDX-License-Identifier: MIT */
/*
 * The range table (sorted by address) and device memory.
 *
 * Device memory is mapped readable only where it is allocated, with at least one page without access around
 * each block; the table knows the exact byte where a block ends.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "softgpu/internal.h"

enum { PAGE = 4096, GUARD = PAGE };

static pthread_rwlock_t range_lock = PTHREAD_RWLOCK_INITIALIZER;
static struct softgpu_range *ranges;
static size_t range_count, range_space;

/* The index of the first range that ends behind @address. */
static size_t lower(uint64_t address)
{
	size_t low = 0, high = range_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (ranges[middle].start + ranges[middle].size <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool softgpu_range_find(uint64_t address, struct softgpu_range *ret_range)
{
	bool found = false;
	size_t at;

	pthread_rwlock_rdlock(&range_lock);
	at = lower(address);
	if (at < range_count && ranges[at].start <= address) {
		*ret_range = ranges[at];
		found = true;
	}
	pthread_rwlock_unlock(&range_lock);
	return found;
}

bool softgpu_range_covers(struct softgpu_context *context, uint64_t address, uint64_t size)
{
	uint64_t end = address + size;
	bool covered = false;

	if (end < address)
		return false;
	pthread_rwlock_rdlock(&range_lock);
	for (size_t at = lower(address); at < range_count; at++) {
		const struct softgpu_range *range = &ranges[at];
		bool host = softgpu_memory_is_host(range->kind);

		if (range->start > address || (!host && range->context != context))
			break;
		address = range->start + range->size;
		if (address >= end) {
			covered = true;
			break;
		}
		if (!host)
			break;
	}
	pthread_rwlock_unlock(&range_lock);
	return covered;
}

/* range_lock held for writing. */
static CUresult insert(const struct softgpu_range *range)
{
	size_t at = lower(range->start);

	if (at < range_count && ranges[at].start < range->start + range->size)
		return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
	if (range_count == range_space) {
		size_t space = range_space ? range_space * 2 : 64;
		struct softgpu_range *grown = realloc(ranges, space * sizeof(*grown));

		if (!grown)
			return CUDA_ERROR_OUT_OF_MEMORY;
		ranges = grown;
		range_space = space;
	}
	memmove(&ranges[at + 1], &ranges[at], (range_count - at) * sizeof(*ranges));
	ranges[at] = *range;
	ranges[at].id = atomic_fetch_add(&softgpu.ids, 1) + 1;
	range_count++;
	return CUDA_SUCCESS;
}

CUresult softgpu_range_add(const struct softgpu_range *range)
{
	CUresult result;

	if (!range->size || range->start + range->size < range->start)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_rwlock_wrlock(&range_lock);
	result = insert(range);
	pthread_rwlock_unlock(&range_lock);
	return result;
}

/* range_lock held for writing. */
static void take_out(size_t at)
{
	memmove(&ranges[at], &ranges[at + 1], (range_count - at - 1) * sizeof(*ranges));
	range_count--;
}

bool softgpu_range_remove(uint64_t start, enum softgpu_memory kind, struct softgpu_range *ret_range)
{
	bool found = false;
	size_t at;

	pthread_rwlock_wrlock(&range_lock);
	at = lower(start);
	if (at < range_count && ranges[at].start == start && ranges[at].kind == kind) {
		*ret_range = ranges[at];
		take_out(at);
		found = true;
	}
	pthread_rwlock_unlock(&range_lock);
	return found;
}

bool softgpu_memory_in_arena(uint64_t address)
{
	for (int i = 0; i < softgpu.config.devices; i++)
		if (address - softgpu.devices[i].arena < softgpu.devices[i].arena_size)
			return true;
	return false;
}

static uint64_t mapped_size(uint64_t size)
{
	return (size + PAGE - 1) & ~(uint64_t)(PAGE - 1);
}

/* A free place for @size bytes and a guard on both sides, or 0. range_lock held. */
static uint64_t find_place(struct softgpu_device *device, uint64_t size)
{
	uint64_t align = size >= 2 << 20 ? 2 << 20 : PAGE, end = device->arena + device->arena_size;

	for (int turn = 0; turn < 2; turn++) {
		uint64_t place = turn ? device->arena : device->arena_next;

		for (;;) {
			size_t at;

			place = (place + GUARD + align - 1) & ~(align - 1);
			if (place > end || size + GUARD > end - place)
				break;
			at = lower(place - GUARD);
			if (at == range_count || ranges[at].start >= place + size + GUARD) {
				device->arena_next = place + size;
				return place;
			}
			place = ranges[at].start + mapped_size(ranges[at].size);
		}
	}
	return 0;
}

CUresult softgpu_memory_alloc(struct softgpu_context *context, uint64_t size, enum softgpu_memory kind,
			      uint64_t *ret_address)
{
	struct softgpu_device *device = &softgpu.devices[context->device];
	struct softgpu_range range = { .size = size, .kind = kind, .context = context };
	uint64_t mapped = mapped_size(size);
	CUresult result = CUDA_ERROR_OUT_OF_MEMORY;

	if (!size)
		return CUDA_ERROR_INVALID_VALUE;
	if (size > softgpu.config.vram_bytes)
		return CUDA_ERROR_OUT_OF_MEMORY;
	pthread_rwlock_wrlock(&range_lock);
	if (device->vram_used + mapped <= softgpu.config.vram_bytes) {
		range.start = find_place(device, mapped);
		if (range.start &&
		    !mprotect((void *)(uintptr_t)range.start, mapped, PROT_READ | PROT_WRITE)) {
			result = insert(&range);
			if (!result)
				device->vram_used += mapped;
		}
	}
	pthread_rwlock_unlock(&range_lock);
	if (!result)
		*ret_address = range.start;
	return result;
}

/* range_lock held for writing. */
static void unmap(const struct softgpu_range *range)
{
	uint64_t mapped = mapped_size(range->size);
	void *start = (void *)(uintptr_t)range->start;

	/* A fresh mapping gives the pages back and takes the access away at once. */
	if (mmap(start, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		(void)mprotect(start, mapped, PROT_NONE);
	softgpu.devices[range->context->device].vram_used -= mapped;
}

bool softgpu_memory_free(uint64_t address, enum softgpu_memory kind)
{
	bool found = false;
	size_t at;

	pthread_rwlock_wrlock(&range_lock);
	at = lower(address);
	if (at < range_count && ranges[at].start == address && ranges[at].kind == kind) {
		unmap(&ranges[at]);
		take_out(at);
		found = true;
	}
	pthread_rwlock_unlock(&range_lock);
	return found;
}

void softgpu_memory_free_context(struct softgpu_context *context)
{
	pthread_rwlock_wrlock(&range_lock);
	for (size_t at = range_count; at-- > 0;) {
		struct softgpu_range range = ranges[at];

		if (range.context != context)
			continue;
		if (range.kind == SOFTGPU_MEM_HOST)
			munmap((void *)(uintptr_t)range.start, mapped_size(range.size));
		else if (range.kind != SOFTGPU_MEM_REGISTERED)
			unmap(&range);
		take_out(at);
	}
	pthread_rwlock_unlock(&range_lock);
}

CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total)
{
	struct softgpu_context *context;
	CUresult result = softgpu_current(&context);

	if (result)
		return result;
	if (!free_bytes || !total)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_rwlock_rdlock(&range_lock);
	*free_bytes = softgpu.config.vram_bytes - softgpu.devices[context->device].vram_used;
	pthread_rwlock_unlock(&range_lock);
	*total = softgpu.config.vram_bytes;
	return CUDA_SUCCESS;
}

CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t size)
{
	struct softgpu_context *context;
	CUresult result = softgpu_current(&context);
	uint64_t start;

	if (result)
		return result;
	if (!address)
		return CUDA_ERROR_INVALID_VALUE;
	if (atomic_fetch_add(&softgpu.allocs, 1) + 1 == softgpu.config.fail_alloc)
		return CUDA_ERROR_OUT_OF_MEMORY;
	result = softgpu_memory_alloc(context, size, SOFTGPU_MEM_DEVICE, &start);
	if (!result)
		*address = start;
	return result;
}

CUresult cuMemAllocPitch_v2(CUdeviceptr *address, size_t *pitch, size_t width, size_t height, unsigned int element)
{
	size_t row = (width + 511) & ~(size_t)511, size;
	CUresult result;

	if (!pitch || !width || !height || row < width || __builtin_mul_overflow(row, height, &size) ||
	    (element != 4 && element != 8 && element != 16))
		return CUDA_ERROR_INVALID_VALUE;
	result = cuMemAlloc_v2(address, size);
	if (!result)
		*pitch = row;
	return result;
}

/* Waits for everything of the context, as CUDA's driver does before it gives memory back. */
CUresult cuMemFree_v2(CUdeviceptr address)
{
	struct softgpu_context *context;
	struct softgpu_range range;
	CUresult result = softgpu_current(&context);

	if (result || !address)
		return result;
	if (!softgpu_range_find(address, &range) || range.start != address || range.kind != SOFTGPU_MEM_DEVICE)
		return CUDA_ERROR_INVALID_VALUE;
	result = softgpu_context_wait(range.context);
	if (!softgpu_memory_free(address, SOFTGPU_MEM_DEVICE))
		return CUDA_ERROR_INVALID_VALUE;
	return result;
}

CUresult cuMemAllocAsync(CUdeviceptr *address, size_t size, CUstream handle)
{
	struct softgpu_context *context;
	struct softgpu_stream *stream;
	CUresult result = softgpu_stream_lookup(handle, &context, &stream);

	/* Memory that exists earlier than its stream needs it is within CUDA's rules. */
	return result ? result : cuMemAlloc_v2(address, size);
}

CUresult cuMemFreeAsync(CUdeviceptr address, CUstream handle)
{
	struct softgpu_command command = { .kind = SOFTGPU_FREE, .free_address = address };
	struct softgpu_context *context;
	struct softgpu_stream *stream;
	struct softgpu_range range;
	CUresult result = softgpu_stream_lookup(handle, &context, &stream);

	if (result)
		return result;
	if (!softgpu_range_find(address, &range) || range.start != address || range.kind != SOFTGPU_MEM_DEVICE ||
	    range.context != context)
		return CUDA_ERROR_INVALID_VALUE;
	return softgpu_stream_submit(stream, &command, NULL);
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *size, CUdeviceptr address)
{
	struct softgpu_context *context;
	struct softgpu_range range;
	CUresult result = softgpu_current(&context);

	if (result)
		return result;
	if (!softgpu_range_find(address, &range))
		return CUDA_ERROR_NOT_FOUND;
	if (base)
		*base = range.start;
	if (size)
		*size = range.size;
	return CUDA_SUCCESS;
}
