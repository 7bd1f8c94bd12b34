// SPDX-License-Identifier: MIT
/* Pages shared with executors: a VM's quota page, and the shape that all such pages have. */
#include "host/mediator/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/util/cleanup.h"

enum { PAGE_BYTES = 4096, PAGE_SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL };

int med_page_map(int fd, void **ret_page)
{
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);
	void *page;

	/* without the seal its holder could cut it off and have us killed by SIGBUS */
	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &st) < 0 || st.st_size != PAGE_BYTES)
		return -EINVAL;
	page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED)
		return -errno;
	*ret_page = page;
	return 0;
}

int med_page_create(const char *name, int *ret_fd, void **ret_page)
{
	vgpu_close int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int rc;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, PAGE_BYTES) < 0 || fcntl(fd, F_ADD_SEALS, PAGE_SEALS) < 0)
		return -errno;
	rc = med_page_map(fd, ret_page);
	if (!rc)
		*ret_fd = vgpu_take_fd(&fd);
	return rc;
}

int med_quota_ensure(struct med_quota *q, uint64_t quota_bytes)
{
	void *page = NULL;
	int rc;

	if (q->page)
		return 0;
	rc = med_page_create("vgpu-quota", &q->fd, &page);
	if (rc || !page)
		return rc ? rc : -EIO;
	q->page = page;
	q->page->quota_bytes = quota_bytes;
	return 0;
}

static bool same_file(int a, int b)
{
	struct stat x, y;

	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

int med_quota_adopt(struct med_quota *q, int fd, uint64_t quota_bytes)
{
	vgpu_close int copy = -1;
	void *page = NULL;
	int rc;

	if (q->page)
		return same_file(q->fd, fd) ? 0 : -EEXIST;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (copy < 0)
		return -errno;
	rc = med_page_map(copy, &page);
	if (rc || !page)
		return rc ? rc : -EIO;
	q->page = page;
	q->fd = vgpu_take_fd(&copy);
	q->page->quota_bytes = quota_bytes;
	return 0;
}

int med_quota_take(struct med_quota *q, unsigned int *ret_slot)
{
	if (!~q->slots)
		return -ENOSPC;
	*ret_slot = (unsigned int)__builtin_ctzll(~q->slots);
	q->slots |= 1ull << *ret_slot;
	return 0;
}

int med_quota_take_slot(struct med_quota *q, unsigned int slot)
{
	if (slot >= VGPU_QUOTA_SLOTS || q->slots >> slot & 1)
		return -EINVAL;
	q->slots |= 1ull << slot;
	return 0;
}

void med_quota_put(struct med_quota *q, unsigned int slot)
{
	if (q->page)
		__atomic_store_n(&q->page->used_bytes[slot], 0, __ATOMIC_RELEASE);
	q->slots &= ~(1ull << slot);
}

uint64_t med_quota_used(const struct med_quota *q)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; q->page && i < VGPU_QUOTA_SLOTS; i++)
		if (q->slots >> i & 1)
			sum += __atomic_load_n(&q->page->used_bytes[i], __ATOMIC_RELAXED);
	return sum;
}

void med_quota_set(struct med_quota *q, uint64_t quota_bytes)
{
	if (q->page)
		__atomic_store_n(&q->page->quota_bytes, quota_bytes, __ATOMIC_RELEASE);
}

void med_quota_uninit(struct med_quota *q)
{
	if (!q->page)
		return;
	munmap(q->page, PAGE_BYTES);
	close(q->fd);
	memset(q, 0, sizeof(*q));
}
