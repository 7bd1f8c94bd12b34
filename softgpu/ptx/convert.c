/* SPDX-License-Identifier: MIT */
/* Conversions between numbers: by hand where C has no type for them, so that each rounds exactly once. */
#include <fenv.h>
#include <math.h>
#include <string.h>

#include "softgpu/ptx/runtime.h"

double ptx_half_to_double(uint32_t bits, bool bf16)
{
	uint32_t fraction_bits = bf16 ? 7 : 10, exponent = bits >> fraction_bits & (bf16 ? 255u : 31u);
	uint32_t fraction = bits & ((1u << fraction_bits) - 1), top = bf16 ? 255 : 31;
	int bias = bf16 ? 127 : 15;
	double value;

	if (exponent == top)
		value = fraction ? NAN : INFINITY;
	else if (!exponent)
		value = ldexp(fraction, 1 - bias - (int)fraction_bits);
	else
		value = ldexp(fraction | 1u << fraction_bits, (int)exponent - bias - (int)fraction_bits);
	return bits & 0x8000 ? -value : value;
}

/* A finite, positive value as an integer number of units, rounded. */
static double round_units(double units, bool negative, uint8_t mode)
{
	double down = floor(units), rest = units - down;

	switch (mode & ROUND_MASK) {
	case ROUND_ZERO:
		return down;
	case ROUND_DOWN:
		return negative && rest > 0 ? down + 1 : down;
	case ROUND_UP:
		return !negative && rest > 0 ? down + 1 : down;
	case ROUND_AWAY:
		return rest >= 0.5 ? down + 1 : down;
	default:
		return rest > 0.5 || (rest == 0.5 && fmod(down, 2) != 0) ? down + 1 : down;
	}
}

uint32_t ptx_double_to_half(double value, bool bf16, uint8_t flags)
{
	const int fraction_bits = bf16 ? 7 : 10, bias = bf16 ? 127 : 15, top = bf16 ? 255 : 31;
	bool negative = signbit(value);
	uint32_t sign = negative ? 0x8000 : 0, largest = (uint32_t)top << fraction_bits;
	int exponent;
	double units;

	if (flags & FLAG_RELU && !isnan(value) && negative)
		return 0;
	if (flags & FLAG_SAT)
		value = !(value > 0) ? 0 : value > 1 ? 1 : value;
	if (flags & FLAG_SAT)
		sign = 0;
	if (isnan(value))
		return 0x7fff;
	value = fabs(value);
	if (isinf(value))
		return sign | largest;
	if (value == 0)
		return sign;
	frexp(value, &exponent); /* value is in [2^(exponent - 1), 2^exponent) */
	exponent--;
	if (exponent < 1 - bias)
		exponent = 1 - bias;
	units = round_units(ldexp(value, fraction_bits - exponent), negative, flags);
	if (units >= ldexp(1, fraction_bits + 1)) {
		units /= 2;
		exponent++;
	}
	if (exponent > bias) {
		/* Too large: infinity, or the largest number where the rounding goes towards zero. */
		bool stay = (flags & ROUND_MASK) == ROUND_ZERO || ((flags & ROUND_MASK) == ROUND_DOWN && !negative) ||
			    ((flags & ROUND_MASK) == ROUND_UP && negative);

		return sign | (stay ? largest - 1 : largest);
	}
	/* With the hidden bit the exponent counts from one less; subnormals have none and exponent 1 - bias. */
	return sign | (((uint32_t)(exponent + bias - 1) << fraction_bits) + (uint32_t)units);
}

static double integer_limit(uint32_t bits, bool is_signed, bool low)
{
	if (low)
		return is_signed ? -ldexp(1, (int)bits - 1) : 0;
	return is_signed ? ldexp(1, (int)bits - 1) : ldexp(1, (int)bits); /* the first number too large */
}

static double round_integral(double value, uint8_t mode)
{
	switch (mode & ROUND_MASK) {
	case ROUND_ZERO:
		return trunc(value);
	case ROUND_DOWN:
		return floor(value);
	case ROUND_UP:
		return ceil(value);
	case ROUND_AWAY:
		return round(value);
	default:
		return nearbyint(value);
	}
}

/* Floats become integers with saturation; NaN becomes 0 (the sign bit alone from f64 and to 64 bits). */
static uint64_t to_integer(double value, bool from_f64, uint32_t bits, bool is_signed, uint8_t mode)
{
	if (isnan(value))
		return from_f64 || bits == 64 ? 1ull << (bits - 1) : 0;
	value = round_integral(value, mode);
	if (value < integer_limit(bits, is_signed, true))
		return is_signed ? 1ull << (bits - 1) : 0;
	if (value >= integer_limit(bits, is_signed, false))
		return is_signed ? (1ull << (bits - 1)) - 1 : bits == 64 ? UINT64_MAX : (1ull << bits) - 1;
	return value < 0 ? (uint64_t)(int64_t)value : (uint64_t)value;
}

static uint64_t saturate(uint64_t number, bool from_signed, uint32_t bits, bool is_signed)
{
	if (from_signed && (int64_t)number < 0) {
		int64_t least = is_signed ? (bits == 64 ? INT64_MIN : -(1ll << (bits - 1))) : 0;

		return (int64_t)number < least ? (uint64_t)least : number;
	} else {
		uint64_t most = is_signed ? (1ull << (bits - 1)) - 1 : bits == 64 ? UINT64_MAX : (1ull << bits) - 1;

		return number > most ? most : number;
	}
}

