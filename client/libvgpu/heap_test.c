// SPDX-License-Identifier: MIT
/* The heap's bookkeeping and the address tables, without a session. */
#include "client/libvgpu/internal.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <cmocka.h>

enum { MIB = 1 << 20, LIVE = 200, ROUNDS = 20000 };

static void blocks_never_overlap(void **state)
{
	struct vgpu_heap h = { 0 };
	struct vgpu_heap_block *live[LIVE] = { 0 };
	uint8_t *owner = calloc(16 * MIB / VGPU_HEAP_ALIGN, 1);
	unsigned int seed = 1, refused = 0;

	assert_int_equal(vgpu_heap_add(&h, 0, 6 * MIB), 0);
	assert_int_equal(vgpu_heap_add(&h, 6 * MIB, 2 * MIB), 0);
	assert_int_equal(vgpu_heap_add(&h, 12 * MIB, 4 * MIB), 0); /* behind a gap */
	for (int round = 0; round < ROUNDS; round++) {
		unsigned int i = (unsigned int)rand_r(&seed) % LIVE;
		uint64_t bytes = 1 + (uint64_t)rand_r(&seed) % (rand_r(&seed) % 8 ? 10000 : 400000);

		if (live[i]) {
			memset(owner + live[i]->at / VGPU_HEAP_ALIGN, 0, live[i]->bytes / VGPU_HEAP_ALIGN);
			vgpu_heap_give(&h, live[i]);
			live[i] = NULL;
			continue;
		}
		if (vgpu_heap_take(&h, bytes, &live[i])) {
			refused++;
			continue;
		}
		assert_true(live[i]->bytes >= bytes);
		assert_int_equal(live[i]->at % (bytes >= 4096 ? 4096 : VGPU_HEAP_ALIGN), 0);
		assert_true(live[i]->at >= 6 * MIB || live[i]->at + live[i]->bytes <= 6 * MIB);
		assert_true(live[i]->at + live[i]->bytes <= 8 * MIB ||
			    (live[i]->at >= 12 * MIB && live[i]->at + live[i]->bytes <= 16 * MIB));
		for (uint64_t k = 0; k < live[i]->bytes / VGPU_HEAP_ALIGN; k++) {
			assert_int_equal(owner[live[i]->at / VGPU_HEAP_ALIGN + k], 0);
			owner[live[i]->at / VGPU_HEAP_ALIGN + k] = 1;
		}
	}
	for (unsigned int i = 0; i < LIVE; i++)
		if (live[i])
			vgpu_heap_give(&h, live[i]);
	/* each run is one block again, and no block lies in two */
	assert_int_equal(vgpu_heap_take(&h, 6 * MIB + 1, &live[0]), -ENOSPC);
	assert_int_equal(vgpu_heap_take(&h, 6 * MIB, &live[0]), 0);
	assert_int_equal(vgpu_heap_take(&h, 4 * MIB, &live[1]), 0);
	assert_int_equal(vgpu_heap_take(&h, 2 * MIB, &live[2]), 0);
	assert_int_equal(vgpu_heap_take(&h, 1, &live[3]), -ENOSPC);
	assert_true(refused < ROUNDS / 2);
	vgpu_heap_uninit(&h);
	free(owner);
}

static void impossible_sizes_are_refused(void **state)
{
	struct vgpu_heap h = { 0 };
	struct vgpu_heap_block *b;

	assert_int_equal(vgpu_heap_take(&h, 1, &b), -ENOSPC);
	assert_int_equal(vgpu_heap_add(&h, 0, 2 * MIB), 0);
	assert_int_equal(vgpu_heap_take(&h, 0, &b), -ENOSPC);
	assert_int_equal(vgpu_heap_take(&h, UINT64_MAX, &b), -ENOSPC);
	assert_int_equal(vgpu_heap_take(&h, 2 * MIB + 1, &b), -ENOSPC);
	vgpu_heap_uninit(&h);
}

