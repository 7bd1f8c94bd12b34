/* SPDX-License-Identifier: MIT */
/*
 * Running byte code: a block's warps take turns on one host thread.
 *
 * Lanes of a warp that stand at the same op with the same frame run together; op by op for all of them. Where they part
 * at a branch, the group in the deepest frame, and there at the lowest op, runs first; at a JOIN (each label) groups
 * that meet become one again. So lanes reconverge as structured code wants it, and a lane that waits for another one
 * of its warp still gets on, since after a number of JOINs another group has its turn.
 */
#ifndef SOFTGPU_PTX_RUNTIME_H
#define SOFTGPU_PTX_RUNTIME_H

#include "softgpu/ptx/internal.h"

enum {
	BARRIERS = 16,
	RANGES = 4,
	FUEL = 4096,		     /* JOINs of one turn of a warp */
	RECURSION_FRAME = 1 << 20,   /* bytes of registers a warp gets where calls nest without a known bound */
	RECURSION_LOCAL = 64 << 10,  /* bytes of a thread's local memory there */
};

#define NO_KEY UINT64_MAX

/* Kernels may race with each other and with the host: it is their program's affair, not ThreadSanitizer's. */
#define KERNEL_MEMORY __attribute__((no_sanitize("thread")))

struct warp {
	uint32_t index;
	uint32_t alive;		  /* lanes that have not left */
	uint32_t active;	  /* the group that runs */
	uint32_t at_barrier;	  /* lanes that wait for the block */
	uint32_t at_warp;	  /* lanes that wait for others of the warp, at the op itself */
	bool forced;		  /* nobody can come any more: what waits for the warp goes on without */
	bool rotate;		  /* this turn, another group first, and no merging */
	uint32_t pc[LANES];
	uint32_t base[LANES];	  /* where the frame begins, in bytes */
	uint32_t local_base[LANES];
	uint8_t barrier[LANES];	  /* which one a lane waits at */
	uint64_t wait_key;	  /* the first group behind the active one */
	int32_t mask[LANES];	  /* of the active lanes: all bits set */
	unsigned char *registers;
};

struct barrier {
	uint32_t arrived, expected; /* threads; expected 0: all that live */
	uint32_t count;		    /* of true predicates, for reductions */
	uint32_t total;
};

struct range {
	uint64_t start, size;
};

struct block {
	const struct ptx_grid *grid;
	const struct ptx_module *module;
	uint64_t index;
	uint32_t ctaid[3];
	uint32_t threads, warps, alive;
	uint32_t frame_bytes; /* registers of a warp */
	uint32_t local_bytes; /* of a thread */
	unsigned char *shared, *local;
	uint32_t shared_bytes;
	uint32_t gap_start, gap_end; /* between static and dynamic shared memory: what other kernels have there */
	struct range ranges[RANGES];
	uint32_t next_range;
	struct barrier barriers[BARRIERS];
	struct warp *warp;
	int error;
	uint64_t fault_address;
};

/* How a turn of a warp ended. */
enum turn { TURN_YIELD, TURN_BLOCKED, TURN_DONE, TURN_ERROR };

/* execute.c, compiled twice: for any machine, and for those with AVX2 and FMA. */
enum turn ptx_execute_any(struct block *block, struct warp *warp);
enum turn ptx_execute_avx2(struct block *block, struct warp *warp);

/* schedule.c */
static inline uint64_t ptx_key(uint32_t base, uint32_t pc)
{
	return (uint64_t)~base << 32 | pc;
}
/* Chooses the next group; false when no lane can run. */
bool ptx_choose(struct warp *warp);
/* The active lanes arrive at a barrier. */
void ptx_barrier(struct block *block, struct warp *warp, const struct ptx_op *op, const unsigned char *frame);
/* Looks whether barriers are full; lets their lanes go. */
void ptx_release(struct block *block);

/* access.c */
/* Where @size bytes at a generic address lie, for one lane; sets the block's error and gives NULL when nowhere. */
void *ptx_resolve(struct block *block, struct warp *warp, uint32_t lane, uint64_t address, uint32_t size);
/* A cached range that holds [lo, hi + size), looked up when there is none yet. */
bool ptx_range(struct block *block, uint64_t lo, uint64_t hi, uint32_t size);
void *ptx_local(struct block *block, struct warp *warp, uint32_t lane, uint64_t offset, uint32_t size);
/* Loads and stores lane by lane, with every check. */
bool ptx_access_slow(struct block *block, struct warp *warp, const struct ptx_op *op, unsigned char *frame,
		     uint32_t lanes);
/* What is asked for, of x bytes, goes to shared memory; the rest there becomes 0. */
bool ptx_async_copy(struct block *block, struct warp *warp, const struct ptx_op *op, unsigned char *frame,
		    uint32_t lanes);
bool ptx_atomic(struct block *block, struct warp *warp, const struct ptx_op *op, unsigned char *frame, uint32_t lanes);

/* math.c */
float ptx_float32(const struct ptx_op *op, float a, float b, float c);
double ptx_float64(const struct ptx_op *op, double a, double b, double c);
uint32_t ptx_half(const struct ptx_op *op, uint32_t a, uint32_t b, uint32_t c);
bool ptx_testp(uint8_t kind, int class);
/* One step of a carry chain: y is enum ptx_carry. */
uint64_t ptx_carry(uint8_t kind, uint64_t a, uint64_t b, uint64_t c, uint32_t bits, bool *carry);

/* convert.c */
uint64_t ptx_convert(const struct ptx_op *op, uint64_t from);
uint32_t ptx_convert_pair(const struct ptx_op *op, float high, float low);
double ptx_half_to_double(uint32_t bits, bool bf16);
/* The nearest (or as @flags says) half number to a value that is exact as a double. */
uint32_t ptx_double_to_half(double value, bool bf16, uint8_t flags);

/* together.c: warp operations; false when the active lanes have changed and the op must be looked at again. */
bool ptx_together(struct block *block, struct warp *warp, const struct ptx_op *op, unsigned char *frame, uint32_t pc);

/* builtin.c */
void ptx_builtin(struct block *block, struct warp *warp, const struct function *function, uint64_t params);

/* A row of the frame or of the pool. */
static inline void *ptx_row(const struct ptx_module *module, const unsigned char *frame, int32_t operand)
{
	const unsigned char *bases[2] = { frame, module->pool };

	return (void *)(uintptr_t)(bases[operand & 1] + ((int64_t)(operand >> 1) * 4));
}

#endif /* SOFTGPU_PTX_RUNTIME_H */
