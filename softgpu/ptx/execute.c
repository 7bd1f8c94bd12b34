/* SPDX-License-Identifier: MIT */
/*
 * The interpreter's loop. Each op works on the rows of all lanes. When all living lanes are active, whatever lies in the
 * others may be overwritten, so such ops need no mask.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "softgpu/ptx/runtime.h"

#ifndef PTX_EXECUTE
#define PTX_EXECUTE ptx_execute_any
#endif

#ifdef __clang__
/* The pragma is a promise that lanes do not overlap; where vectors do not pay all the same, that is no fault. */
#pragma clang diagnostic ignored "-Wpass-failed"
#define VECTOR _Pragma("clang loop vectorize(assume_safety)")
#else
#define VECTOR _Pragma("GCC ivdep")
#endif

#define ROW(type, operand) ((type *)(void *)(bases[(operand) & 1] + (int64_t)((operand) >> 1) * 4))

#define WRITE_LANES(td, value)                                                                                         \
	do {                                                                                                           \
		if (all) {                                                                                             \
			VECTOR for (int l = 0; l < LANES; l++) d_[l] = (td)(value);                                    \
		} else {                                                                                               \
			VECTOR for (int l = 0; l < LANES; l++)                                                         \
			{                                                                                              \
				td v_ = (td)(value);                                                                   \
				d_[l] = mask[l] ? v_ : d_[l];                                                          \
			}                                                                                              \
		}                                                                                                      \
	} while (0)

#define A a_[l]
#define B b_[l]
#define C c_[l]
#define OP1(name, td, ta, value)                                                                                       \
	case OP_##name: {                                                                                              \
		td *d_ = ROW(td, op->d);                                                                               \
		const ta *a_ = ROW(const ta, op->a);                                                                   \
		WRITE_LANES(td, value);                                                                                \
		break;                                                                                                 \
	}
#define OP2(name, td, ta, tb, value)                                                                                   \
	case OP_##name: {                                                                                              \
		td *d_ = ROW(td, op->d);                                                                               \
		const ta *a_ = ROW(const ta, op->a);                                                                   \
		const tb *b_ = ROW(const tb, op->b);                                                                   \
		WRITE_LANES(td, value);                                                                                \
		break;                                                                                                 \
	}
#define OP3(name, td, ta, tb, tc, value)                                                                               \
	case OP_##name: {                                                                                              \
		td *d_ = ROW(td, op->d);                                                                               \
		const ta *a_ = ROW(const ta, op->a);                                                                   \
		const tb *b_ = ROW(const tb, op->b);                                                                   \
		const tc *c_ = ROW(const tc, op->c);                                                                   \
		WRITE_LANES(td, value);                                                                                \
		break;                                                                                                 \
	}
#define COMPARE(name, type, condition)                                                                                 \
	case OP_##name: {                                                                                              \
		const type *a_ = ROW(const type, op->a);                                                               \
		const type *b_ = ROW(const type, op->b);                                                               \
		int32_t is[LANES];                                                                                     \
		VECTOR for (int l = 0; l < LANES; l++) is[l] = -(int32_t)(condition);                                  \
		set_predicate(ROW(uint32_t, op->d), op->x ? ~collect(is) : collect(is), active);                       \
		break;                                                                                                 \
	}

typedef int16_t s16;
typedef uint32_t u32;
typedef int32_t s32;
typedef uint64_t u64;
typedef int64_t s64;
typedef __int128 s128;
typedef unsigned __int128 u128;

static inline void set_predicate(uint32_t *predicate, uint32_t value, uint32_t active)
{
	*predicate = (*predicate & ~active) | (value & active);
}

/* The lanes' signs as bits. */
static inline uint32_t collect(const int32_t *is)
{
	uint32_t bits = 0;

#ifdef __SSE2__
	typedef float v4f __attribute__((vector_size(16), aligned(4), may_alias));

	for (int i = 0; i < 8; i++)
		bits |= (uint32_t)__builtin_ia32_movmskps(*(const v4f *)(is + i * 4)) << (i * 4);
#else
	for (int l = 0; l < LANES; l++)
		bits |= (uint32_t)(is[l] < 0) << l;
#endif
	return bits;
}

