/* SPDX-License-Identifier: MIT */
/* Names, their scopes, and the rows of registers. */
#include <string.h>

#include "softgpu/ptx/internal.h"

struct symbol *ptx_symbol_find(struct compiler *c, struct slice name)
{
	uint32_t hash = ptx_hash(name);

	for (struct symbol *s = c->buckets[hash % SYMBOL_BUCKETS]; s; s = s->next)
		if (s->hash == hash && slice_equal(s->name, name))
			return s;
	return NULL;
}

struct symbol *ptx_symbol_add(struct compiler *c, struct slice name, enum symbol_kind kind)
{
	struct symbol *symbol = ptx_symbol_find(c, name);

	if (symbol && symbol->depth == c->depth)
		ptx_fail(c, c->token.line, "\"%.*s\" is declared twice", (int)name.size, name.at);
	symbol = ptx_arena_alloc(c, sizeof(*symbol));
	symbol->name = name;
	symbol->kind = kind;
	symbol->row = -1;
	symbol->depth = c->depth;
	symbol->hash = ptx_hash(name);
	symbol->next = c->buckets[symbol->hash % SYMBOL_BUCKETS];
	c->buckets[symbol->hash % SYMBOL_BUCKETS] = symbol;
	symbol->outer = c->symbols;
	c->symbols = symbol;
	return symbol;
}

void ptx_scope_enter(struct compiler *c)
{
	if (++c->depth > PTX_MAX_NESTING)
		ptx_fail(c, c->token.line, "scopes nest deeper than %d", PTX_MAX_NESTING);
}

void ptx_scope_leave(struct compiler *c)
{
	while (c->symbols && c->symbols->depth == c->depth) {
		struct symbol *symbol = c->symbols;

		c->buckets[symbol->hash % SYMBOL_BUCKETS] = symbol->next;
		c->symbols = symbol->outer;
	}
	c->depth--;
}

int32_t ptx_new_row(struct compiler *c, enum ptx_type type)
{
	uint32_t size = type == T_PRED ? 4 : ptx_type_size(type) == 8 ? ROW64 : ROW32;
	uint32_t at = c->frame;

	/* Rows begin at multiples of 64 bytes; predicates fill a row's room one after the other. */
	if (type != T_PRED)
		at = (at + 63) & ~63u;
	if (at + size > MAX_FRAME)
		ptx_fail(c, c->token.line, "a function uses more registers than fit %d bytes", MAX_FRAME / LANES);
	c->frame = at + size;
	return (int32_t)(at / 4 * 2);
}

static bool split_number(struct slice name, struct slice *ret_base, uint32_t *ret_number)
{
	uint32_t size = name.size, number = 0;

	while (size && name.at[size - 1] >= '0' && name.at[size - 1] <= '9')
		size--;
	if (size == name.size || !size || name.size - size > 9)
		return false;
	for (uint32_t i = size; i < name.size; i++)
		number = number * 10 + (uint32_t)(name.at[i] - '0');
	*ret_base = (struct slice){ name.at, size };
	*ret_number = number;
	return true;
}

bool ptx_register_find(struct compiler *c, struct slice name, int32_t *ret_row, enum ptx_type *ret_type)
{
	struct symbol *symbol = ptx_symbol_find(c, name);
	int32_t *row;

	if (symbol && symbol->kind == SYMBOL_REGISTER) {
		row = &symbol->row;
	} else {
		struct slice base;
		uint32_t number;

		if (symbol || !split_number(name, &base, &number))
			return false;
		symbol = ptx_symbol_find(c, base);
		if (!symbol || symbol->kind != SYMBOL_RANGE || number >= symbol->count)
			return false;
		row = &symbol->rows[number];
	}
	if (*row < 0)
		*row = ptx_new_row(c, symbol->type);
	*ret_row = *row;
	*ret_type = symbol->type;
	return true;
}
