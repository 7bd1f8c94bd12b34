/* SPDX-License-Identifier: MIT */
/* The loop of execute.c, which alone includes this: one case per op. */
#ifndef SOFTGPU_PTX_EXECUTE_LOOP_H
#define SOFTGPU_PTX_EXECUTE_LOOP_H

/* Puts the group's place back into its lanes. */
static inline void save(struct warp *warp, uint32_t pc)
{
	EACH_LANE(warp->active)
	warp->pc[l] = pc;
}

enum turn PTX_EXECUTE(struct block *block, struct warp *warp)
{
	const struct ptx_module *const module = block->module;
	const struct ptx_op *const ops = module->ops;
	int32_t *const mask = warp->mask;
	unsigned char *bases[2] = { NULL, module->pool };
	uint32_t fuel = FUEL, active, pc, base;
	const struct ptx_op *op;
	bool all;

choose:
	if (!ptx_choose(warp))
		return warp->alive ? TURN_BLOCKED : TURN_DONE;
	active = warp->active;
	pc = warp->pc[__builtin_ctz(active)];
	base = warp->base[__builtin_ctz(active)];
	bases[0] = warp->registers + base;
	all = active == warp->alive;
	if (!all)
		spread(active, mask);
	for (;; pc++) {
		op = &ops[pc];
		switch (op->code) {
			OP2(ADD16, u32, u32, u32, (A + B) & 0xffff)
			OP2(ADD32, u32, u32, u32, A + B)
			OP2(ADD64, u64, u64, u64, A + B)
			OP2(SUB16, u32, u32, u32, (A - B) & 0xffff)
			OP2(SUB32, u32, u32, u32, A - B)
			OP2(SUB64, u64, u64, u64, A - B)
			OP2(MUL16, u32, u32, u32, (A * B) & 0xffff)
			OP2(MUL32, u32, u32, u32, A * B)
			OP2(MUL64, u64, u64, u64, A * B)
			OP2(ADDSAT, s32, s32, s32, clamp32((s64)A + B))
			OP2(SUBSAT, s32, s32, s32, clamp32((s64)A - B))
			OP2(MULHIS16, u32, u32, u32, (u32)((s16)A * (s16)B) >> 16)
			OP2(MULHIU16, u32, u32, u32, (A & 0xffff) * (B & 0xffff) >> 16)
			OP2(MULHIS32, u32, s32, s32, (u32)((s64)A * B >> 32))
			OP2(MULHIU32, u32, u32, u32, (u32)((u64)A * B >> 32))
			OP2(MULHIS64, u64, s64, s64, (u64)((s128)A * B >> 64))
			OP2(MULHIU64, u64, u64, u64, (u64)((u128)A * B >> 64))
			OP2(MULWIDES16, u32, u32, u32, (u32)((s16)A * (s16)B))
			OP2(MULWIDEU16, u32, u32, u32, (A & 0xffff) * (B & 0xffff))
			OP2(MULWIDES32, u64, s32, s32, (u64)((s64)A * B))
			OP2(MULWIDEU32, u64, u32, u32, (u64)A * B)
			OP2(MUL24S, u32, s32, s32, (u32)((s64)(s32)((u32)A << 8) * (s32)((u32)B << 8) >> 16))
			OP2(MUL24U, u32, u32, u32, (u32)((u64)(A & 0xffffff) * (B & 0xffffff)))
			OP2(DIVS16, u32, u32, u32, (u32)DIV_S((s32)(s16)A, (s32)(s16)B, u32) & 0xffff)
			OP2(DIVU16, u32, u32, u32, DIV_U(A, B, 0xffffu))
			OP2(DIVS32, s32, s32, s32, DIV_S(A, B, u32))
			OP2(DIVU32, u32, u32, u32, DIV_U(A, B, UINT32_MAX))
			OP2(DIVS64, s64, s64, s64, DIV_S(A, B, u64))
			OP2(DIVU64, u64, u64, u64, DIV_U(A, B, UINT64_MAX))
			OP2(REMS16, u32, u32, u32, (u32)REM_S((s32)(s16)A, (s32)(s16)B) & 0xffff)
			OP2(REMU16, u32, u32, u32, REM_U(A, B))
			OP2(REMS32, s32, s32, s32, REM_S(A, B))
			OP2(REMU32, u32, u32, u32, REM_U(A, B))
			OP2(REMS64, s64, s64, s64, REM_S(A, B))
			OP2(REMU64, u64, u64, u64, REM_U(A, B))
			OP2(AND32, u32, u32, u32, A & B)
			OP2(AND64, u64, u64, u64, A & B)
			OP2(OR32, u32, u32, u32, A | B)
			OP2(OR64, u64, u64, u64, A | B)
			OP2(XOR32, u32, u32, u32, A ^ B)
			OP2(XOR64, u64, u64, u64, A ^ B)
			OP2(SHL16, u32, u32, u32, shl32(A, B) & 0xffff)
			OP2(SHL32, u32, u32, u32, shl32(A, B))
			OP2(SHL64, u64, u64, u32, B > 63 ? 0 : A << (B & 63))
			OP2(SHRU16, u32, u32, u32, shr32(A, B))
			OP2(SHRU32, u32, u32, u32, shr32(A, B))
			OP2(SHRU64, u64, u64, u32, B > 63 ? 0 : A >> (B & 63))
			OP2(SHRS16, u32, u32, u32, (u32)((s16)A >> (B > 15 ? 15 : B)) & 0xffff)
			OP2(SHRS32, s32, s32, u32, A >> (B > 31 ? 31 : B))
			OP2(SHRS64, s64, s64, u32, A >> (B > 63 ? 63 : B))
			OP2(MINS16, u32, u32, u32, (s16)A < (s16)B ? A : B)
			OP2(MINU16, u32, u32, u32, A < B ? A : B)
			OP2(MINS32, s32, s32, s32, A < B ? A : B)
			OP2(MINU32, u32, u32, u32, A < B ? A : B)
			OP2(MINS64, s64, s64, s64, A < B ? A : B)
			OP2(MINU64, u64, u64, u64, A < B ? A : B)
			OP2(MAXS16, u32, u32, u32, (s16)A > (s16)B ? A : B)
			OP2(MAXU16, u32, u32, u32, A > B ? A : B)
			OP2(MAXS32, s32, s32, s32, A > B ? A : B)
			OP2(MAXU32, u32, u32, u32, A > B ? A : B)
			OP2(MAXS64, s64, s64, s64, A > B ? A : B)
			OP2(MAXU64, u64, u64, u64, A > B ? A : B)
			OP2(BMSKC, u32, u32, u32, bit_mask(A, B, true))
			OP2(BMSKW, u32, u32, u32, bit_mask(A, B, false))
			OP1(NOT16, u32, u32, ~A & 0xffff)
			OP1(NOT32, u32, u32, ~A)
			OP1(NOT64, u64, u64, ~A)
			OP1(NEG16, u32, u32, (0 - A) & 0xffff)
			OP1(NEG32, u32, u32, 0 - A)
			OP1(NEG64, u64, u64, 0 - A)
			OP1(ABS16, u32, u32, ((s16)A < 0 ? 0 - A : A) & 0xffff)
			OP1(ABS32, u32, u32, (s32)A < 0 ? 0 - A : A)
			OP1(ABS64, u64, u64, (s64)A < 0 ? 0 - A : A)
			OP1(POPC32, u32, u32, (u32)__builtin_popcount(A))
			OP1(POPC64, u32, u64, (u32)__builtin_popcountll(A))
			OP1(CLZ32, u32, u32, A ? (u32)__builtin_clz(A) : 32)
			OP1(CLZ64, u32, u64, A ? (u32)__builtin_clzll(A) : 64)
			OP1(BREV32, u32, u32, reverse32(A))
			OP1(BREV64, u64, u64, reverse64(A))
			OP1(FINDU32, u32, u32, find64(A, op->y, 32))
			OP1(FINDS32, u32, u32, find64((s32)A < 0 ? (u32)~A : A, op->y, 32))
			OP1(FINDU64, u32, u64, find64(A, op->y, 64))
			OP1(FINDS64, u32, u64, find64((s64)A < 0 ? ~A : A, op->y, 64))
			OP3(MAD16, u32, u32, u32, u32, (A * B + C) & 0xffff)
			OP3(MAD32, u32, u32, u32, u32, A * B + C)
			OP3(MAD64, u64, u64, u64, u64, A * B + C)
			OP3(MADHIS16, u32, u32, u32, u32, (((u32)((s16)A * (s16)B) >> 16) + C) & 0xffff)
			OP3(MADHIU16, u32, u32, u32, u32, ((A * B >> 16) + C) & 0xffff)
			OP3(MADHIS32, u32, s32, s32, u32, (u32)((s64)A * B >> 32) + C)
			OP3(MADHIU32, u32, u32, u32, u32, (u32)((u64)A * B >> 32) + C)
			OP3(MADHIS64, u64, s64, s64, u64, (u64)((s128)A * B >> 64) + C)
			OP3(MADHIU64, u64, u64, u64, u64, (u64)((u128)A * B >> 64) + C)
			OP3(MADWIDES16, u32, u32, u32, u32, (u32)((s16)A * (s16)B) + C)
			OP3(MADWIDEU16, u32, u32, u32, u32, A * B + C)
			OP3(MADWIDES32, u64, s32, s32, u64, (u64)((s64)A * B) + C)
			OP3(MADWIDEU32, u64, u32, u32, u64, (u64)A * B + C)
			OP3(BFEU32, u32, u32, u32, u32, (u32)extract(A, B, C, 32, false))
			OP3(BFES32, u32, u32, u32, u32, (u32)extract(A, B, C, 32, true))
			OP3(BFEU64, u64, u64, u32, u32, extract(A, B, C, 64, false))
			OP3(BFES64, u64, u64, u32, u32, extract(A, B, C, 64, true))
			OP3(BFI32, u32, u32, u32, u32, (u32)insert(A, B, C, ROW(const u32, op->e)[l], 32))
			OP3(BFI64, u64, u64, u64, u32, insert(A, B, C, ROW(const u32, op->e)[l], 64))
			OP3(PRMT, u32, u32, u32, u32, permute(A, B, C, op->x))
			OP3(SHFLEFTW, u32, u32, u32, u32, (u32)(((u64)B << 32 | A) << (C & 31) >> 32))
			OP3(SHFLEFTC, u32, u32, u32, u32, C > 31 ? A : (u32)(((u64)B << 32 | A) << C >> 32))
			OP3(SHFRIGHTW, u32, u32, u32, u32, (u32)(((u64)B << 32 | A) >> (C & 31)))
			OP3(SHFRIGHTC, u32, u32, u32, u32, C > 31 ? B : (u32)(((u64)B << 32 | A) >> C))
			OP3(LOP3, u32, u32, u32, u32, lookup3(A, B, C, op->x))
			OP3(DP4A, u32, u32, u32, u32, dot4(A, B, C, op->x))
			OP3(DP2A, u32, u32, u32, u32, dot2(A, B, C, op->x, op->y))
			OP3(ABSDIFF4, u32, u32, u32, u32, differences(A, B, C, op->x, op->y))
			OP3(FNS, u32, u32, u32, s32, nth_set(A, B, C))
			OP3(SADS32, u32, s32, s32, u32, C + (A > B ? (u32)A - (u32)B : (u32)B - (u32)A))
			OP3(SADU32, u32, u32, u32, u32, C + (A > B ? A - B : B - A))
			OP3(SADS16, u32, u32, u32, u32, (C + ((s16)A > (s16)B ? A - B : B - A)) & 0xffff)
			OP3(SADU16, u32, u32, u32, u32, (C + (A > B ? A - B : B - A)) & 0xffff)
			OP3(SADS64, u64, s64, s64, u64, C + (A > B ? (u64)A - (u64)B : (u64)B - (u64)A))
			OP3(SADU64, u64, u64, u64, u64, C + (A > B ? A - B : B - A))

			OP2(FADD32, float, float, float, A + B)
			OP2(FSUB32, float, float, float, A - B)
			OP2(FMUL32, float, float, float, A * B)
			OP2(FDIV32, float, float, float, A / B)
			OP3(FFMA32, float, float, float, float, __builtin_fmaf(A, B, C))
			OP2(FMIN32, float, float, float, min32(A, B))
			OP2(FMAX32, float, float, float, max32(A, B))
			OP1(FNEG32, u32, u32, A ^ 0x80000000u)
			OP1(FABS32, u32, u32, A & 0x7fffffffu)
			OP2(FADD64, double, double, double, A + B)
			OP2(FSUB64, double, double, double, A - B)
			OP2(FMUL64, double, double, double, A * B)
			OP2(FDIV64, double, double, double, A / B)
			OP3(FFMA64, double, double, double, double, __builtin_fma(A, B, C))
			OP2(FMIN64, double, double, double, min64(A, B))
			OP2(FMAX64, double, double, double, max64(A, B))
			OP1(FNEG64, u64, u64, A ^ 1ull << 63)
			OP1(FABS64, u64, u64, A & ~(1ull << 63))
			OP1(FRSQRT32, float, float, (float)(1.0 / __builtin_sqrt((double)A)))
			OP1(FEXP32, float, float, exp2f(A))
		case OP_FLOAT32: {
			float *d = ROW(float, op->d);
			const float *a = ROW(const float, op->a), *b = ROW(const float, op->b);
			const float *c = ROW(const float, op->c);

			EACH_LANE(active)
			d[l] = ptx_float32(op, a[l], b[l], c[l]);
			break;
		}
		case OP_FLOAT64: {
			double *d = ROW(double, op->d);
			const double *a = ROW(const double, op->a), *b = ROW(const double, op->b);
			const double *c = ROW(const double, op->c);

			EACH_LANE(active)
			d[l] = ptx_float64(op, a[l], b[l], c[l]);
			break;
		}
		case OP_HALF:
		case OP_HALF2: {
			u32 *d = ROW(u32, op->d);
			const u32 *a = ROW(const u32, op->a), *b = ROW(const u32, op->b), *c = ROW(const u32, op->c);

			EACH_LANE(active)
			{
				u32 high = 0;

				if (op->code == OP_HALF2)
					high = ptx_half(op, a[l] >> 16, b[l] >> 16, c[l] >> 16) << 16;
				d[l] = high | ptx_half(op, a[l] & 0xffff, b[l] & 0xffff, c[l] & 0xffff);
			}
			break;
		}
		case OP_CARRY32: {
			u32 *d = ROW(u32, op->d), *carry = ROW(u32, op->e), out = 0;
			const u32 *a = ROW(const u32, op->a), *b = ROW(const u32, op->b), *c = ROW(const u32, op->c);

			EACH_LANE(active)
			{
				bool bit = *carry >> l & 1;

				d[l] = (u32)ptx_carry(op->y, a[l], b[l], c[l], 32, &bit);
				out |= (u32)bit << l;
			}
			if (op->y & CARRY_OUT)
				set_predicate(carry, out, active);
			break;
		}
		case OP_CARRY64: {
			u64 *d = ROW(u64, op->d);
			u32 *carry = ROW(u32, op->e), out = 0;
			const u64 *a = ROW(const u64, op->a), *b = ROW(const u64, op->b), *c = ROW(const u64, op->c);

			EACH_LANE(active)
			{
				bool bit = *carry >> l & 1;

				d[l] = ptx_carry(op->y, a[l], b[l], c[l], 64, &bit);
				out |= (u32)bit << l;
			}
			if (op->y & CARRY_OUT)
				set_predicate(carry, out, active);
			break;
		}

			COMPARE(CMPEQ32, u32, A == B)
			COMPARE(CMPEQ64, u64, A == B)
			COMPARE(CMPLTS16, u32, (s16)A < (s16)B)
			COMPARE(CMPLES16, u32, (s16)A <= (s16)B)
			COMPARE(CMPLTS32, s32, A < B)
			COMPARE(CMPLES32, s32, A <= B)
			COMPARE(CMPLTU32, u32, A < B)
			COMPARE(CMPLEU32, u32, A <= B)
			COMPARE(CMPLTS64, s64, A < B)
			COMPARE(CMPLES64, s64, A <= B)
			COMPARE(CMPLTU64, u64, A < B)
			COMPARE(CMPLEU64, u64, A <= B)
			COMPARE(CMPEQF32, float, A == B)
			COMPARE(CMPNEF32, float, A < B || A > B)
			COMPARE(CMPLTF32, float, A < B)
			COMPARE(CMPLEF32, float, A <= B)
			COMPARE(CMPNUMF32, float, A == A && B == B)
			COMPARE(CMPEQF64, double, A == B)
			COMPARE(CMPNEF64, double, A < B || A > B)
			COMPARE(CMPLTF64, double, A < B)
			COMPARE(CMPLEF64, double, A <= B)
			COMPARE(CMPNUMF64, double, A == A && B == B)
		case OP_PAND:
			set_predicate(ROW(u32, op->d), *ROW(const u32, op->a) & *ROW(const u32, op->b), active);
			break;
		case OP_POR:
			set_predicate(ROW(u32, op->d), *ROW(const u32, op->a) | *ROW(const u32, op->b), active);
			break;
		case OP_PXOR:
			set_predicate(ROW(u32, op->d), *ROW(const u32, op->a) ^ *ROW(const u32, op->b), active);
			break;
		case OP_PNOT:
			set_predicate(ROW(u32, op->d), ~*ROW(const u32, op->a), active);
			break;
		case OP_PMOV:
			set_predicate(ROW(u32, op->d), *ROW(const u32, op->a), active);
			break;
		case OP_SELP32: {
			u32 *d_ = ROW(u32, op->d);
			const u32 *a_ = ROW(const u32, op->a), *b_ = ROW(const u32, op->b);
			int32_t is[LANES];

			spread(*ROW(const u32, op->c), is);
			WRITE_LANES(u32, is[l] ? A : B);
			break;
		}
		case OP_SELP64: {
			u64 *d_ = ROW(u64, op->d);
			const u64 *a_ = ROW(const u64, op->a), *b_ = ROW(const u64, op->b);
			int32_t is[LANES];

			spread(*ROW(const u32, op->c), is);
			WRITE_LANES(u64, is[l] ? A : B);
			break;
		}
			/* The sign chooses; a float -0 counts as not negative, NaN as negative. */
			OP3(SLCT32, u32, u32, u32, u32,
			    (op->x ? !(((union { u32 u; float f; }){ C }).f >= 0) : (s32)C < 0) ? B : A)
			OP3(SLCT64, u64, u64, u64, u32,
			    (op->x ? !(((union { u32 u; float f; }){ C }).f >= 0) : (s32)C < 0) ? B : A)
		case OP_TESTP32:
		case OP_TESTP64: {
			u32 bits = 0;

			EACH_LANE(active)
			{
				int class = op->code == OP_TESTP64 ? fpclassify(ROW(const double, op->a)[l]) :
								     fpclassify(ROW(const float, op->a)[l]);

				bits |= (u32)ptx_testp(op->y, class) << l;
			}
			set_predicate(ROW(u32, op->d), bits, active);
			break;
		}

			OP1(MOV32, u32, u32, A)
			OP1(MOV64, u64, u64, A)
			OP1(ZEXT32, u64, u32, A)
			OP1(SEXT32, s64, s32, A)
			OP1(TRUNC64, u32, u64, A)
			OP1(CVTF32S32, float, s32, A)
			OP1(CVTF32U32, float, u32, A)
			OP1(CVTF64S32, double, s32, A)
			OP1(CVTF64F32, double, float, A)
			OP1(CVTF32F64, float, double, A)
			OP1(CVTS32F32, s32, float,
			    A != A ? 0 : A >= 2147483648.0f ? INT32_MAX : A < -2147483648.0f ? INT32_MIN : (s32)A)
		case OP_CVTINT:
			convert_integers(op, bases, active);
			break;
		case OP_CVT:
			convert(op, bases, active);
			break;
		case OP_CVTX2:
			EACH_LANE(active)
			ROW(u32, op->d)
			[l] = ptx_convert_pair(op, ROW(const float, op->a)[l], ROW(const float, op->b)[l]);
			break;
		case OP_PACK:
			pack(op, bases, active);
			break;
		case OP_UNPACK:
			unpack(op, bases, active);
			break;
		case OP_SPECIAL:
			read_special(block, warp, op, bases, active);
			break;
		case OP_LOCALADDRESS:
			EACH_LANE(active)
			{
				if (op->x)
					ROW(u64, op->d)[l] = warp->local_base[l] + op->imm;
				else
					ROW(u32, op->d)[l] = (u32)(warp->local_base[l] + op->imm);
			}
			break;

		case OP_LDGLOBAL:
		case OP_LDSHARED:
		case OP_STGLOBAL:
		case OP_STSHARED:
			if (!access_memory(block, warp, op, bases, active))
				return TURN_ERROR;
			break;
		case OP_LDPARAM:
			if (op->a < 0 && op->imm + ((u64)op->y << (op->x & 3)) <= block->grid->kernel->param_bytes) {
				load_param(block, op, bases, active);
				break;
			}
			/* fallthrough */
		case OP_LDLOCAL:
		case OP_STLOCAL:
			if (!ptx_access_slow(block, warp, op, bases[0], active))
				return TURN_ERROR;
			break;
		case OP_LOCALCOPY:
			if (!copy_local(block, warp, op, active))
				return TURN_ERROR;
			break;
		case OP_ASYNCCOPY:
			if (!ptx_async_copy(block, warp, op, bases[0], active))
				return TURN_ERROR;
			break;
		case OP_ATOMGLOBAL:
		case OP_ATOMSHARED:
			if (!ptx_atomic(block, warp, op, bases[0], active))
				return TURN_ERROR;
			break;
		case OP_FENCE:
			__atomic_thread_fence(__ATOMIC_SEQ_CST);
			break;
		case OP_ISSPACE: {
			u32 bits = 0;

			EACH_LANE(active)
			{
				u64 window = ROW(const u64, op->a)[l] & PTX_WINDOW_MASK;
				bool plain = window < PTX_FUNCTION_WINDOW || window > PTX_SHARED_WINDOW;

				bits |= (u32)(op->imm ? window == op->imm : plain) << l;
			}
			set_predicate(ROW(u32, op->d), bits, active);
			break;
		}

		case OP_SHUFFLE:
		case OP_VOTE:
		case OP_MATCH:
		case OP_REDUX:
		case OP_ELECT:
		case OP_WARPBARRIER:
			save(warp, pc);
			if (!ptx_together(block, warp, op, bases[0], pc))
				goto choose;
			break;
		case OP_ACTIVEMASK:
			EACH_LANE(active)
			ROW(u32, op->d)[l] = active;
			break;
		case OP_BARRIER:
			save(warp, pc + 1);
			ptx_barrier(block, warp, op, bases[0]);
			if (block->error)
				return TURN_ERROR;
			goto choose;

		case OP_JOIN:
			if (--fuel == 0) {
				save(warp, pc + 1);
				/* Every other turn begins with another group, should this one wait for it. */
				warp->rotate = !warp->rotate;
				return TURN_YIELD;
			}
			if (ptx_key(base, pc) >= warp->wait_key) {
				save(warp, pc);
				goto choose;
			}
			break;
		case OP_JUMP:
			pc = (u32)op->imm - 1;
			break;
		case OP_BRANCH: {
			u32 taken = *ROW(const u32, op->a) & active;

			if (op->x)
				taken ^= active;
			if (taken == active) {
				pc = (u32)op->imm - 1;
				break;
			}
			if (!taken) {
				if (ptx_key(base, pc + 1) < warp->wait_key)
					break;
				save(warp, pc + 1);
				goto choose;
			}
			EACH_LANE(active)
			warp->pc[l] = taken >> l & 1 ? (u32)op->imm : pc + 1;
			goto choose;
		}
		case OP_SWITCH: {
			const u32 *targets = module->targets + op->imm;

			EACH_LANE(active)
			{
				u32 index = ROW(const u32, op->a)[l];

				if (index >= targets[0]) {
					block->error = PTX_ERROR_INSTRUCTION;
					return TURN_ERROR;
				}
				warp->pc[l] = targets[1 + index];
			}
			goto choose;
		}
		case OP_CALL:
			if (!call(block, warp, op, active, (u32)op->a, pc + 1))
				return TURN_ERROR;
			goto choose;
		case OP_CALLTHROUGH:
			if (!call_through(block, warp, op, bases, active, pc + 1))
				return TURN_ERROR;
			goto choose;
		case OP_RETURN:
			leave_function(warp, bases[0], active);
			goto choose;
		case OP_EXIT:
			warp->alive &= ~active;
			block->alive -= (u32)__builtin_popcount(active);
			ptx_release(block);
			goto choose;
		case OP_TRAP:
			block->error = PTX_ERROR_TRAP;
			return TURN_ERROR;
		case OP_SLEEP:
			save(warp, pc + 1);
			return TURN_YIELD;
		case OP_NOP:
			break;
		default:
			block->error = PTX_ERROR_INSTRUCTION;
			return TURN_ERROR;
		}
	}
}

#endif /* SOFTGPU_PTX_EXECUTE_LOOP_H */
