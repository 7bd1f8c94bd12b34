// SPDX-License-Identifier: MIT
/* Parts of the mediator that need no peers; the rest is tested with real processes in tests/host. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/window/window.h"
#include "host/mediator/internal.h"

static const uint8_t uuid[16] = { 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
				  0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef };

static void test_label(void **state)
{
	static const struct { const char *label; enum med_label verdict; } cases[] = {
		{ "libvirt-01234567-89ab-cdef-0123-456789abcdef (enforce)", MED_LABEL_RIGHT },
		{ "libvirt-01234567-89AB-CDEF-0123-456789ABCDEF", MED_LABEL_RIGHT },
		{ "libvirt-01234567-89ab-cdef-0123-456789abcdee (enforce)", MED_LABEL_WRONG },
		{ "libvirt-11111111-1111-1111-1111-111111111111", MED_LABEL_WRONG },
		{ "libvirt-0123", MED_LABEL_NONE },
		{ "unconfined", MED_LABEL_NONE },
		{ "system_u:system_r:svirt_t:s0:c1,c2", MED_LABEL_NONE },
		{ "", MED_LABEL_NONE },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_int_equal(med_label_compare(cases[i].label, uuid), cases[i].verdict);
}

static void test_window(void **state)
{
	const uint64_t extent = VGPU_EXTENT_BYTES;
	struct med_window w;
	uint8_t *view;
	int fd;

	assert_int_equal(vgpu_window_create("test", 8 * extent, &fd), 0);
	assert_int_equal(med_window_init(&w, fd, 8 * extent), 0);
	assert_int_equal(med_window_take(&w, 0, 0), -EINVAL);
	assert_int_equal(med_window_take(&w, 0, 9 * extent), -EINVAL);
	assert_int_equal(med_window_take(&w, UINT64_MAX - extent + 1, 2 * extent), -EINVAL);
	assert_int_equal(med_window_take(&w, 1, extent), -EINVAL);
	assert_int_equal(med_window_take(&w, 7 * extent, extent), 0);
	assert_int_equal(med_window_take(&w, 5 * extent, 3 * extent), -EEXIST);
	assert_int_equal(med_window_take(&w, 5 * extent, 2 * extent), 0);
	view = mmap(NULL, 8 * extent, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(view != MAP_FAILED);
	view[5 * extent] = view[7 * extent] = view[0] = 1;
	assert_int_equal(med_window_put(&w, 5 * extent, 2 * extent), 0);
	assert_int_equal(view[5 * extent], 0);
	assert_int_equal(view[7 * extent], 1);
	assert_int_equal(med_window_take(&w, 4 * extent, 3 * extent), 0);
	assert_int_equal(med_window_clear(&w), 0);
	assert_int_equal(view[7 * extent] + view[0], 0);
	assert_int_equal(med_window_take(&w, 0, 8 * extent), 0);
	munmap(view, 8 * extent);
	med_window_uninit(&w);
	med_window_uninit(&w);
}

static void test_pages(void **state)
{
	void *page;
	int fd = memfd_create("open", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	/* one that its holder can cut off is refused */
	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(med_page_map(fd, &page), -EINVAL);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_int_equal(med_page_map(fd, &page), 0);
	munmap(page, 4096);
	close(fd);
	fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
	assert_int_equal(med_page_map(fd, &page), -EINVAL);
	close(fd);
}

static void test_quota(void **state)
{
	struct med_quota q = { .fd = -1 }, other = { .fd = -1 }, adopted = { .fd = -1 };
	unsigned int slot;

	assert_int_equal(med_quota_ensure(&q, 1000), 0);
	for (unsigned int i = 0; i < VGPU_QUOTA_SLOTS; i++) {
		assert_int_equal(med_quota_take(&q, &slot), 0);
		assert_int_equal(slot, i);
	}
	assert_int_equal(med_quota_take(&q, &slot), -ENOSPC);
	q.page->used_bytes[7] = 5;
	q.page->used_bytes[8] = 6;
	assert_int_equal(med_quota_used(&q), 11);
	med_quota_put(&q, 7);
	assert_int_equal(med_quota_used(&q), 6);
	assert_int_equal(med_quota_take(&q, &slot), 0);
	assert_int_equal(slot, 7);
	/* a new mediator takes the page over; another page of the same VM is refused */
	assert_int_equal(med_quota_adopt(&adopted, q.fd, 2000), 0);
	assert_int_equal(q.page->quota_bytes, 2000);
	assert_int_equal(med_quota_adopt(&adopted, q.fd, 2000), 0);
	assert_int_equal(med_quota_ensure(&other, 1), 0);
	assert_int_equal(med_quota_adopt(&adopted, other.fd, 2000), -EEXIST);
	assert_int_equal(med_quota_take_slot(&adopted, 8), 0);
	assert_int_equal(med_quota_take_slot(&adopted, 8), -EINVAL);
	assert_int_equal(med_quota_take_slot(&adopted, 64), -EINVAL);
	assert_int_equal(med_quota_used(&adopted), 6);
	med_quota_uninit(&q);
	med_quota_uninit(&other);
	med_quota_uninit(&adopted);
}

static void count_vm(void *arg, const struct med_vm_config *vm)
{
	*(unsigned int *)arg += 1;
	assert_string_equal(vm->name, "web1");
	assert_string_equal(vm->tenant, "default");
	assert_true(vm->vram_quota_bytes == MED_UNLIMITED);
}

static void test_config(void **state)
{
	char path[] = "/tmp/vgpu-config-XXXXXX", text[256];
	struct med_vm_config vm;
	struct med_config *c;
	unsigned int count = 0;
	uint32_t first, second;
	int fd = mkstemp(path), quota = memfd_create("quota", MFD_CLOEXEC);

	close(fd);
	assert_int_equal(med_config_open(path, &c), 0);
	assert_int_equal(med_config_next_epoch(c, &first), 0);
	med_vm_config_default(&vm);
	snprintf(vm.name, sizeof(vm.name), "web1");
	memcpy(vm.uuid, uuid, 16);
	assert_int_equal(med_config_put_vm(c, &vm, text, sizeof(text)), 0);
	assert_int_equal(med_config_put_vm(c, &vm, text, sizeof(text)), -EEXIST);
	assert_int_equal(med_config_put_executor(c, 5, uuid, 3, quota), 0);
	med_config_close(c);
	assert_int_equal(med_config_open(path, &c), 0);
	assert_int_equal(med_config_next_epoch(c, &second), 0);
	assert_int_equal(second, first + 1);
	assert_int_equal(med_config_each_vm(c, count_vm, &count), 0);
	assert_int_equal(count, 1);
	assert_true(med_config_is_executor(c, 5, uuid, 3, quota));
	assert_false(med_config_is_executor(c, 5, uuid, 4, quota));
	assert_false(med_config_is_executor(c, 6, uuid, 3, quota));
	assert_true(med_config_vm_has_executor(c, uuid));
	med_config_remove_executor(c, 5);
	assert_false(med_config_vm_has_executor(c, uuid));
	assert_false(med_config_is_executor(c, 5, uuid, 3, quota));
	med_config_close(c);
	close(quota);
	unlink(path);
	snprintf(text, sizeof(text), "%s-wal", path);
	unlink(text);
	snprintf(text, sizeof(text), "%s-shm", path);
	unlink(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_label), cmocka_unit_test(test_window), cmocka_unit_test(test_pages),
		cmocka_unit_test(test_quota), cmocka_unit_test(test_config),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