static inline void spread(uint32_t bits, int32_t *is)
{
	static const uint32_t bit[LANES] = {
		1u << 0,  1u << 1,  1u << 2,  1u << 3,	1u << 4,  1u << 5,  1u << 6,  1u << 7,
		1u << 8,  1u << 9,  1u << 10, 1u << 11, 1u << 12, 1u << 13, 1u << 14, 1u << 15,
		1u << 16, 1u << 17, 1u << 18, 1u << 19, 1u << 20, 1u << 21, 1u << 22, 1u << 23,
		1u << 24, 1u << 25, 1u << 26, 1u << 27, 1u << 28, 1u << 29, 1u << 30, 1u << 31,
	};

	VECTOR for (int l = 0; l < LANES; l++) is[l] = (bits & bit[l]) ? -1 : 0;
}

static inline u32 shl32(u32 a, u32 b)
{
	return b > 31 ? 0 : a << (b & 31);
}

static inline u32 shr32(u32 a, u32 b)
{
	return b > 31 ? 0 : a >> (b & 31);
}

static inline float min32(float a, float b)
{
	union {
		float f;
		u32 u;
	} x = { a }, y = { b };

	x.u |= y.u;
	return a != a ? b : b != b ? a : a == b ? x.f : a < b ? a : b;
}

static inline float max32(float a, float b)
{
	union {
		float f;
		u32 u;
	} x = { a }, y = { b };

	x.u &= y.u;
	return a != a ? b : b != b ? a : a == b ? x.f : a > b ? a : b;
}

static inline double min64(double a, double b)
{
	union {
		double f;
		u64 u;
	} x = { a }, y = { b };

	x.u |= y.u;
	return a != a ? b : b != b ? a : a == b ? x.f : a < b ? a : b;
}

static inline double max64(double a, double b)
{
	union {
		double f;
		u64 u;
	} x = { a }, y = { b };

	x.u &= y.u;
	return a != a ? b : b != b ? a : a == b ? x.f : a > b ? a : b;
}

/* PTX: division by zero gives all ones, and no trap; the most negative number by -1 stays as it is. */
#define DIV_U(a, b, ones) ((b) ? (a) / (b) : (ones))
#define REM_U(a, b) ((b) ? (a) % (b) : (a))
#define DIV_S(a, b, u) ((b) == 0 ? -1 : (b) == -1 ? (typeof(a))(0 - (u)(a)) : (a) / (b))
#define REM_S(a, b) ((b) == 0 ? (a) : (b) == -1 ? 0 : (a) % (b))

static inline s32 clamp32(s64 value)
{
	return value > INT32_MAX ? INT32_MAX : value < INT32_MIN ? INT32_MIN : (s32)value;
}

static inline u32 reverse32(u32 a)
{
	a = (a & 0x55555555) << 1 | (a >> 1 & 0x55555555);
	a = (a & 0x33333333) << 2 | (a >> 2 & 0x33333333);
	a = (a & 0x0f0f0f0f) << 4 | (a >> 4 & 0x0f0f0f0f);
	return __builtin_bswap32(a);
}

static inline u64 reverse64(u64 a)
{
	return (u64)reverse32((u32)a) << 32 | reverse32((u32)(a >> 32));
}

static inline u32 find64(u64 a, bool amount, u32 width)
{
	u32 at;

	if (!a)
		return UINT32_MAX;
	at = 63 - (u32)__builtin_clzll(a);
	return amount ? width - 1 - at : at;
}

static inline u64 extract(u64 a, u32 start, u32 length, u32 width, bool is_signed)
{
	u64 bits, sign_at;

	start &= 255;
	length &= 255;
	if (!length)
		return 0;
	sign_at = start + length - 1 < width - 1 ? start + length - 1 : width - 1;
	bits = start < width ? a >> start : 0;
	if (length < width)
		bits &= ((u64)1 << length) - 1;
	if (is_signed && a >> sign_at & 1) {
		u32 known = start < width ? (width - start < length ? width - start : length) : 0;

		if (known < 64)
			bits |= ~(u64)0 << known;
	}
	return bits;
}

