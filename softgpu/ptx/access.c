/* SPDX-License-Identifier: MIT */
/* Memory as kernels see it: every access is checked against what exists. */
#include <math.h>
#include <string.h>

#include "softgpu/ptx/runtime.h"

bool ptx_range(struct block *block, uint64_t lo, uint64_t hi, uint32_t size)
{
	struct range range;

	for (int i = 0; i < RANGES; i++) {
		const struct range *r = &block->ranges[i];

		if (lo - r->start < r->size && hi - r->start < r->size && r->size - (hi - r->start) >= size)
			return true;
	}
	if (!block->grid->memory.find(block->grid->memory.argument, lo, &range.start, &range.size))
		return false;
	block->ranges[block->next_range++ % RANGES] = range;
	return hi - range.start < range.size && range.size - (hi - range.start) >= size;
}

static void *fault(struct block *block, uint64_t address)
{
	block->error = PTX_ERROR_ADDRESS;
	block->fault_address = address;
	return NULL;
}

void *ptx_local(struct block *block, struct warp *warp, uint32_t lane, uint64_t offset, uint32_t size)
{
	if (offset > block->local_bytes || block->local_bytes - offset < size)
		return fault(block, PTX_LOCAL_WINDOW + offset);
	return block->local + (uint64_t)(warp->index * LANES + lane) * block->local_bytes + offset;
}

static void *shared(struct block *block, uint64_t offset, uint32_t size)
{
	if (offset > block->shared_bytes || block->shared_bytes - offset < size ||
	    (offset < block->gap_end && offset + size > block->gap_start))
		return fault(block, PTX_SHARED_WINDOW + offset);
	return block->shared + offset;
}

static void *param(struct block *block, uint64_t offset, uint32_t size)
{
	uint32_t bytes = block->grid->kernel->param_bytes;

	if (offset > bytes || bytes - offset < size)
		return fault(block, PTX_PARAM_WINDOW + offset);
	return (unsigned char *)(uintptr_t)block->grid->params + offset;
}

void *ptx_resolve(struct block *block, struct warp *warp, uint32_t lane, uint64_t address, uint32_t size)
{
	uint64_t offset = address & ~PTX_WINDOW_MASK;

	switch (address & PTX_WINDOW_MASK) {
	case PTX_SHARED_WINDOW:
		return shared(block, offset, size);
	case PTX_LOCAL_WINDOW:
		return ptx_local(block, warp, lane, offset, size);
	case PTX_PARAM_WINDOW:
		return param(block, offset, size);
	default:
		if (!ptx_range(block, address, address, size))
			return fault(block, address);
		return (void *)(uintptr_t)address;
	}
}

/* Where an op's access of one lane goes. */
static unsigned char *place(struct block *block, struct warp *warp, const struct ptx_op *op, const uint64_t *address,
			    uint32_t lane, uint32_t size)
{
	uint64_t at = (address ? address[lane] : 0) + op->imm;

	if (op->code == OP_LDLOCAL || op->code == OP_STLOCAL)
		at += address ? 0 : warp->local_base[lane];
	if (at & (size - 1)) {
		block->error = PTX_ERROR_MISALIGNED;
		return NULL;
	}
	switch (op->code) {
	case OP_LDSHARED:
	case OP_STSHARED:
		return shared(block, at, size);
	case OP_LDLOCAL:
	case OP_STLOCAL:
		return ptx_local(block, warp, lane, at, size);
	case OP_LDPARAM:
		return param(block, at, size);
	default:
		return ptx_resolve(block, warp, lane, at, size);
	}
}

KERNEL_MEMORY static uint64_t load(const unsigned char *at, uint32_t size)
{
	switch (size) {
	case 1:
		return *(const volatile uint8_t *)at;
	case 2:
		return *(const volatile uint16_t *)(const void *)at;
	case 4:
		return *(const volatile uint32_t *)(const void *)at;
	default:
		return *(const volatile uint64_t *)(const void *)at;
	}
}

KERNEL_MEMORY static void store(unsigned char *at, uint64_t number, uint32_t size)
{
	switch (size) {
	case 1:
		*(volatile uint8_t *)at = (uint8_t)number;
		break;
	case 2:
		*(volatile uint16_t *)(void *)at = (uint16_t)number;
		break;
	case 4:
		*(volatile uint32_t *)(void *)at = (uint32_t)number;
		break;
	default:
		*(volatile uint64_t *)(void *)at = number;
		break;
	}
}