static void ranges_hold_what_is_inside(void **state)
{
	struct vgpu_ranges r;
	struct vgpu_range got;
	int tag;

	vgpu_ranges_init(&r);
	for (uint64_t i = 0; i < 500; i++)
		assert_int_equal(vgpu_ranges_add(&r, 0x1000 + (i * 7 % 500) * 0x1000, 0x800, i & 1 ? &tag : NULL), 0);
	assert_int_equal(vgpu_ranges_add(&r, 0x17ff, 2, NULL), -EEXIST);
	assert_int_equal(vgpu_ranges_add(&r, 0xfff, 2, NULL), -EEXIST);
	assert_int_equal(vgpu_ranges_add(&r, UINT64_MAX - 1, 8, NULL), -EEXIST);
	assert_true(vgpu_ranges_holds(&r, 0x1000, 0x800));
	assert_true(vgpu_ranges_holds(&r, 0x17ff, 1));
	assert_false(vgpu_ranges_holds(&r, 0x1000, 0x801));
	assert_false(vgpu_ranges_holds(&r, 0x1800, 1));
	assert_false(vgpu_ranges_holds(&r, 0xfff, 1));
	assert_false(vgpu_ranges_holds(&r, 0x1001, UINT64_MAX));
	assert_int_equal(vgpu_ranges_remove(&r, 0x1001, &got), -ENOENT);
	assert_int_equal(vgpu_ranges_remove(&r, 0x1000, &got), 0);
	assert_false(vgpu_ranges_holds(&r, 0x1000, 1));
	vgpu_ranges_remove_data(&r, &tag);
	assert_int_equal(r.count, 249);
	vgpu_ranges_uninit(&r);
}

static void a_taken_address_is_not_reserved(void **state)
{
	uint8_t *area = mmap(NULL, 64 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t base = ((uint64_t)(uintptr_t)area + 2 * MIB) & ~(2ull * MIB - 1);

	assert_true(area != MAP_FAILED);
	munmap(area, 64 * MIB);
	vgpu_reserve_get();
	assert_int_equal(vgpu_reserve_add(base + 0x3000, 0x100), 0);
	assert_int_equal(vgpu_reserve_add(base + 0x3100, 0x100), 0); /* the same granule */
	assert_int_equal(vgpu_reserve_add(base + 8 * MIB, 4 * MIB), 0);
	assert_int_equal(vgpu_reserve_add(base + MIB, 20 * MIB), 0); /* over and between both */
	/* nobody else gets it */
	assert_ptr_equal(mmap((void *)(uintptr_t)(base + 5 * MIB), 4096, PROT_READ,
			      MAP_PRIVATE | MAP_ANONYMOUS | 0x100000, -1, 0), MAP_FAILED);
	/* what others have, it does not get, and what it took on the way is given back */
	area = mmap((void *)(uintptr_t)(base + 40 * MIB), 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if ((uint64_t)(uintptr_t)area == base + 40 * MIB) {
		assert_int_equal(vgpu_reserve_add(base + 30 * MIB, 12 * MIB), -EEXIST);
		assert_int_equal(vgpu_reserve_add(base + 40 * MIB + 4096, 4096), 0); /* only the page */
		assert_int_equal(vgpu_reserve_add(base + 30 * MIB, 10 * MIB), 0);
	}
	munmap(area, 4096);
	vgpu_reserve_put();
	area = mmap((void *)(uintptr_t)base, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | 0x100000, -1, 0);
	assert_int_equal((uint64_t)(uintptr_t)area, base);
	munmap(area, 4096);
}

static void stream_copies_are_copies(void **state)
{
	static const size_t sizes[] = { 0, 1, 63, 64, 16383, 16384, 16385, 50000, 70000 };
	uint8_t *from = malloc(80000), *to = malloc(80000), *want = malloc(80000);

	for (size_t i = 0; i < 80000; i++)
		from[i] = (uint8_t)(i * 31 + (i >> 8));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		for (size_t odd = 0; odd < 70; odd += 7) {
			memset(to, 0xaa, 80000);
			memset(want, 0xaa, 80000);
			memcpy(want + odd, from + 3 * odd, sizes[i]);
			vgpu_stream_copy(to + odd, from + 3 * odd, sizes[i]);
			assert_memory_equal(to, want, 80000);
		}
	free(from);
	free(to);
	free(want);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks_never_overlap),
		cmocka_unit_test(impossible_sizes_are_refused),
		cmocka_unit_test(ranges_hold_what_is_inside),
		cmocka_unit_test(stream_copies_are_copies),
		cmocka_unit_test(a_taken_address_is_not_reserved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