static inline u64 insert(u64 a, u64 b, u32 start, u32 length, u32 width)
{
	u64 field;

	start &= 255;
	length &= 255;
	if (!length || start >= width)
		return b;
	field = length >= 64 ? ~(u64)0 : ((u64)1 << length) - 1;
	return (b & ~(field << start)) | (a & field) << start;
}

static inline u32 permute(u32 a, u32 b, u32 selector, u32 mode)
{
	/* f4e, b4e, rc8, ecl, ecr, rc16: which bytes, by the selector's lowest bits */
	static const uint16_t modes[6][4] = { { 0x3210, 0x4321, 0x5432, 0x6543 }, { 0x5670, 0x6701, 0x7012, 0x0123 },
					      { 0x0000, 0x1111, 0x2222, 0x3333 }, { 0x3210, 0x3211, 0x3222, 0x3333 },
					      { 0x0000, 0x1110, 0x2210, 0x3210 }, { 0x1010, 0x3232, 0x1010, 0x3232 } };
	u64 bytes = (u64)b << 32 | a;
	u32 result = 0;

	if (mode)
		selector = modes[mode - 1][selector & 3];
	for (int i = 0; i < 4; i++) {
		u32 pick = selector >> (i * 4) & 15;
		u32 byte = (u32)(bytes >> ((pick & 7) * 8)) & 255;

		if (pick & 8)
			byte = byte & 128 ? 255 : 0;
		result |= byte << (i * 8);
	}
	return result;
}

static inline u32 lookup3(u32 a, u32 b, u32 c, u32 table)
{
	u32 result = 0;

	for (u32 i = 0; i < 8; i++)
		if (table >> i & 1)
			result |= (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c);
	return result;
}

static inline u32 dot4(u32 a, u32 b, u32 c, u32 flags)
{
	for (int i = 0; i < 32; i += 8) {
		s32 x = flags & 1 ? (int8_t)(a >> i) : (uint8_t)(a >> i), y = flags & 2 ? (int8_t)(b >> i) : (uint8_t)(b >> i);

		c += (u32)(x * y);
	}
	return c;
}

/* vabsdiff4: the four bytes' differences, or (add) their sum and c */
static inline u32 differences(u32 a, u32 b, u32 c, u32 flags, bool add)
{
	u32 bytes = 0;

	for (int i = 0; i < 32; i += 8) {
		s32 x = flags & 1 ? (int8_t)(a >> i) : (uint8_t)(a >> i), y = flags & 2 ? (int8_t)(b >> i) : (uint8_t)(b >> i);
		u32 difference = (u32)(x > y ? x - y : y - x);

		bytes |= (difference & 255) << i;
		c += difference;
	}
	return add ? c : bytes;
}

/* fns: where the nth bit that is set lies, counted from a bit upwards or (n < 0) downwards */
static inline u32 nth_set(u32 mask, u32 base, s32 n)
{
	u32 left = n < 0 ? 0 - (u32)n : (u32)n;

	if (base >= LANES || (!n && !(mask >> base & 1)))
		return UINT32_MAX;
	if (!n)
		return base;
	for (s32 at = (s32)base; at >= 0 && at < LANES; at += n < 0 ? -1 : 1)
		if (mask >> at & 1 && !--left)
			return (u32)at;
	return UINT32_MAX;
}

static inline u32 dot2(u32 a, u32 b, u32 c, u32 flags, bool high)
{
	for (int i = 0; i < 2; i++) {
		u32 h = a >> (i * 16), e = b >> (i * 8 + (high ? 16 : 0));
		s32 x = flags & 1 ? (int16_t)h : (uint16_t)h, y = flags & 2 ? (int8_t)e : (uint8_t)e;

		c += (u32)x * (u32)y;
	}
	return c;
}

