/* SPDX-License-Identifier: MIT */
/* Moves, packing and unpacking of vectors, and address spaces. */
#include <string.h>

#include "softgpu/ptx/internal.h"

static bool wide(enum ptx_type type)
{
	return ptx_type_size(type) == 8;
}

/* mov.b64 d, {a, b}: the parts' sizes follow from their number. */
static void select_pack(struct compiler *c, struct instruction *in, enum ptx_type type)
{
	struct operand *vector = &in->operands[1];
	uint32_t part = vector->count ? ptx_type_size(type) / vector->count : 0;
	enum ptx_type part_type = part == 4 ? T_B32 : part == 2 ? T_B16 : T_B8;
	int32_t rows[4] = { 0 };
	struct ptx_op *op;

	if ((vector->count != 2 && vector->count != 4) || !part)
		ptx_unsupported(c, in);
	for (uint32_t i = 0; i < vector->count; i++)
		rows[i] = ptx_source(c, &vector->parts[i], part_type);
	op = ptx_emit(c, OP_PACK, ptx_destination(c, &in->operands[0], type), rows[0], rows[1], rows[2]);
	op->e = rows[3];
	op->x = (uint8_t)vector->count;
	op->y = (uint8_t)part;
}

static void select_unpack(struct compiler *c, struct instruction *in, enum ptx_type type)
{
	struct operand *vector = &in->operands[0];
	uint32_t part = vector->count ? ptx_type_size(type) / vector->count : 0;
	enum ptx_type part_type = part == 4 ? T_B32 : part == 2 ? T_B16 : T_B8;
	int32_t rows[4] = { 0 };
	struct ptx_op *op;
	int32_t source;

	if ((vector->count != 2 && vector->count != 4) || !part)
		ptx_unsupported(c, in);
	source = ptx_source(c, &in->operands[1], type);
	for (uint32_t i = 0; i < vector->count; i++)
		rows[i] = ptx_destination(c, &vector->parts[i], part_type);
	op = ptx_emit(c, OP_UNPACK, rows[0], source, rows[1], rows[2]);
	op->e = rows[3];
	op->x = (uint8_t)vector->count;
	op->y = (uint8_t)part;
}

static void select_mov(struct compiler *c, struct instruction *in)
{
	struct operand *o = in->operands;
	enum ptx_type type = T_NONE;
	int32_t source;

	if (ptx_mod_types(in, &type, 1) != 1 || (type != T_PRED && ptx_type_size(type) < 2))
		ptx_unsupported(c, in);
	ptx_need_operands(c, in, 2, 2);
	if (o[1].kind == OPERAND_VECTOR) {
		select_pack(c, in, type);
		return;
	}
	if (o[0].kind == OPERAND_VECTOR) {
		select_unpack(c, in, type);
		return;
	}
	source = ptx_source(c, &o[1], type);
	ptx_emit(c, type == T_PRED ? OP_PMOV : wide(type) ? OP_MOV64 : OP_MOV32, ptx_destination(c, &o[0], type),
		 source, 0, 0);
}

/* The window in which a space's addresses lie when they are generic; 0 for those that are the same. */
static bool space_window(struct compiler *c, struct instruction *in, uint64_t *ret_window)
{
	bool kernel = c->module->functions[c->function_index].kernel;

	if (ptx_mod(in, "global") || ptx_mod(in, "const"))
		*ret_window = 0;
	else if (ptx_mod(in, "shared") || ptx_mod(in, "shared::cta") || ptx_mod(in, "shared::cluster"))
		*ret_window = PTX_SHARED_WINDOW;
	else if (ptx_mod(in, "local"))
		*ret_window = PTX_LOCAL_WINDOW;
	else if (ptx_mod(in, "param") || ptx_mod(in, "param::entry") || ptx_mod(in, "param::func"))
		*ret_window = kernel ? PTX_PARAM_WINDOW : PTX_LOCAL_WINDOW;
	else
		return false;
	return true;
}

static void select_cvta(struct compiler *c, struct instruction *in)
{
	bool to = ptx_mod(in, "to");
	enum ptx_type type = T_NONE;
	uint64_t window;
	int32_t source;

	if (ptx_mod_types(in, &type, 1) != 1 || !wide(type) || !space_window(c, in, &window))
		ptx_unsupported(c, in);
	ptx_need_operands(c, in, 2, 2);
	source = ptx_source(c, &in->operands[1], type);
	if (!window)
		ptx_emit(c, OP_MOV64, ptx_destination(c, &in->operands[0], type), source, 0, 0);
	else
		ptx_emit(c, to ? OP_SUB64 : OP_ADD64, ptx_destination(c, &in->operands[0], type), source,
			 ptx_constant(c, window, 8), 0);
}

static void select_isspacep(struct compiler *c, struct instruction *in)
{
	int32_t source;
	uint64_t window;

	if (!space_window(c, in, &window))
		ptx_unsupported(c, in);
	ptx_need_operands(c, in, 2, 2);
	source = ptx_source(c, &in->operands[1], T_B64);
	ptx_emit(c, OP_ISSPACE, ptx_destination(c, &in->operands[0], T_PRED), source, 0, 0)->imm = window;
}

/* The address of a block's shared variable in another block of its cluster: clusters have one block. */
static void select_mapa(struct compiler *c, struct instruction *in)
{
	enum ptx_type type = T_NONE;
	int32_t source;

	ptx_mod(in, "shared::cluster");
	if (ptx_mod_types(in, &type, 1) != 1)
		ptx_unsupported(c, in);
	ptx_need_operands(c, in, 3, 3);
	source = ptx_source(c, &in->operands[1], type);
	ptx_emit(c, wide(type) ? OP_MOV64 : OP_MOV32, ptx_destination(c, &in->operands[0], type), source, 0, 0);
}

bool ptx_select_move(struct compiler *c, struct instruction *in)
{
	if (slice_is(in->opcode, "mov"))
		select_mov(c, in);
	else if (slice_is(in->opcode, "cvta"))
		select_cvta(c, in);
	else if (slice_is(in->opcode, "isspacep"))
		select_isspacep(c, in);
	else if (slice_is(in->opcode, "mapa"))
		select_mapa(c, in);
	else
		return false;
	return true;
}
