/* SPDX-License-Identifier: MIT */
/* What lanes of a warp do together: shuffles, votes, matches, reductions, the warp's barrier. */
#include <string.h>

#include "softgpu/ptx/runtime.h"

static void *row(struct block *block, unsigned char *frame, int32_t operand)
{
	return ptx_row(block->module, frame, operand);
}

static void set_bit(uint32_t *predicate, uint32_t lane, bool value)
{
	*predicate = value ? *predicate | 1u << lane : *predicate & ~(1u << lane);
}

static void shuffle(struct block *block, const struct ptx_op *op, unsigned char *frame, uint32_t group)
{
	const uint32_t *which = row(block, frame, op->b), *clamps = row(block, frame, op->c);
	uint32_t *result = row(block, frame, op->d), value[LANES], from[LANES] = { 0 }, ok = 0;
	int32_t valid = (int32_t)(int64_t)op->imm;

	memcpy(value, row(block, frame, op->a), sizeof(value));
	for (uint32_t left = group; left; left &= left - 1) {
		int32_t lane = __builtin_ctz(left), by = (int32_t)(which[lane] & 31), clamp = (int32_t)(clamps[lane] & 31);
		int32_t segment = (int32_t)(clamps[lane] >> 8 & 31);
		int32_t last = (lane & segment) | (clamp & ~segment), first = lane & segment, source;
		bool inside;

		switch ((enum ptx_shuffle)op->x) {
		case SHUFFLE_UP:
			source = lane - by;
			inside = source >= last;
			break;
		case SHUFFLE_DOWN:
			source = lane + by;
			inside = source <= last;
			break;
		case SHUFFLE_BFLY:
			source = lane ^ by;
			inside = source <= last;
			break;
		default:
			source = first | (by & ~segment);
			inside = source <= last;
			break;
		}
		from[lane] = value[inside ? source & 31 : lane];
		ok |= (uint32_t)inside << lane;
	}
	for (uint32_t left = group; left; left &= left - 1) {
		uint32_t lane = (uint32_t)__builtin_ctz(left);

		result[lane] = from[lane];
		if (valid != -1)
			set_bit(row(block, frame, valid), lane, ok >> lane & 1);
	}
}

static void vote(struct block *block, const struct ptx_op *op, unsigned char *frame, uint32_t group)
{
	uint32_t yes = *(const uint32_t *)row(block, frame, op->a) & group, *result = row(block, frame, op->d);
	bool value = op->x == VOTE_ALL ? yes == group : op->x == VOTE_ANY ? yes != 0 : !yes || yes == group;

	for (uint32_t left = group; left; left &= left - 1) {
		uint32_t lane = (uint32_t)__builtin_ctz(left);

		if (op->x == VOTE_BALLOT)
			result[lane] = yes;
		else
			set_bit(result, lane, value);
	}
}

static void match(struct block *block, const struct ptx_op *op, unsigned char *frame, uint32_t group)
{
	uint64_t value[LANES];
	uint32_t *result = row(block, frame, op->d), same[LANES] = { 0 };
	int32_t predicate = (int32_t)(int64_t)op->imm;

	for (uint32_t l = 0; l < LANES; l++)
		value[l] = op->y ? ((const uint64_t *)row(block, frame, op->a))[l] :
				   ((const uint32_t *)row(block, frame, op->a))[l];
	for (uint32_t left = group; left; left &= left - 1) {
		uint32_t lane = (uint32_t)__builtin_ctz(left);

		same[lane] = 0;
		for (uint32_t others = group; others; others &= others - 1) {
			uint32_t other = (uint32_t)__builtin_ctz(others);

			same[lane] |= (uint32_t)(value[other] == value[lane]) << other;
		}
	}
	for (uint32_t left = group; left; left &= left - 1) {
		uint32_t lane = (uint32_t)__builtin_ctz(left);

		result[lane] = op->x && same[lane] != group ? 0 : same[lane];
		if (predicate != -1)
			set_bit(row(block, frame, predicate), lane, same[lane] == group);
	}
}