static uint64_t extend(uint64_t number, uint32_t bits, bool is_signed)
{
	uint32_t shift = 64 - bits;

	return is_signed ? (uint64_t)((int64_t)(number << shift) >> shift) : number << shift >> shift;
}

static float bits_to_float(uint32_t bits)
{
	float value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

static uint64_t float_bits(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

static uint64_t double_bits(double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

static const int modes[] = { [ROUND_NEAREST] = FE_TONEAREST,
			     [ROUND_ZERO] = FE_TOWARDZERO,
			     [ROUND_DOWN] = FE_DOWNWARD,
			     [ROUND_UP] = FE_UPWARD,
			     [ROUND_AWAY] = FE_TONEAREST };

static float narrow(volatile double value, uint8_t flags)
{
	volatile float result;

	fesetround(modes[flags & ROUND_MASK]);
	result = (float)value;
	fesetround(FE_TONEAREST);
	return result;
}

static uint64_t integer_to_float(uint64_t number, bool is_signed, enum ptx_number to, uint8_t flags)
{
	volatile uint64_t u = number;
	volatile int64_t s = (int64_t)number;
	volatile double wide;
	volatile float single;

	fesetround(modes[flags & ROUND_MASK]);
	single = is_signed ? (float)s : (float)u;
	wide = is_signed ? (double)s : (double)u;
	fesetround(FE_TONEAREST);
	if (to == NUMBER_F64)
		return double_bits(wide);
	if (to == NUMBER_F32)
		return float_bits(single);
	/* Integers of more than 53 bits are far beyond what half numbers tell apart, except for their last bit. */
	return ptx_double_to_half(wide, to == NUMBER_BF16, flags);
}

/* tf32: 10 bits of fraction in a float. */
static uint64_t to_tf32(uint32_t bits, uint8_t flags)
{
	uint32_t below = bits & 0x1fff, kept = bits & ~0x1fffu;

	if ((bits & 0x7f800000) == 0x7f800000)
		return (bits & 0x7fffff) ? 0x7fffffff : bits;
	if ((flags & ROUND_MASK) == ROUND_AWAY)
		return below >= 0x1000 ? kept + 0x2000 : kept;
	if ((flags & ROUND_MASK) == ROUND_NEAREST)
		return below > 0x1000 || (below == 0x1000 && kept & 0x2000) ? kept + 0x2000 : kept;
	return kept;
}

static uint64_t from_double(double value, enum ptx_number to, uint8_t flags, bool integral)
{
	if (integral)
		value = round_integral(value, flags);
	if (to == NUMBER_F16 || to == NUMBER_BF16)
		return ptx_double_to_half(value, to == NUMBER_BF16, flags);
	if (flags & FLAG_RELU && value < 0)
		value = 0;
	if (flags & FLAG_SAT)
		value = !(value > 0) ? 0 : value > 1 ? 1 : value;
	if (to == NUMBER_F64)
		return double_bits(value);
	value = integral ? value : (double)narrow(value, flags);
	if (flags & FLAG_FTZ && fpclassify((float)value) == FP_SUBNORMAL)
		value = copysign(0, value);
	return isnan(value) ? 0x7fffffff : float_bits((float)value);
}

/* imm: kind and bits of the result, kind and bits of the source, bytes of the result's row */
uint64_t ptx_convert(const struct ptx_op *op, uint64_t from)
{
	enum ptx_number to = (enum ptx_number)(op->imm & 255), kind = (enum ptx_number)(op->imm >> 16 & 255);
	uint32_t to_bits = (uint32_t)(op->imm >> 8) & 255, from_bits = (uint32_t)(op->imm >> 24) & 255;
	uint32_t row_bytes = (uint32_t)(op->imm >> 32);
	double value;

	if (kind <= NUMBER_SIGNED) {
		from = extend(from, from_bits, kind == NUMBER_SIGNED);
		if (to > NUMBER_SIGNED)
			return integer_to_float(from, kind == NUMBER_SIGNED, to, op->x);
		from = op->x & FLAG_SAT ? saturate(from, kind == NUMBER_SIGNED, to_bits, to == NUMBER_SIGNED) : from;
		from = extend(from, to_bits, to == NUMBER_SIGNED);
		return row_bytes == 2 ? from & 0xffff : from;
	}
	if (to == NUMBER_TF32)
		return to_tf32((uint32_t)from, op->x);
	if (kind == NUMBER_F64)
		memcpy(&value, &from, sizeof(value));
	else if (kind == NUMBER_F32)
		value = bits_to_float((uint32_t)from);
	else
		value = ptx_half_to_double((uint32_t)from & 0xffff, kind == NUMBER_BF16);
	if (op->x & FLAG_FTZ && kind == NUMBER_F32 && fpclassify((float)value) == FP_SUBNORMAL)
		value = copysign(0, value);
	if (to <= NUMBER_SIGNED) {
		from = to_integer(value, kind == NUMBER_F64, to_bits, to == NUMBER_SIGNED, op->x);
		from = extend(from, to_bits, to == NUMBER_SIGNED);
		return row_bytes == 2 ? from & 0xffff : from;
	}
	return from_double(value, to, op->x, op->y & 4);
}

uint32_t ptx_convert_pair(const struct ptx_op *op, float high, float low)
{
	bool bf16 = op->y == NUMBER_BF16;

	return ptx_double_to_half(high, bf16, op->x) << 16 | ptx_double_to_half(low, bf16, op->x);
}
