/* SPDX-License-Identifier: MIT */
/* The executor's parts that need neither a driver nor a process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <elf.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "host/executor/internal.h"

static void test_table(void **state)
{
	struct vx_table t;
	int objects[5];
	uint32_t first;

	vx_table_init(&t, 4);
	assert_null(vx_table_get(&t, 0));
	first = vx_table_add(&t, &objects[0]);
	assert_int_not_equal(first, 0);
	for (int i = 1; i < 4; i++)
		assert_int_not_equal(vx_table_add(&t, &objects[i]), 0);
	assert_int_equal(vx_table_add(&t, &objects[4]), 0);
	assert_ptr_equal(vx_table_get(&t, first), &objects[0]);
	vx_table_remove(&t, first);
	vx_table_remove(&t, first);
	vx_table_remove(&t, 99);
	assert_null(vx_table_get(&t, first));
	assert_int_equal(t.count, 3);
	assert_int_equal(vx_table_add(&t, &objects[4]), first);
	assert_null(vx_table_get(&t, UINT32_MAX));
	vx_table_uninit(&t);
}

static void test_table_many(void **state)
{
	static int object;
	struct vx_table t;

	vx_table_init(&t, VGPU_FUNCTIONS);
	for (uint32_t i = 0; i < VGPU_FUNCTIONS; i++)
		assert_int_equal(vx_table_add(&t, &object), i + 1);
	assert_int_equal(vx_table_add(&t, &object), 0);
	vx_table_remove(&t, 777);
	assert_int_equal(vx_table_add(&t, &object), 777);
	vx_table_uninit(&t);
}

static void test_ranges(void **state)
{
	struct vx_ranges r = { .limit = 4 };
	const struct vx_range a = { .start = 0x1000, .bytes = 0x1000 };
	const struct vx_range b = { .start = 0x2000, .bytes = 0x800 };
	const struct vx_range c = { .start = 0x4000, .bytes = 1 };
	const struct vx_range over = { .start = 0x1fff, .bytes = 2 };
	const struct vx_range top = { .start = UINT64_MAX - 0xfff, .bytes = 0xfff };

	assert_false(vx_ranges_hold(&r, 0, 1));
	assert_int_equal(vx_ranges_add(&r, &c), 0);
	assert_int_equal(vx_ranges_add(&r, &a), 0);
	assert_int_equal(vx_ranges_add(&r, &b), 0);
	assert_int_equal(vx_ranges_add(&r, &over), -EEXIST);
	assert_int_equal(vx_ranges_add(&r, &a), -EEXIST);
	assert_int_equal(vx_ranges_add(&r, &top), 0);
	assert_int_equal(vx_ranges_add(&r, &(struct vx_range){ .start = 0x8000, .bytes = 1 }), -ENOSPC);
	/* exact footprints */
	assert_true(vx_ranges_hold(&r, 0x1000, 0x1000));
	assert_false(vx_ranges_hold(&r, 0x1000, 0x1001));
	assert_false(vx_ranges_hold(&r, 0xfff, 2));
	assert_true(vx_ranges_cover(&r, 0x1000, 0x1800));
	assert_false(vx_ranges_cover(&r, 0x1000, 0x1801));
	assert_true(vx_ranges_hold(&r, 0x4000, 1));
	assert_false(vx_ranges_hold(&r, 0x4000, UINT64_MAX));
	assert_false(vx_ranges_cover(&r, UINT64_MAX - 0xfff, 0x1000));
	/* dying memory is not held, though still in the way */
	vx_ranges_find(&r, 0x1800)->dying = true;
	assert_false(vx_ranges_hold(&r, 0x1000, 1));
	assert_int_equal(vx_ranges_add(&r, &a), -EEXIST);
	vx_ranges_remove(&r, 0x1800);
	assert_int_equal(r.count, 4);
	vx_ranges_remove(&r, 0x1000);
	assert_int_equal(r.count, 3);
	assert_null(vx_ranges_find(&r, 0x1000));
	assert_true(vx_ranges_hold(&r, 0x2000, 0x800));
	vx_ranges_uninit(&r);
}

