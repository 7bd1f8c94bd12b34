/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "softgpu/ptx/internal.h"

enum { ARENA_BLOCK = 64 << 10, ARENA_LIMIT = 512 << 20 };

struct arena {
	struct arena *next;
	size_t used, size, total;
	_Alignas(16) unsigned char memory[];
};

void ptx_fail(struct compiler *c, uint32_t line, const char *format, ...)
{
	char sentence[256];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(sentence, sizeof(sentence), format, arguments); // NOLINT: the analyzer of clang 14 loses va_start
	va_end(arguments);
	if (c->log.text && c->log.size)
		snprintf(c->log.text, c->log.size, "line %u: %s", line, sentence);
	longjmp(c->failed, PTX_ERROR_SYNTAX);
}

void ptx_out_of_memory(struct compiler *c)
{
	if (c->log.text && c->log.size)
		snprintf(c->log.text, c->log.size, "line %u: out of memory, or over a limit of this device", c->line);
	longjmp(c->failed, PTX_ERROR_MEMORY);
}

void *ptx_grow(struct compiler *c, void *array, uint32_t count, uint32_t *space, size_t size, uint32_t limit)
{
	uint32_t wanted;
	void *grown;

	if (count < *space)
		return array;
	if (count >= limit)
		ptx_out_of_memory(c);
	wanted = *space ? *space * 2 : 32;
	grown = realloc(array, wanted * size);
	if (!grown)
		ptx_out_of_memory(c);
	memset((char *)grown + *space * size, 0, (wanted - *space) * size);
	*space = wanted;
	return grown;
}

void *ptx_arena_alloc(struct compiler *c, size_t size)
{
	struct arena *arena = c->arena;
	void *memory;

	size = (size + 15) & ~(size_t)15;
	if (!arena || arena->size - arena->used < size) {
		size_t block = size > ARENA_BLOCK ? size : ARENA_BLOCK, total = (arena ? arena->total : 0) + block;
		struct arena *fresh = total > ARENA_LIMIT ? NULL : calloc(1, sizeof(*fresh) + block);

		if (!fresh)
			ptx_out_of_memory(c);
		*fresh = (struct arena){ .next = arena, .size = block, .total = total };
		c->arena = arena = fresh;
	}
	memory = arena->memory + arena->used;
	arena->used += size;
	return memory;
}

void ptx_arena_free(struct arena *arena)
{
	while (arena) {
		struct arena *next = arena->next;

		free(arena);
		arena = next;
	}
}

uint32_t ptx_hash(struct slice slice)
{
	uint32_t hash = 2166136261u;

	for (uint32_t i = 0; i < slice.size; i++)
		hash = (hash ^ (unsigned char)slice.at[i]) * 16777619u;
	return hash;
}

char *ptx_copy_name(struct compiler *c, struct slice name)
{
	char *copy = calloc(1, (size_t)name.size + 1);

	if (!copy)
		ptx_out_of_memory(c);
	if (name.at)
		memcpy(copy, name.at, name.size);
	return copy;
}

bool slice_is(struct slice slice, const char *text)
{
	return strlen(text) == slice.size && !memcmp(slice.at, text, slice.size);
}
