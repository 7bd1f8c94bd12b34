/* SPDX-License-Identifier: MIT */
/* One instruction: which family it belongs to; nothing in it may be left that nobody understood. */
#include <string.h>

#include "softgpu/ptx/internal.h"

void ptx_unsupported(struct compiler *c, struct instruction *in)
{
	ptx_fail(c, in->line, "the instruction \"%.*s\" is not supported",
		 (int)(in->text.size > 120 ? 120 : in->text.size), in->text.at);
}

bool ptx_mod(struct instruction *in, const char *name)
{
	for (uint32_t i = 0; i < in->mod_count; i++) {
		if (slice_is(in->mods[i], name)) {
			in->used |= 1u << i;
			return true;
		}
	}
	return false;
}

uint32_t ptx_mod_types(struct instruction *in, enum ptx_type *types, uint32_t limit)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < in->mod_count && count < limit; i++) {
		enum ptx_type type = ptx_type_named(in->mods[i]);

		if (type == T_NONE)
			continue;
		in->used |= 1u << i;
		types[count++] = type;
	}
	return count;
}

void ptx_need_operands(struct compiler *c, struct instruction *in, uint32_t least, uint32_t most)
{
	if (in->operand_count < least || in->operand_count > most)
		ptx_fail(c, in->line, "%.*s: %u operands, not %u%s%.0u", (int)(in->text.size > 80 ? 80 : in->text.size),
			 in->text.at, least, in->operand_count, least == most ? "" : " of at most ",
			 least == most ? 0 : most);
}

void ptx_select(struct compiler *c, struct instruction *in)
{
	if (!ptx_select_memory(c, in) && !ptx_select_control(c, in) && !ptx_select_move(c, in) &&
	    !ptx_select_compare(c, in) && !ptx_select_float(c, in) && !ptx_select_integer(c, in) &&
	    !ptx_select_convert(c, in) && !ptx_select_atomic(c, in) && !ptx_select_warp(c, in))
		ptx_unsupported(c, in);
	if (in->used != (1u << in->mod_count) - 1)
		ptx_unsupported(c, in);
}
