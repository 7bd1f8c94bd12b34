/* SPDX-License-Identifier: MIT */
/* Atomic operations: atom and red. */
#include <string.h>

#include "softgpu/ptx/internal.h"

static const struct {
	const char *name;
	enum ptx_atomic kind;
} kinds[] = {
	{ "add", ATOMIC_ADD }, { "min", ATOMIC_MIN }, { "max", ATOMIC_MAX }, { "inc", ATOMIC_INC }, { "dec", ATOMIC_DEC },
	{ "and", ATOMIC_AND }, { "or", ATOMIC_OR },   { "xor", ATOMIC_XOR }, { "exch", ATOMIC_EXCH },
	{ "cas", ATOMIC_CAS },
};

static void check_type(struct compiler *c, struct instruction *in, enum ptx_atomic kind, enum ptx_type type)
{
	uint32_t size = ptx_type_size(type);
	bool is_float = type >= T_F16 && type <= T_F64;

	if (size < 2 || type >= T_PRED || (is_float && kind > ATOMIC_MAX && kind != ATOMIC_EXCH) ||
	    (size == 2 && !is_float && kind != ATOMIC_CAS && kind != ATOMIC_EXCH) ||
	    ((kind == ATOMIC_INC || kind == ATOMIC_DEC) && size != 4))
		ptx_unsupported(c, in);
}

static bool is_vector(const struct operand *operand, uint32_t count)
{
	return operand->kind == OPERAND_VECTOR && operand->count == count;
}

/* Vectors of floats: one operation for each element, as PTX promises no more. */
static uint32_t element_count(struct compiler *c, struct instruction *in, enum ptx_atomic kind, enum ptx_type type,
			      uint32_t first)
{
	uint32_t count = ptx_mod(in, "v2") ? 2 : ptx_mod(in, "v4") ? 4 : ptx_mod(in, "v8") ? 8 : 1;

	if (count == 1)
		return 1;
	if (kind > ATOMIC_MAX || type < T_F16 || type > T_F32)
		ptx_unsupported(c, in);
	if (!is_vector(&in->operands[first + 1], count) || (first && !is_vector(&in->operands[0], count)))
		ptx_unsupported(c, in);
	return count;
}

bool ptx_select_atomic(struct compiler *c, struct instruction *in)
{
	static const char *const ignored[] = { "relaxed", "cta", "cluster", "gpu", "sys", "noftz" };
	bool reduce = slice_is(in->opcode, "red"), acquire, release, is_wide, hint;
	enum ptx_space space = SPACE_GENERIC;
	enum ptx_type type = T_NONE;
	uint32_t first, operands, count;
	int32_t address, b = 0;
	struct ptx_op *op;
	uint64_t offset;
	size_t k;

	if (!reduce && !slice_is(in->opcode, "atom"))
		return false;
	acquire = ptx_mod(in, "acquire");
	release = ptx_mod(in, "release");
	if (ptx_mod(in, "acq_rel"))
		acquire = release = true;
	if (ptx_mod(in, "global"))
		space = SPACE_GLOBAL;
	if (ptx_mod(in, "shared") || ptx_mod(in, "shared::cta") || ptx_mod(in, "shared::cluster"))
		space = SPACE_SHARED;
	hint = ptx_mod(in, "L2::cache_hint");
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		ptx_mod(in, ignored[i]);
	for (k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
		if (ptx_mod(in, kinds[k].name))
			break;
	if (k == sizeof(kinds) / sizeof(kinds[0]) || ptx_mod_types(in, &type, 1) != 1)
		ptx_unsupported(c, in);
	check_type(c, in, kinds[k].kind, type);
	first = reduce ? 0 : 1;
	operands = first + 2 + (kinds[k].kind == ATOMIC_CAS);
	ptx_need_operands(c, in, operands + hint, operands + hint);
	count = element_count(c, in, kinds[k].kind, type, first);
	address = ptx_address(c, &in->operands[first], &space, &is_wide, &offset);
	if (address < 0 || space == SPACE_CONST)
		ptx_unsupported(c, in);
	if (!is_wide) {
		int32_t extended = ptx_new_row(c, T_B64);

		ptx_emit(c, OP_ZEXT32, extended, address, 0, 0);
		address = extended;
	}
	if (kinds[k].kind == ATOMIC_CAS)
		b = ptx_source(c, &in->operands[first + 2], type);
	if (release)
		ptx_emit(c, OP_FENCE, 0, 0, 0, 0);
	for (uint32_t i = 0; i < count; i++) {
		struct operand *o = in->operands;
		int32_t a = ptx_source(c, count > 1 ? &o[first + 1].parts[i] : &o[first + 1], type);
		int32_t result = reduce ? -1 : ptx_destination(c, count > 1 ? &o[0].parts[i] : &o[0], type);

		op = ptx_emit(c, space == SPACE_SHARED ? OP_ATOMSHARED : OP_ATOMGLOBAL, result, address, a, b);
		op->x = (uint8_t)type;
		op->y = (uint8_t)kinds[k].kind;
		op->imm = offset + i * ptx_type_size(type);
	}
	if (acquire)
		ptx_emit(c, OP_FENCE, 0, 0, 0, 0);
	return true;
}
