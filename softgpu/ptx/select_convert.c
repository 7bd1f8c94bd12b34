/* SPDX-License-Identifier: MIT */
/* cvt: between all numbers that nvcc converts. */
#include <string.h>

#include "softgpu/ptx/internal.h"

static bool number_kind(enum ptx_type type, enum ptx_number *ret_kind)
{
	switch (type) {
	case T_U8:
	case T_U16:
	case T_U32:
	case T_U64:
		*ret_kind = NUMBER_UNSIGNED;
		return true;
	case T_S8:
	case T_S16:
	case T_S32:
	case T_S64:
		*ret_kind = NUMBER_SIGNED;
		return true;
	case T_F16:
		*ret_kind = NUMBER_F16;
		return true;
	case T_BF16:
		*ret_kind = NUMBER_BF16;
		return true;
	case T_F32:
		*ret_kind = NUMBER_F32;
		return true;
	case T_F64:
		*ret_kind = NUMBER_F64;
		return true;
	default:
		return false;
	}
}

static uint8_t read_flags(struct instruction *in)
{
	uint8_t flags = ROUND_NEAREST;

	if (ptx_mod(in, "rz") || ptx_mod(in, "rzi"))
		flags = ROUND_ZERO;
	else if (ptx_mod(in, "rm") || ptx_mod(in, "rmi"))
		flags = ROUND_DOWN;
	else if (ptx_mod(in, "rp") || ptx_mod(in, "rpi"))
		flags = ROUND_UP;
	else if (ptx_mod(in, "rna"))
		flags = ROUND_AWAY;
	if (ptx_mod(in, "ftz"))
		flags |= FLAG_FTZ;
	if (ptx_mod(in, "sat"))
		flags |= FLAG_SAT;
	if (ptx_mod(in, "relu"))
		flags |= FLAG_RELU;
	return flags;
}

/* Common pairs have ops of their own. */
static enum ptx_opcode fast(enum ptx_type to, enum ptx_type from, uint8_t flags)
{
	if (flags & ~ROUND_MASK)
		return OP_NOP;
	if (to == T_F32 && from == T_S32 && !flags)
		return OP_CVTF32S32;
	if (to == T_F32 && from == T_U32 && !flags)
		return OP_CVTF32U32;
	if (to == T_F64 && from == T_S32)
		return OP_CVTF64S32;
	if (to == T_F64 && from == T_F32)
		return OP_CVTF64F32;
	if (to == T_F32 && from == T_F64 && !flags)
		return OP_CVTF32F64;
	if (to == T_S32 && from == T_F32 && flags == ROUND_ZERO)
		return OP_CVTS32F32;
	return OP_NOP;
}

/* A register that may be wider than the type: cvt allows it, and extends. */
static int32_t loose_source(struct compiler *c, struct operand *operand, enum ptx_type type, uint32_t *ret_bytes)
{
	*ret_bytes = ptx_type_size(type);
	if (operand->kind == OPERAND_REGISTER && operand->type != T_PRED)
		*ret_bytes = ptx_type_size(operand->type) == 8 ? 8 : 4;
	return ptx_source(c, operand, *ret_bytes == 8 ? T_B64 : ptx_type_size(type) == 8 ? T_B64 : T_B32);
}

static int32_t loose_destination(struct compiler *c, struct operand *operand, enum ptx_type type, uint32_t *ret_bytes)
{
	uint32_t bytes = ptx_type_size(type);

	if (operand->kind == OPERAND_REGISTER && operand->type != T_PRED && ptx_type_size(operand->type) > bytes)
		bytes = ptx_type_size(operand->type);
	*ret_bytes = bytes;
	return ptx_destination(c, operand, bytes == 8 ? T_B64 : T_B32);
}

