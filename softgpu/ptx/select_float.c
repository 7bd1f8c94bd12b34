/* SPDX-License-Identifier: MIT */
/* Floating-point arithmetic. */
#include <string.h>

#include "softgpu/ptx/internal.h"

static const struct {
	const char *name;
	enum ptx_float kind;
	uint32_t operands;
	enum ptx_opcode fast32, fast64; /* for round-to-nearest without further flags */
	bool approximate;		/* has no rounding but .approx (or .full) */
} floats[] = {
	{ "add", FLOAT_ADD, 3, OP_FADD32, OP_FADD64 },
	{ "sub", FLOAT_SUB, 3, OP_FSUB32, OP_FSUB64 },
	{ "mul", FLOAT_MUL, 3, OP_FMUL32, OP_FMUL64 },
	{ "fma", FLOAT_FMA, 4, OP_FFMA32, OP_FFMA64 },
	{ "mad", FLOAT_FMA, 4, OP_FFMA32, OP_FFMA64 },
	{ "div", FLOAT_DIV, 3, OP_FDIV32, OP_FDIV64 },
	{ "min", FLOAT_MIN, 3, OP_FMIN32, OP_FMIN64 },
	{ "max", FLOAT_MAX, 3, OP_FMAX32, OP_FMAX64 },
	{ "abs", FLOAT_ABS, 2, OP_FABS32, OP_FABS64 },
	{ "neg", FLOAT_NEG, 2, OP_FNEG32, OP_FNEG64 },
	{ "sqrt", FLOAT_SQRT, 2, OP_NOP, OP_NOP },
	{ "rcp", FLOAT_RCP, 2, OP_NOP, OP_NOP },
	{ "rsqrt", FLOAT_RSQRT, 2, OP_FRSQRT32, OP_NOP, true },
	{ "sin", FLOAT_SIN, 2, OP_NOP, OP_NOP, true },
	{ "cos", FLOAT_COS, 2, OP_NOP, OP_NOP, true },
	{ "lg2", FLOAT_LG2, 2, OP_NOP, OP_NOP, true },
	{ "ex2", FLOAT_EX2, 2, OP_FEXP32, OP_NOP, true },
	{ "tanh", FLOAT_TANH, 2, OP_NOP, OP_NOP, true },
	{ "copysign", FLOAT_COPYSIGN, 3, OP_NOP, OP_NOP },
};

static uint8_t read_flags(struct instruction *in, enum ptx_type type, enum ptx_float kind)
{
	uint8_t flags = ROUND_NEAREST;

	if (ptx_mod(in, "rz"))
		flags = ROUND_ZERO;
	else if (ptx_mod(in, "rm"))
		flags = ROUND_DOWN;
	else if (ptx_mod(in, "rp"))
		flags = ROUND_UP;
	else
		ptx_mod(in, "rn");
	ptx_mod(in, "approx");
	ptx_mod(in, "full");
	if (ptx_mod(in, "ftz"))
		flags |= FLAG_FTZ;
	if (ptx_mod(in, "sat"))
		flags |= FLAG_SAT;
	if (ptx_mod(in, "NaN"))
		flags |= FLAG_NAN;
	if (type == T_BF16 || type == T_BF16X2)
		flags |= FLAG_BF16;
	if (ptx_type_size(type) < 8 && type != T_F32 && ptx_mod(in, "relu"))
		flags |= FLAG_RELU;
	if (type == T_F32 && (kind == FLOAT_MIN || kind == FLOAT_MAX) && ptx_mod(in, "xorsign") && ptx_mod(in, "abs"))
		flags |= FLAG_XORSIGN;
	return flags;
}

static bool select_test(struct compiler *c, struct instruction *in, enum ptx_type type)
{
	static const char *const tests[] = { "finite", "infinite", "number", "notanumber", "normal", "subnormal" };

	for (uint8_t i = 0; i < 6; i++) {
		struct ptx_op *op;
		int32_t a;

		if (!ptx_mod(in, tests[i]))
			continue;
		ptx_need_operands(c, in, 2, 2);
		a = ptx_source(c, &in->operands[1], type);
		op = ptx_emit(c, type == T_F64 ? OP_TESTP64 : OP_TESTP32, ptx_destination(c, &in->operands[0], T_PRED),
			      a, 0, 0);
		op->y = i;
		return true;
	}
	return false;
}

static enum ptx_opcode opcode_for(enum ptx_type type)
{
	switch (type) {
	case T_F32:
		return OP_FLOAT32;
	case T_F64:
		return OP_FLOAT64;
	case T_F16:
	case T_BF16:
		return OP_HALF;
	default:
		return OP_HALF2;
	}
}

bool ptx_select_float(struct compiler *c, struct instruction *in)
{
	struct operand *o = in->operands;
	enum ptx_type type = T_NONE;
	int32_t rows[3] = { 0 };
	struct ptx_op *op;
	uint8_t flags;
	size_t i;

	if (in->mod_count)
		type = ptx_type_named(in->mods[in->mod_count - 1]);
	if (type < T_F16 || type > T_F64)
		return false;
	if (slice_is(in->opcode, "testp") && (type == T_F32 || type == T_F64)) {
		ptx_mod_types(in, &type, 1);
		return select_test(c, in, type);
	}
	for (i = 0; i < sizeof(floats) / sizeof(floats[0]); i++)
		if (slice_is(in->opcode, floats[i].name))
			break;
	if (i == sizeof(floats) / sizeof(floats[0]))
		return false;
	ptx_mod_types(in, &type, 1);
	flags = read_flags(in, type, floats[i].kind);
	ptx_need_operands(c, in, floats[i].operands, floats[i].operands);
	for (uint32_t k = 1; k < floats[i].operands; k++)
		rows[k - 1] = ptx_source(c, &o[k], type);
	op = ptx_emit(c, opcode_for(type), ptx_destination(c, &o[0], type), rows[0], rows[1], rows[2]);
	op->x = flags;
	op->y = floats[i].kind;
	if (type == T_F64 && floats[i].kind == FLOAT_RCP && ptx_mod(in, "approx"))
		op->y = FLOAT_RCP_APPROX64;
	/* Without .ftz it is as exact as software makes it. */
	if (type == T_F64 && floats[i].kind == FLOAT_RSQRT && flags & FLAG_FTZ)
		op->y = FLOAT_RSQRT_APPROX64;
	if (flags == 0 && type == T_F32 && floats[i].fast32 != OP_NOP)
		op->code = (uint16_t)floats[i].fast32;
	/* Flushing changes nothing that a caller of the approximations may rely on, so these keep their speed. */
	if (flags == FLAG_FTZ && type == T_F32 && (op->y == FLOAT_RSQRT || op->y == FLOAT_EX2))
		op->code = (uint16_t)floats[i].fast32;
	if (flags == 0 && type == T_F64 && floats[i].fast64 != OP_NOP)
		op->code = (uint16_t)floats[i].fast64;
	return true;
}