static uint32_t reduce_two(const struct ptx_op *op, uint32_t a, uint32_t b)
{
	bool less = op->y ? (int32_t)a < (int32_t)b : a < b;

	switch ((enum ptx_atomic)op->x) {
	case ATOMIC_ADD:
		return a + b;
	case ATOMIC_MIN:
		return less ? a : b;
	case ATOMIC_MAX:
		return less ? b : a;
	case ATOMIC_AND:
		return a & b;
	case ATOMIC_OR:
		return a | b;
	default:
		return a ^ b;
	}
}

static void redux(struct block *block, const struct ptx_op *op, unsigned char *frame, uint32_t group)
{
	const uint32_t *value = row(block, frame, op->a);
	uint32_t *result = row(block, frame, op->d), total = value[__builtin_ctz(group)];

	for (uint32_t left = group & (group - 1); left; left &= left - 1)
		total = reduce_two(op, total, value[__builtin_ctz(left)]);
	for (uint32_t left = group; left; left &= left - 1)
		result[__builtin_ctz(left)] = total;
}

static void elect(struct block *block, const struct ptx_op *op, unsigned char *frame, uint32_t group)
{
	uint32_t *leader = row(block, frame, op->d), first = (uint32_t)__builtin_ctz(group);

	for (uint32_t left = group; left; left &= left - 1) {
		uint32_t lane = (uint32_t)__builtin_ctz(left);

		leader[lane] = first;
		set_bit(row(block, frame, op->a), lane, lane == first);
	}
}

static void perform(struct block *block, const struct ptx_op *op, unsigned char *frame, uint32_t group)
{
	switch (op->code) {
	case OP_SHUFFLE:
		shuffle(block, op, frame, group);
		break;
	case OP_VOTE:
		vote(block, op, frame, group);
		break;
	case OP_MATCH:
		match(block, op, frame, group);
		break;
	case OP_REDUX:
		redux(block, op, frame, group);
		break;
	case OP_ELECT:
		elect(block, op, frame, group);
		break;
	default:
		break;
	}
}

/* Waiting lanes that stand where the active ones do; for the warp's barrier, at any such barrier. */
static uint32_t waiting_here(struct block *block, struct warp *warp, const struct ptx_op *op, uint32_t pc, uint32_t base)
{
	uint32_t here = 0;

	for (uint32_t left = warp->at_warp; left; left &= left - 1) {
		uint32_t lane = (uint32_t)__builtin_ctz(left);

		if (op->code == OP_WARPBARRIER ? block->module->ops[warp->pc[lane]].code == OP_WARPBARRIER :
						 warp->pc[lane] == pc && warp->base[lane] == base)
			here |= 1u << lane;
	}
	return here;
}

bool ptx_together(struct block *block, struct warp *warp, const struct ptx_op *op, unsigned char *frame, uint32_t pc)
{
	const uint32_t *masks = row(block, frame, op->e);
	uint32_t first = (uint32_t)__builtin_ctz(warp->active), active = warp->active, wait = 0, present, done = 0;
	uint32_t members = masks[first] & warp->alive;

	if (!warp->at_warp && members == active && !warp->forced) {
		perform(block, op, frame, active);
		return true;
	}
	present = active | waiting_here(block, warp, op, pc, warp->base[first]);
	/* Lanes may name different masks: each mask is a group of its own. */
	for (uint32_t left = present; left; left &= ~(wait | done)) {
		uint32_t lane = (uint32_t)__builtin_ctz(left), group, missing;
		uint32_t own = op->code == OP_WARPBARRIER && warp->base[lane] != warp->base[first] ? present : masks[lane];

		own |= 1u << lane;
		group = own & present & left;
		missing = own & warp->alive & ~present;
		if (missing && !warp->forced) {
			wait |= group;
		} else {
			perform(block, op, frame, group);
			done |= group;
		}
	}
	warp->forced = false;
	for (uint32_t left = done; left; left &= left - 1)
		warp->pc[__builtin_ctz(left)]++;
	warp->at_warp = (warp->at_warp & ~done) | wait;
	return false;
}