static inline u32 bit_mask(u32 a, u32 b, bool clamp)
{
	u64 field;

	if (!clamp) {
		a &= 31;
		b &= 31;
	}
	if (a > 31)
		return 0;
	field = b > 31 ? 0xffffffffull : ((u64)1 << b) - 1;
	return (u32)(field << a);
}

/* The span of the active lanes' addresses, and whether all are aligned. */
struct span {
	u64 lo, hi;
	bool aligned;
};

static inline struct span measure(const u64 *address, u64 offset, uint32_t size, uint32_t active)
{
	struct span span = { UINT64_MAX, 0, true };
	u64 bits = 0;

	for (uint32_t left = active; left; left &= left - 1) {
		u64 at = address[__builtin_ctz(left)] + offset;

		span.lo = at < span.lo ? at : span.lo;
		span.hi = at > span.hi ? at : span.hi;
		bits |= at;
	}
	span.aligned = !(bits & (size - 1));
	return span;
}

#define EACH_LANE(lanes) for (uint32_t left_ = (lanes), l; left_ && (l = (uint32_t)__builtin_ctz(left_), true); left_ &= left_ - 1)

#define LOAD(tm, td)                                                                                                   \
	do {                                                                                                           \
		td *d_ = row;                                                                                          \
		if (lanes == UINT32_MAX)                                                                               \
			for (int l = 0; l < LANES; l++)                                                                \
				d_[l] = (td)*(const volatile tm *)(uintptr_t)(memory + address[l]);                               \
		else                                                                                                   \
			EACH_LANE(lanes)                                                                               \
				d_[l] = (td)*(const volatile tm *)(uintptr_t)(memory + address[l]);                               \
	} while (0)

#define STORE(tm, ts)                                                                                                  \
	do {                                                                                                           \
		const ts *s_ = row;                                                                                    \
		if (lanes == UINT32_MAX)                                                                               \
			for (int l = 0; l < LANES; l++)                                                                \
				*(volatile tm *)(uintptr_t)(memory + address[l]) = (tm)s_[l];                                     \
		else                                                                                                   \
			EACH_LANE(lanes)                                                                               \
				*(volatile tm *)(uintptr_t)(memory + address[l]) = (tm)s_[l];                                     \
	} while (0)

/* x: size of the element (2 bits), signed, size of the register (2 bits) */
KERNEL_MEMORY static void load_rows(uint8_t x, void *row, u64 memory, const u64 *address, uint32_t lanes)
{
	switch (x) {
	case 0 | 1 << 3: /* u8 into 16 and 32 bits */
	case 0 | 2 << 3:
		LOAD(uint8_t, u32);
		break;
	case 0 | 4 | 1 << 3: /* sign-extended to 16 bits, the rest zero */
		EACH_LANE(lanes)
		((u32 *)row)[l] = (uint16_t)*(const volatile int8_t *)(uintptr_t)(memory + address[l]);
		break;
	case 0 | 4 | 2 << 3:
		LOAD(int8_t, u32);
		break;
	case 0 | 3 << 3:
		LOAD(uint8_t, u64);
		break;
	case 0 | 4 | 3 << 3:
		LOAD(int8_t, u64);
		break;
	case 1 | 1 << 3:
	case 1 | 2 << 3:
	case 1 | 4 | 1 << 3:
		LOAD(uint16_t, u32);
		break;
	case 1 | 4 | 2 << 3:
		LOAD(int16_t, u32);
		break;
	case 1 | 3 << 3:
		LOAD(uint16_t, u64);
		break;
	case 1 | 4 | 3 << 3:
		LOAD(int16_t, u64);
		break;
	case 2 | 3 << 3:
		LOAD(uint32_t, u64);
		break;
	case 2 | 4 | 3 << 3:
		LOAD(int32_t, u64);
		break;
	case 3 | 3 << 3:
	case 3 | 4 | 3 << 3:
		LOAD(uint64_t, u64);
		break;
	default:
		LOAD(uint32_t, u32);
		break;
	}
}