bool ptx_access_slow(struct block *block, struct warp *warp, const struct ptx_op *op, unsigned char *frame,
		     uint32_t lanes)
{
	const uint32_t element = 1u << (op->x & 3), size = element * op->y, width = 1u << (op->x >> 3);
	const bool writes = op->code == OP_STGLOBAL || op->code == OP_STSHARED || op->code == OP_STLOCAL;
	const uint64_t *address = op->a < 0 ? NULL : ptx_row(block->module, frame, op->a);
	const int32_t data[4] = { op->d, op->b, op->c, op->e };

	for (uint32_t left = lanes; left; left &= left - 1) {
		uint32_t lane = (uint32_t)__builtin_ctz(left);
		unsigned char *at = place(block, warp, op, address, lane, size);

		if (!at)
			return false;
		/* The address may lie in a register that the load overwrites; it is not read again for this lane. */
		for (uint32_t i = 0; i < op->y; i++) {
			void *row = ptx_row(block->module, frame, data[i]);
			uint64_t number;

			if (writes) {
				number = width == 8 ? ((uint64_t *)row)[lane] : ((uint32_t *)row)[lane];
				store(at + i * element, number, element);
				continue;
			}
			number = load(at + i * element, element);
			if (op->x & 4 && element < 8)
				number = (uint64_t)((int64_t)(number << (64 - element * 8)) >> (64 - element * 8));
			if (width == 8)
				((uint64_t *)row)[lane] = number;
			else
				((uint32_t *)row)[lane] = width == 2 ? (uint32_t)number & 0xffff : (uint32_t)number;
		}
	}
	return true;
}

bool ptx_async_copy(struct block *block, struct warp *warp, const struct ptx_op *op, unsigned char *frame,
		    uint32_t lanes)
{
	const uint64_t *to = ptx_row(block->module, frame, op->a), *from = ptx_row(block->module, frame, op->b);
	const uint32_t *count = ptx_row(block->module, frame, op->c);

	for (uint32_t left = lanes; left; left &= left - 1) {
		uint32_t lane = (uint32_t)__builtin_ctz(left), size = count[lane] < op->x ? count[lane] : op->x;
		uint64_t at = to[lane] + op->imm;
		const unsigned char *source = NULL;
		unsigned char *target;

		if ((at | from[lane]) & (op->x - 1u)) {
			block->error = PTX_ERROR_MISALIGNED;
			return false;
		}
		target = shared(block, at, op->x);
		if (size)
			source = ptx_resolve(block, warp, lane, from[lane], size);
		if (!target || (size && !source))
			return false;
		for (uint32_t i = 0; i < op->x; i += 4) {
			uint64_t word = 0;

			if (i + 4 <= size)
				word = load(source + i, 4);
			for (uint32_t j = i; i + 4 > size && j < size; j++)
				word |= load(source + j, 1) << (j - i) * 8;
			store(target + i, word, 4);
		}
	}
	return true;
}

static uint64_t float_add(enum ptx_type type, uint64_t old, uint64_t operand)
{
	union {
		uint32_t u;
		float f;
	} a32 = { (uint32_t)old }, b32 = { (uint32_t)operand };
	union {
		uint64_t u;
		double f;
	} a64 = { old }, b64 = { operand };
	const struct ptx_op half = { .y = FLOAT_ADD, .x = type == T_BF16 || type == T_BF16X2 ? FLAG_BF16 : 0 };

	switch (type) {
	case T_F32:
		a32.f += b32.f;
		return a32.u;
	case T_F64:
		a64.f += b64.f;
		return a64.u;
	case T_F16X2:
	case T_BF16X2:
		return ptx_half(&half, (uint32_t)old & 0xffff, (uint32_t)operand & 0xffff, 0) |
		       ptx_half(&half, (uint32_t)old >> 16 & 0xffff, (uint32_t)operand >> 16 & 0xffff, 0) << 16;
	default:
		return ptx_half(&half, (uint32_t)old & 0xffff, (uint32_t)operand & 0xffff, 0);
	}
}

/* Whether old is to be replaced: operand is less (or more). */
static bool beyond(enum ptx_type type, uint64_t old, uint64_t operand, bool less)
{
	union {
		uint32_t u;
		float f;
	} a = { (uint32_t)old }, b = { (uint32_t)operand };
	union {
		uint64_t u;
		double f;
	} c = { old }, d = { operand };

	switch (type) {
	case T_S32:
		return less ? (int32_t)operand < (int32_t)old : (int32_t)operand > (int32_t)old;
	case T_S64:
		return less ? (int64_t)operand < (int64_t)old : (int64_t)operand > (int64_t)old;
	case T_F32:
		return isnan(a.f) || (less ? b.f < a.f : b.f > a.f);
	case T_F64:
		return isnan(c.f) || (less ? d.f < c.f : d.f > c.f);
	case T_F16:
	case T_BF16:
		c.f = ptx_half_to_double((uint32_t)old, type == T_BF16);
		d.f = ptx_half_to_double((uint32_t)operand, type == T_BF16);
		return isnan(c.f) || (less ? d.f < c.f : d.f > c.f);
	default:
		return less ? operand < old : operand > old;
	}
}