static void select_integer(struct compiler *c, struct instruction *in, enum ptx_type to, enum ptx_type from)
{
	uint32_t to_bytes = ptx_type_size(to), from_bytes = ptx_type_size(from), source_bytes, row_bytes;
	int32_t source = loose_source(c, &in->operands[1], from, &source_bytes);
	int32_t row = loose_destination(c, &in->operands[0], to, &row_bytes);
	bool is_signed = ptx_type_signed(from);
	struct ptx_op *op;

	if (source_bytes == 4 && row_bytes == 8 && from_bytes == 4 && to_bytes == 8) {
		ptx_emit(c, is_signed ? OP_SEXT32 : OP_ZEXT32, row, source, 0, 0);
	} else if (source_bytes == 8 && row_bytes == 4 && from_bytes == 8 && to_bytes == 4) {
		ptx_emit(c, OP_TRUNC64, row, source, 0, 0);
	} else {
		/* sizes: of the source's row, its type, the result's type, its row */
		op = ptx_emit(c, OP_CVTINT, row, source, 0, 0);
		op->x = (uint8_t)((source_bytes == 8) | (row_bytes == 8) << 1 | is_signed << 2 | ptx_type_signed(to) << 3);
		op->imm = from_bytes | to_bytes << 8 | row_bytes << 16;
	}
}

/* Two numbers into one register: cvt.rn.f16x2.f32 d, high, low. */
static bool select_pair(struct compiler *c, struct instruction *in, enum ptx_type to, enum ptx_type from, uint8_t flags)
{
	int32_t high, low;
	struct ptx_op *op;

	if ((to != T_F16X2 && to != T_BF16X2) || from != T_F32)
		return false;
	ptx_need_operands(c, in, 3, 3);
	high = ptx_source(c, &in->operands[1], T_F32);
	low = ptx_source(c, &in->operands[2], T_F32);
	op = ptx_emit(c, OP_CVTX2, ptx_destination(c, &in->operands[0], T_B32), high, low, 0);
	op->x = flags;
	op->y = to == T_BF16X2 ? NUMBER_BF16 : NUMBER_F16;
	return true;
}

bool ptx_select_convert(struct compiler *c, struct instruction *in)
{
	enum ptx_type types[2] = { T_NONE, T_NONE };
	enum ptx_number to = NUMBER_UNSIGNED, from = NUMBER_UNSIGNED;
	uint32_t source_bytes, row_bytes;
	int32_t source, row;
	struct ptx_op *op;
	uint8_t flags;
	bool integral;

	if (!slice_is(in->opcode, "cvt"))
		return false;
	integral = ptx_mod(in, "rni") || ptx_mod(in, "rzi") || ptx_mod(in, "rmi") || ptx_mod(in, "rpi");
	ptx_mod(in, "rn");
	flags = read_flags(in);
	if (ptx_mod(in, "tf32")) {
		types[0] = T_F32;
		ptx_mod_types(in, &types[1], 1);
		to = NUMBER_TF32;
	} else if (ptx_mod_types(in, types, 2) != 2) {
		ptx_unsupported(c, in);
	}
	if (select_pair(c, in, types[0], types[1], flags))
		return true;
	ptx_need_operands(c, in, 2, 2);
	if (!number_kind(types[1], &from) || (!ptx_mod(in, "tf32") && !number_kind(types[0], &to)))
		ptx_unsupported(c, in);
	if (to <= NUMBER_SIGNED && from <= NUMBER_SIGNED && !(flags & FLAG_SAT)) {
		select_integer(c, in, types[0], types[1]);
		return true;
	}
	source = loose_source(c, &in->operands[1], types[1], &source_bytes);
	row = loose_destination(c, &in->operands[0], types[0], &row_bytes);
	if (to != NUMBER_TF32 && fast(types[0], types[1], flags) != OP_NOP && row_bytes == ptx_type_size(types[0])) {
		ptx_emit(c, fast(types[0], types[1], flags), row, source, 0, 0);
		return true;
	}
	op = ptx_emit(c, OP_CVT, row, source, 0, 0);
	op->x = flags;
	op->y = (uint8_t)((source_bytes == 8) | (row_bytes == 8) << 1 | integral << 2);
	op->imm = (uint64_t)to | (uint64_t)ptx_type_size(types[0]) * 8 << 8 | (uint64_t)from << 16 |
		  (uint64_t)ptx_type_size(types[1]) * 8 << 24 | (uint64_t)row_bytes << 32;
	return true;
}