KERNEL_MEMORY static void store_rows(uint8_t x, const void *row, u64 memory, const u64 *address, uint32_t lanes)
{
	bool wide = x >> 3 == 3;

	switch (x & 3) {
	case 0:
		if (wide)
			STORE(uint8_t, u64);
		else
			STORE(uint8_t, u32);
		break;
	case 1:
		if (wide)
			STORE(uint16_t, u64);
		else
			STORE(uint16_t, u32);
		break;
	case 2:
		if (wide)
			STORE(uint32_t, u64);
		else
			STORE(uint32_t, u32);
		break;
	default:
		STORE(uint64_t, u64);
		break;
	}
}

/* A load or store of the active lanes; false when a lane's address is bad, with the block's error set. */
static bool access_memory(struct block *block, struct warp *warp, const struct ptx_op *op, unsigned char *const *bases,
			  uint32_t lanes)
{
	const uint32_t element = 1u << (op->x & 3), size = element * op->y;
	const bool shared = op->code == OP_LDSHARED || op->code == OP_STSHARED;
	const bool store = op->code == OP_STGLOBAL || op->code == OP_STSHARED;
	const u64 *from = ROW(const u64, op->a);
	const int32_t data[4] = { op->d, op->b, op->c, op->e };
	struct span span = measure(from, op->imm, size, lanes);
	const u64 memory = shared ? (u64)(uintptr_t)block->shared : 0;
	u64 address[LANES];

	if (!span.aligned ||
	    (shared ? span.hi > block->shared_bytes || block->shared_bytes - span.hi < size ||
			      (span.lo < block->gap_end && span.hi + size > block->gap_start) :
		      !ptx_range(block, span.lo, span.hi, size)))
		return ptx_access_slow(block, warp, op, bases[0], lanes);
	for (uint32_t i = 0; i < op->y; i++) {
		VECTOR for (int l = 0; l < LANES; l++) address[l] = from[l] + op->imm + i * element;
		if (store)
			store_rows(op->x, ROW(const void, data[i]), memory, address, lanes);
		else
			load_rows(op->x, ROW(void, data[i]), memory, address, lanes);
	}
	return true;
}

/* A parameter at a fixed place: the same for all lanes. */
static void load_param(struct block *block, const struct ptx_op *op, unsigned char *const *bases, uint32_t lanes)
{
	const int32_t data[4] = { op->d, op->b, op->c, op->e };
	const u64 params = (u64)(uintptr_t)block->grid->params;
	static const u64 none[LANES];

	for (uint32_t i = 0; i < op->y; i++)
		load_rows(op->x, ROW(void, data[i]), params + op->imm + (i << (op->x & 3)), none, lanes);
}

static uint32_t thread_part(const uint32_t *block, uint32_t thread, uint32_t which)
{
	if (which == 0)
		return thread % block[0];
	return which == 1 ? thread / block[0] % block[1] : thread / block[0] / block[1];
}

static u64 special(struct block *block, struct warp *warp, uint8_t which, uint32_t lane)
{
	const struct ptx_grid *grid = block->grid;
	struct timespec now;
	u64 ns;

	switch (which) {
	case SPECIAL_NTID_X:
	case SPECIAL_NTID_Y:
	case SPECIAL_NTID_Z:
		return grid->block[which - SPECIAL_NTID_X];
	case SPECIAL_CTAID_X:
	case SPECIAL_CTAID_Y:
	case SPECIAL_CTAID_Z:
		return block->ctaid[which - SPECIAL_CTAID_X];
	case SPECIAL_NCTAID_X:
	case SPECIAL_NCTAID_Y:
	case SPECIAL_NCTAID_Z:
		return grid->grid[which - SPECIAL_NCTAID_X];
	case SPECIAL_LANEID:
		return lane;
	case SPECIAL_WARPID:
		return warp->index;
	case SPECIAL_NWARPID:
		return 64;
	case SPECIAL_SMID:
		return block->index % grid->multiprocessors;
	case SPECIAL_NSMID:
		return grid->multiprocessors;
	case SPECIAL_LANEMASK_EQ:
		return 1u << lane;
	case SPECIAL_LANEMASK_LE:
		return (2u << lane) - 1;
	case SPECIAL_LANEMASK_LT:
		return (1u << lane) - 1;
	case SPECIAL_LANEMASK_GE:
		return ~((1u << lane) - 1);
	case SPECIAL_LANEMASK_GT:
		return ~((2u << lane) - 1);
	case SPECIAL_TOTAL_SHARED:
		return block->shared_bytes;
	case SPECIAL_DYNAMIC_SHARED:
		return grid->dynamic_shared;
	case SPECIAL_ZERO:
	case SPECIAL_GRIDID:
		return 0;
	case SPECIAL_ONE:
		return 1;
	case SPECIAL_WARP_SIZE:
		return LANES;
	default:
		clock_gettime(CLOCK_MONOTONIC, &now);
		ns = (u64)now.tv_sec * 1000000000 + (u64)now.tv_nsec;
		return which == SPECIAL_CLOCK_HI || which == SPECIAL_GLOBALTIMER_HI ? ns >> 32 : ns;
	}
}

