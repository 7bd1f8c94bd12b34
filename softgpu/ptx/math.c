/* SPDX-License-Identifier: MIT */
/* Floating-point operations with roundings, flags, and those that need a library. Compiled with -frounding-math. */
#include <fenv.h>
#include <math.h>
#include <string.h>

#include "softgpu/ptx/runtime.h"

static float flush32(float a)
{
	return fpclassify(a) == FP_SUBNORMAL ? copysignf(0, a) : a;
}

static const int modes[] = { [ROUND_NEAREST] = FE_TONEAREST,
			     [ROUND_ZERO] = FE_TOWARDZERO,
			     [ROUND_DOWN] = FE_DOWNWARD,
			     [ROUND_UP] = FE_UPWARD };

static float canonical(float a)
{
	union {
		uint32_t u;
		float f;
	} nan = { 0x7fffffff };

	return isnan(a) ? nan.f : a;
}

static float extreme32(const struct ptx_op *op, float a, float b, bool less)
{
	uint32_t sign = signbit(a) != signbit(b);
	float result;

	if (op->x & FLAG_XORSIGN) {
		a = fabsf(a);
		b = fabsf(b);
	}
	if (op->x & FLAG_NAN && (isnan(a) || isnan(b)))
		return canonical(NAN);
	if (isnan(a) || isnan(b))
		result = isnan(a) ? canonical(b) : a;
	else if (a == b)
		result = signbit(a) == less ? a : b;
	else
		result = (a < b) == less ? a : b;
	if (op->x & FLAG_XORSIGN)
		result = copysignf(result, sign ? -1.0f : 1.0f);
	return result;
}

static float calculate32(const struct ptx_op *op, volatile float a, volatile float b, volatile float c)
{
	switch ((enum ptx_float)op->y) {
	case FLOAT_ADD:
		return a + b;
	case FLOAT_SUB:
		return a - b;
	case FLOAT_MUL:
		return a * b;
	case FLOAT_FMA:
		return fmaf(a, b, c);
	case FLOAT_DIV:
		return a / b;
	case FLOAT_MIN:
		return extreme32(op, a, b, true);
	case FLOAT_MAX:
		return extreme32(op, a, b, false);
	case FLOAT_SQRT:
		return sqrtf(a);
	case FLOAT_RCP:
		return 1.0f / a;
	case FLOAT_RSQRT:
		return (float)(1.0 / sqrt((double)a));
	case FLOAT_SIN:
		return sinf(a);
	case FLOAT_COS:
		return cosf(a);
	case FLOAT_LG2:
		return log2f(a);
	case FLOAT_EX2:
		return exp2f(a);
	case FLOAT_TANH:
		return tanhf(a);
	default:
		return a;
	}
}

float ptx_float32(const struct ptx_op *op, float a, float b, float c)
{
	int mode = modes[op->x & ROUND_MASK];
	float result;

	if (op->x & FLAG_FTZ) {
		a = flush32(a);
		b = flush32(b);
		c = flush32(c);
	}
	if (op->y == FLOAT_ABS)
		return fabsf(a);
	if (op->y == FLOAT_NEG)
		return -a;
	if (op->y == FLOAT_COPYSIGN)
		return copysignf(b, a);
	if (mode != FE_TONEAREST)
		fesetround(mode);
	result = calculate32(op, a, b, c);
	if (mode != FE_TONEAREST)
		fesetround(FE_TONEAREST);
	if (op->x & FLAG_FTZ)
		result = flush32(result);
	if (op->x & FLAG_SAT)
		result = !(result > 0) ? 0 : result > 1 ? 1 : result;
	return result;
}

static double extreme64(double a, double b, bool less)
{
	if (isnan(a) || isnan(b))
		return isnan(a) ? b : a;
	if (a == b)
		return signbit(a) == less ? a : b;
	return (a < b) == less ? a : b;
}

static double calculate64(const struct ptx_op *op, volatile double a, volatile double b, volatile double c)
{
	switch ((enum ptx_float)op->y) {
	case FLOAT_ADD:
		return a + b;
	case FLOAT_SUB:
		return a - b;
	case FLOAT_MUL:
		return a * b;
	case FLOAT_FMA:
		return fma(a, b, c);
	case FLOAT_DIV:
		return a / b;
	case FLOAT_MIN:
		return extreme64(a, b, true);
	case FLOAT_MAX:
		return extreme64(a, b, false);
	case FLOAT_SQRT:
		return sqrt(a);
	case FLOAT_RCP:
		return 1.0 / a;
	case FLOAT_RSQRT:
		return 1.0 / sqrt(a);
	case FLOAT_ABS:
		return fabs(a);
	case FLOAT_NEG:
		return -a;
	case FLOAT_COPYSIGN:
		return copysign(b, a);
	default:
		return a;
	}
}