static void test_quota(void **state)
{
	struct vgpu_quota_page page = { .quota_bytes = 10 << 20 };
	const struct vx_quota a = { &page, 0 }, b = { &page, 63 };
	uint64_t free_bytes, total;

	assert_int_equal(vx_quota_cost(1), 512);
	assert_int_equal(vx_quota_cost(513), 1024);
	assert_int_equal(vx_quota_cost(1 << 20), 2 << 20);
	assert_int_equal(vx_quota_cost((4 << 20) + 1), 6 << 20);
	assert_int_equal(vx_quota_cost(UINT64_MAX), 0);
	assert_true(vx_quota_charge(&a, 6 << 20));
	assert_false(vx_quota_charge(&b, 6 << 20));
	assert_int_equal(page.used_bytes[63], 0);
	assert_false(vx_quota_charge(&b, UINT64_MAX));
	assert_true(vx_quota_charge(&b, 4 << 20));
	vx_quota_info(&a, &free_bytes, &total);
	assert_int_equal(free_bytes, 0);
	assert_int_equal(total, 10 << 20);
	/* the administrator lowers it below what is used; a neighbour's slot holds nonsense */
	page.quota_bytes = 5 << 20;
	page.used_bytes[7] = UINT64_MAX;
	vx_quota_info(&a, &free_bytes, &total);
	assert_int_equal(free_bytes, 0);
	assert_false(vx_quota_charge(&a, 512));
	page.used_bytes[7] = 0;
	vx_quota_release(&a, 6 << 20);
	vx_quota_info(&a, &free_bytes, &total);
	assert_int_equal(free_bytes, 1 << 20);
}

struct charger {
	struct vx_quota quota;
	uint64_t got;
};

static void *charge_all(void *arg)
{
	struct charger *c = arg;

	for (int i = 0; i < 20000; i++)
		if (vx_quota_charge(&c->quota, 4096))
			c->got += 4096;
	return NULL;
}

/* Two executors that race for the last bytes: never more than the quota. */
static void test_quota_race(void **state)
{
	static struct vgpu_quota_page page = { .quota_bytes = 32 << 20 };
	struct charger c[2] = { { { &page, 1 }, 0 }, { { &page, 2 }, 0 } };
	pthread_t thread[2];

	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, charge_all, &c[i]), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(page.used_bytes[1], c[0].got);
	assert_int_equal(page.used_bytes[2], c[1].got);
	assert_true(c[0].got + c[1].got <= page.quota_bytes);
	assert_true(c[0].got + c[1].got >= page.quota_bytes / 2);
}

static void test_image(void **state)
{
	uint8_t image[512] = { 0 };
	Elf64_Ehdr elf = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB },
			   .e_shoff = 64, .e_shnum = 2, .e_shentsize = sizeof(Elf64_Shdr) };
	Elf64_Shdr section = { .sh_type = SHT_PROGBITS, .sh_offset = 256, .sh_size = 256 };
	const uint32_t fat[] = { 0xba55ed50, 16 << 16 | 1, 496, 0 };

	assert_true(vx_image_plausible(".version 7.0", 12));
	memcpy(image, fat, sizeof(fat));
	assert_true(vx_image_plausible(image, 512));
	assert_false(vx_image_plausible(image, 511));
	memcpy(image, &elf, sizeof(elf));
	assert_true(vx_image_plausible(image, 512));
	memcpy(image + 64, &section, sizeof(section));
	assert_true(vx_image_plausible(image, 512));
	assert_false(vx_image_plausible(image, 511));
	assert_false(vx_image_plausible(image, 63));
	section.sh_offset = UINT64_MAX - 8;
	memcpy(image + 64, &section, sizeof(section));
	assert_false(vx_image_plausible(image, 512));
	elf.e_shnum = 60000;
	memcpy(image, &elf, sizeof(elf));
	assert_false(vx_image_plausible(image, 512));
}

static void test_sticky(void **state)
{
	static const uint32_t lost[] = { 46, 214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 999 };
	static const uint32_t fine[] = { 0, 1, 2, 100, 200, 218, 400, 500, 600, 701, 712, 801 };

	for (size_t i = 0; i < sizeof(lost) / sizeof(lost[0]); i++)
		assert_true(vx_result_is_sticky(lost[i]));
	for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++)
		assert_false(vx_result_is_sticky(fine[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table), cmocka_unit_test(test_table_many),
		cmocka_unit_test(test_ranges), cmocka_unit_test(test_quota),
		cmocka_unit_test(test_quota_race), cmocka_unit_test(test_image),
		cmocka_unit_test(test_sticky),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
