/* SPDX-License-Identifier: MIT */
/* The pool of constants: rows that hold one number in every lane. Equal numbers share a row. */
#include <stdlib.h>
#include <string.h>

#include "softgpu/ptx/internal.h"

/* What makes entries equal; kept beside the pool. */
struct key {
	uint64_t number;
	uint32_t bytes, kind, index;
};

static size_t reserve(struct compiler *c, size_t size)
{
	struct ptx_module *module = c->module;
	size_t at = (module->pool_size + 63) & ~(size_t)63;

	if (at + size > MAX_POOL)
		ptx_out_of_memory(c);
	if (at + size > module->pool_space) {
		size_t space = module->pool_space ? module->pool_space * 2 : 16384;
		unsigned char *grown;

		while (space < at + size)
			space *= 2;
		grown = aligned_alloc(64, space);
		if (!grown)
			ptx_out_of_memory(c);
		if (module->pool)
			memcpy(grown, module->pool, module->pool_size);
		free(module->pool);
		module->pool = grown;
		module->pool_space = space;
	}
	module->pool_size = at + size;
	return at;
}

static void fill(struct ptx_module *module, size_t at, uint64_t number, uint32_t bytes)
{
	for (int lane = 0; lane < LANES; lane++)
		memcpy(module->pool + at + (size_t)lane * bytes, &number, bytes);
}

/* A table from keys to operands: open addressing, entries of 1 + sizeof(key) / 4 words. */
enum { ENTRY_WORDS = 6 };

static uint32_t *find_entry(struct compiler *c, const struct key *key)
{
	uint64_t hash = (key->number ^ key->bytes ^ (uint64_t)key->kind << 32 ^ key->index) * 0x9e3779b97f4a7c15ull;

	for (uint32_t i = (uint32_t)(hash >> 40);; i++) {
		uint32_t *entry = &c->pool_index[(size_t)(i & (c->pool_index_size - 1)) * ENTRY_WORDS];

		if (!entry[0] || !memcmp(&entry[1], key, 20))
			return entry;
	}
}

static void grow_index(struct compiler *c)
{
	uint32_t *before = c->pool_index, size = c->pool_index_size;

	c->pool_index_size = size ? size * 2 : 256;
	c->pool_index = ptx_arena_alloc(c, (size_t)c->pool_index_size * ENTRY_WORDS * 4);
	for (uint32_t i = 0; i < size; i++) {
		uint32_t *entry = &before[(size_t)i * ENTRY_WORDS];
		struct key key;

		if (!entry[0])
			continue;
		memcpy(&key, &entry[1], 20);
		memcpy(find_entry(c, &key), entry, ENTRY_WORDS * 4);
	}
}

/* An entry's first word is its operand; operands are odd, so never 0. */
static uint32_t *lookup(struct compiler *c, uint64_t number, uint32_t bytes, uint32_t kind, uint32_t index)
{
	struct key key = { number, bytes, kind, index };
	uint32_t *entry;

	if (c->pool_entries * 2 >= c->pool_index_size)
		grow_index(c);
	entry = find_entry(c, &key);
	if (!entry[0]) {
		memcpy(&entry[1], &key, 20);
		c->pool_entries++;
	}
	return entry;
}

int32_t ptx_constant(struct compiler *c, uint64_t number, uint32_t bytes)
{
	uint32_t width = bytes == 8 ? 8 : 4;
	uint32_t *entry;

	if (bytes < 8)
		number &= ((uint64_t)1 << bytes * 8) - 1;
	entry = lookup(c, number, width, 0, 0);
	if (!entry[0]) {
		size_t at = reserve(c, (size_t)width * LANES);

		fill(c->module, at, number, width);
		entry[0] = (uint32_t)(at / 4 * 2 + 1);
	}
	return (int32_t)entry[0];
}

int32_t ptx_constant_predicate(struct compiler *c, bool value)
{
	return ptx_constant(c, value ? UINT32_MAX : 0, 4);
}

static void add_relocation(struct compiler *c, struct relocation relocation)
{
	struct ptx_module *module = c->module;

	module->relocations = ptx_grow(c, module->relocations, module->relocation_count, &module->relocation_space,
				       sizeof(relocation), 1 << 22);
	module->relocations[module->relocation_count++] = relocation;
}

int32_t ptx_constant_address(struct compiler *c, enum relocation_kind kind, uint32_t index, uint64_t addend,
			     uint32_t bytes)
{
	uint32_t *entry = lookup(c, addend, bytes, 1 + (uint32_t)kind, index);

	if (!entry[0]) {
		size_t at = reserve(c, (size_t)bytes * LANES);

		entry[0] = (uint32_t)(at / 4 * 2 + 1);
		add_relocation(c, (struct relocation){ kind, at, addend, index, false, (uint8_t)bytes });
	}
	return (int32_t)entry[0];
}

void ptx_relocate_image(struct compiler *c, uint64_t place, uint64_t addend)
{
	add_relocation(c, (struct relocation){ RELOCATION_GLOBAL, place, addend, 0, true, 8 });
}