static void read_special(struct block *block, struct warp *warp, const struct ptx_op *op, unsigned char *const *bases,
			 uint32_t lanes)
{
	u64 number = 0;

	if (op->x > SPECIAL_TID_Z)
		number = special(block, warp, op->x, 0);
	EACH_LANE(lanes)
	{
		if (op->x <= SPECIAL_TID_Z)
			number = thread_part(block->grid->block, warp->index * LANES + l, op->x);
		else if (op->x >= SPECIAL_LANEID && op->x <= SPECIAL_LANEMASK_GT)
			number = special(block, warp, op->x, l);
		if (op->y)
			ROW(u64, op->d)[l] = number;
		else
			ROW(u32, op->d)[l] = (u32)number;
	}
}

static inline u64 low_bits(uint32_t bits)
{
	return bits > 63 ? UINT64_MAX : ((u64)1 << bits) - 1;
}

static void pack(const struct ptx_op *op, unsigned char *const *bases, uint32_t lanes)
{
	const int32_t parts[4] = { op->a, op->b, op->c, op->e };
	const uint32_t bits = op->y * 8u;

	EACH_LANE(lanes)
	{
		u64 whole = 0;

		for (uint32_t i = 0; i < op->x; i++)
			whole |= (ROW(const u32, parts[i])[l] & low_bits(bits)) << (i * bits & 63);
		if (op->x * bits == 64)
			ROW(u64, op->d)[l] = whole;
		else
			ROW(u32, op->d)[l] = (u32)whole;
	}
}

static void unpack(const struct ptx_op *op, unsigned char *const *bases, uint32_t lanes)
{
	const int32_t parts[4] = { op->d, op->b, op->c, op->e };
	const uint32_t bits = op->y * 8u;

	EACH_LANE(lanes)
	{
		u64 whole = op->x * bits == 64 ? ROW(const u64, op->a)[l] : ROW(const u32, op->a)[l];

		for (uint32_t i = 0; i < op->x; i++)
			ROW(u32, parts[i])[l] = (u32)(whole >> (i * bits & 63) & low_bits(bits));
	}
}

/* x: rows of 64 bits, signs; imm: bytes of the source, the result, its row */
static void convert_integers(const struct ptx_op *op, unsigned char *const *bases, uint32_t lanes)
{
	uint32_t from = (uint32_t)op->imm & 255, to = (uint32_t)(op->imm >> 8) & 255, row = (uint32_t)(op->imm >> 16) & 255;
	uint32_t from_shift = 64 - from * 8, to_shift = 64 - to * 8;

	EACH_LANE(lanes)
	{
		u64 number = op->x & 1 ? ROW(const u64, op->a)[l] : ROW(const u32, op->a)[l];

		number <<= from_shift;
		number = op->x & 4 ? (u64)((s64)number >> from_shift) : number >> from_shift;
		number <<= to_shift;
		number = op->x & 8 ? (u64)((s64)number >> to_shift) : number >> to_shift;
		if (op->x & 2)
			ROW(u64, op->d)[l] = number;
		else
			ROW(u32, op->d)[l] = row == 4 ? (u32)number : (u32)number & ((1u << row * 8) - 1);
	}
}