/* rcp.approx.ftz.f64 and rsqrt.approx.ftz.f64 give 20 bits, in the upper half; what is below is zero. */
static double approximate(double exact)
{
	union {
		double f;
		uint64_t u;
	} value = { fpclassify(exact) == FP_SUBNORMAL ? copysign(0, exact) : exact };

	if (!isnan(exact))
		value.u &= 0xffffffff00000000ull;
	return value.f;
}

double ptx_float64(const struct ptx_op *op, double a, double b, double c)
{
	int mode = modes[op->x & ROUND_MASK];
	double result;

	if (op->y == FLOAT_RCP_APPROX64 || op->y == FLOAT_RSQRT_APPROX64) {
		if (fpclassify(a) == FP_SUBNORMAL)
			a = copysign(0, a);
		return approximate(op->y == FLOAT_RCP_APPROX64 ? 1.0 / a : 1.0 / sqrt(a));
	}
	if (mode != FE_TONEAREST)
		fesetround(mode);
	result = calculate64(op, a, b, c);
	if (mode != FE_TONEAREST)
		fesetround(FE_TONEAREST);
	return result;
}

/* a * b + c as a double whose last bit tells that there were more: so rounding once more does no harm. */
static double fma_to_odd(double a, double b, double c)
{
	double product = a * b, sum = product + c, back = sum - product;
	double error = (product - (sum - back)) + (c - back);
	union {
		double f;
		uint64_t u;
	} value = { sum };

	/* The product of two half numbers is exact; the sum's error is too. */
	if (error != 0 && isfinite(sum) && !(value.u & 1))
		value.u += (error > 0) == (sum > 0) ? 1 : -1;
	return value.f;
}

static double half_result(const struct ptx_op *op, double a, double b, double c)
{
	switch ((enum ptx_float)op->y) {
	case FLOAT_ADD:
		return fma_to_odd(a, 1, b);
	case FLOAT_SUB:
		return fma_to_odd(a, 1, -b);
	case FLOAT_MUL:
		return a * b;
	case FLOAT_FMA:
		return fma_to_odd(a, b, c);
	case FLOAT_MIN:
	case FLOAT_MAX:
		if (op->x & FLAG_NAN && (isnan(a) || isnan(b)))
			return NAN;
		return extreme64(a, b, op->y == FLOAT_MIN);
	case FLOAT_EX2:
		return exp2(a);
	case FLOAT_TANH:
		return tanh(a);
	default:
		return a;
	}
}

uint32_t ptx_half(const struct ptx_op *op, uint32_t a, uint32_t b, uint32_t c)
{
	bool bf16 = op->x & FLAG_BF16;
	double result;

	if (op->y == FLOAT_NEG)
		return a ^ 0x8000;
	if (op->y == FLOAT_ABS)
		return a & 0x7fff;
	result = half_result(op, ptx_half_to_double(a, bf16), ptx_half_to_double(b, bf16), ptx_half_to_double(c, bf16));
	return ptx_double_to_half(result, bf16, op->x & (FLAG_SAT | FLAG_RELU | FLAG_FTZ));
}

bool ptx_testp(uint8_t kind, int class)
{
	switch (kind) {
	case 0:
		return class != FP_NAN && class != FP_INFINITE;
	case 1:
		return class == FP_INFINITE;
	case 2:
		return class != FP_NAN;
	case 3:
		return class == FP_NAN;
	case 4:
		return class == FP_NORMAL;
	default:
		return class == FP_SUBNORMAL;
	}
}

uint64_t ptx_carry(uint8_t kind, uint64_t a, uint64_t b, uint64_t c, uint32_t bits, bool *carry)
{
	const uint64_t ones = bits == 64 ? UINT64_MAX : UINT32_MAX;
	const uint64_t in = kind & CARRY_IN && *carry;
	unsigned __int128 product, sum;

	switch (kind & 3) {
	case CARRY_ADD:
		sum = (unsigned __int128)a + b + in;
		break;
	case CARRY_SUB:
		/* As the hardware does: a + ~b + 1, so the flag is clear after a borrow; nvcc's 128-bit division reads
		 * it by addc. */
		sum = (unsigned __int128)a + (~b & ones) + (kind & CARRY_IN ? in : 1);
		break;
	default:
		if (kind & CARRY_SIGNED)
			product = bits == 64 ? (unsigned __int128)((__int128)(int64_t)a * (int64_t)b) :
					       (unsigned __int128)(uint64_t)((int64_t)(int32_t)a * (int32_t)b);
		else
			product = (unsigned __int128)a * b;
		if ((kind & 3) == CARRY_MADHI)
			product >>= bits;
		sum = (unsigned __int128)((uint64_t)product & ones) + c + in;
		break;
	}
	*carry = sum > ones;
	return (uint64_t)sum & ones;
}