static uint64_t extreme(enum ptx_type type, uint64_t old, uint64_t operand, bool less)
{
	enum ptx_type half = type == T_BF16X2 ? T_BF16 : T_F16;

	if (type != T_F16X2 && type != T_BF16X2)
		return beyond(type, old, operand, less) ? operand : old;
	return (beyond(half, old & 0xffff, operand & 0xffff, less) ? operand & 0xffff : old & 0xffff) |
	       (beyond(half, old >> 16 & 0xffff, operand >> 16 & 0xffff, less) ? operand & 0xffff0000 :
										 old & 0xffff0000);
}

static uint64_t combine(const struct ptx_op *op, uint64_t old, uint64_t a, uint64_t b)
{
	enum ptx_type type = (enum ptx_type)op->x;

	switch ((enum ptx_atomic)op->y) {
	case ATOMIC_ADD:
		return type >= T_F16 ? float_add(type, old, a) : old + a;
	case ATOMIC_MIN:
		return extreme(type, old, a, true);
	case ATOMIC_MAX:
		return extreme(type, old, a, false);
	case ATOMIC_INC:
		return (uint32_t)old >= (uint32_t)a ? 0 : old + 1;
	case ATOMIC_DEC:
		return !(uint32_t)old || (uint32_t)old > (uint32_t)a ? a : old - 1;
	case ATOMIC_AND:
		return old & a;
	case ATOMIC_OR:
		return old | a;
	case ATOMIC_XOR:
		return old ^ a;
	case ATOMIC_EXCH:
		return a;
	default:
		return old == a ? b : old;
	}
}

#define ATOMIC_LOOP(type)                                                                                              \
	do {                                                                                                           \
		type old_ = __atomic_load_n((type *)at, __ATOMIC_SEQ_CST), new_;                                       \
		do {                                                                                                   \
			new_ = (type)combine(op, old_, (type)a, (type)b);                                              \
		} while (!__atomic_compare_exchange_n((type *)at, &old_, new_, false, __ATOMIC_SEQ_CST,                \
						      __ATOMIC_SEQ_CST));                                              \
		return old_;                                                                                           \
	} while (0)

static uint64_t do_atomic(const struct ptx_op *op, void *at, uint32_t size, uint64_t a, uint64_t b)
{
	if (op->y == ATOMIC_ADD && op->x < T_F16 && size == 4)
		return __atomic_fetch_add((uint32_t *)at, (uint32_t)a, __ATOMIC_SEQ_CST);
	if (size == 2)
		ATOMIC_LOOP(uint16_t);
	if (size == 4)
		ATOMIC_LOOP(uint32_t);
	ATOMIC_LOOP(uint64_t);
}

bool ptx_atomic(struct block *block, struct warp *warp, const struct ptx_op *op, unsigned char *frame, uint32_t lanes)
{
	static const uint8_t sizes[] = { [T_B16] = 2, [T_B32] = 4, [T_B64] = 8,  [T_U32] = 4,	 [T_U64] = 8,	  [T_S32] = 4,
					 [T_S64] = 8, [T_F16] = 2, [T_BF16] = 2, [T_F16X2] = 4, [T_BF16X2] = 4, [T_F32] = 4,
					 [T_F64] = 8, [T_U16] = 2, [T_S16] = 2 };
	const uint64_t *address = ptx_row(block->module, frame, op->a);
	const uint32_t size = sizes[op->x];
	const void *a = ptx_row(block->module, frame, op->b), *b = ptx_row(block->module, frame, op->c);
	void *d = op->d < 0 ? NULL : ptx_row(block->module, frame, op->d);

	for (uint32_t left = lanes; left; left &= left - 1) {
		uint32_t lane = (uint32_t)__builtin_ctz(left);
		uint64_t at = address[lane] + op->imm, old;
		void *memory;

		if (at & (size - 1)) {
			block->error = PTX_ERROR_MISALIGNED;
			return false;
		}
		memory = op->code == OP_ATOMSHARED ? shared(block, at, size) : ptx_resolve(block, warp, lane, at, size);
		if (!memory)
			return false;
		if (size == 8)
			old = do_atomic(op, memory, 8, ((const uint64_t *)a)[lane], ((const uint64_t *)b)[lane]);
		else
			old = do_atomic(op, memory, size, ((const uint32_t *)a)[lane], ((const uint32_t *)b)[lane]);
		if (d && size == 8)
			((uint64_t *)d)[lane] = old;
		else if (d)
			((uint32_t *)d)[lane] = (uint32_t)old;
	}
	return true;
}