static void convert(const struct ptx_op *op, unsigned char *const *bases, uint32_t lanes)
{
	EACH_LANE(lanes)
	{
		u64 number = op->y & 1 ? ROW(const u64, op->a)[l] : ROW(const u32, op->a)[l];

		number = ptx_convert(op, number);
		if (op->y & 2)
			ROW(u64, op->d)[l] = number;
		else
			ROW(u32, op->d)[l] = (u32)number;
	}
}

/* Calls of a group: all in the same frame, so also to the same place, unless through pointers. */
static bool call(struct block *block, struct warp *warp, const struct ptx_op *op, uint32_t lanes,
		 uint32_t callee_index, uint32_t next)
{
	const struct ptx_module *module = block->module;
	const struct function *callee = &module->functions[callee_index];
	uint32_t lane = (uint32_t)__builtin_ctz(lanes), base = warp->base[lane];
	uint32_t above = base + module->functions[op->b].frame_bytes;
	u32 *header = (u32 *)(void *)(warp->registers + above);

	if (callee->builtin && !callee->defined) {
		EACH_LANE(lanes)
		{
			warp->pc[l] = next;
			ptx_builtin(block, warp, callee, l | (u64)(warp->local_base[l] + op->imm) << 8);
		}
		return !block->error;
	}
	if (!callee->defined) {
		block->error = PTX_ERROR_INSTRUCTION;
		return false;
	}
	if (above + callee->frame_bytes > block->frame_bytes) {
		block->error = PTX_ERROR_TRAP;
		return false;
	}
	EACH_LANE(lanes)
	{
		u64 local = warp->local_base[l] + op->imm;

		if (local + callee->local_bytes > block->local_bytes ||
		    local + callee->layout.size > block->local_bytes) {
			block->error = PTX_ERROR_TRAP;
			return false;
		}
		header[l] = next;
		header[LANES + l] = base;
		header[2 * LANES + l] = warp->local_base[l];
		warp->pc[l] = callee->entry;
		warp->base[l] = above;
		warp->local_base[l] = (u32)local;
	}
	return true;
}

static bool call_through(struct block *block, struct warp *warp, const struct ptx_op *op, unsigned char *const *bases,
			 uint32_t lanes, uint32_t next)
{
	const u64 *target = ROW(const u64, op->a);

	while (lanes) {
		u64 first = target[__builtin_ctz(lanes)], index = (first - PTX_FUNCTION_WINDOW) / 16 - 1;
		uint32_t same = 0;

		EACH_LANE(lanes)
		same |= (uint32_t)(target[l] == first) << l;
		if ((first & PTX_WINDOW_MASK) != PTX_FUNCTION_WINDOW || first % 16 || index >= block->module->function_count ||
		    block->module->functions[index].kernel) {
			block->error = PTX_ERROR_INSTRUCTION;
			return false;
		}
		if (!call(block, warp, op, same, (uint32_t)index, next))
			return false;
		lanes &= ~same;
	}
	return true;
}

static void leave_function(struct warp *warp, const unsigned char *frame, uint32_t lanes)
{
	const u32 *header = (const void *)frame;

	EACH_LANE(lanes)
	{
		warp->pc[l] = header[l];
		warp->base[l] = header[LANES + l];
		warp->local_base[l] = header[2 * LANES + l];
	}
}

static bool copy_local(struct block *block, struct warp *warp, const struct ptx_op *op, uint32_t lanes)
{
	EACH_LANE(lanes)
	{
		unsigned char *own = ptx_local(block, warp, l, warp->local_base[l] + (u32)op->a, (u32)op->b);
		unsigned char *other = ptx_local(block, warp, l, warp->local_base[l] + op->imm, (u32)op->b);

		if (!own || !other)
			return false;
		memmove(op->d ? other : own, op->d ? own : other, (u32)op->b);
	}
	return true;
}

#include "softgpu/ptx/execute_loop.h"
