// SPDX-License-Identifier: MIT
/*
 * Where dlopen finds a library that is named without its directory: the directories of
 * LD_LIBRARY_PATH, ldconfig's cache, the standard ones. Nothing of the library is run for it. The
 * cache is read as data: the file is root's, and still no length in it is believed.
 */
#include "host/jailer/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/util/cleanup.h"

enum { CACHE_BYTES_MAX = 64 << 20, FLAGS_X86_64 = 0x0303 };

/* As ldconfig writes it since glibc 2.2; older formats may stand before it in the same file. */
#define CACHE_MAGIC "glibc-ld.so.cache1.1"

struct cache_header {
	char magic[20];
	uint32_t count;
	uint32_t strings_bytes;
	uint32_t unused[5];
};

struct cache_entry {
	int32_t flags;
	uint32_t name, path; /* from the header's start */
	uint32_t os_version;
	uint64_t hardware;
};

static bool is_file(const char *path)
{
	return access(path, R_OK) == 0;
}

static bool in_directories(const char *list, const char *name, char *ret, size_t size)
{
	while (list && *list) {
		size_t n = strcspn(list, ":");

		if (n && snprintf(ret, size, "%.*s/%s", (int)n, list, name) < (int)size && is_file(ret))
			return true;
		list += n + (list[n] == ':');
	}
	return false;
}

/* The text at `at` that ends inside the cache, or NULL. */
static const char *text_at(const char *cache, size_t bytes, uint32_t at)
{
	return at < bytes && memchr(cache + at, 0, bytes - at) ? cache + at : NULL;
}

static bool in_cache(const char *cache, size_t bytes, const char *name, char *ret, size_t size)
{
	const char *start = memmem(cache, bytes, CACHE_MAGIC, sizeof(CACHE_MAGIC) - 1);
	struct cache_header h;

	if (!start)
		return false;
	bytes -= (size_t)(start - cache);
	if (bytes < sizeof(h))
		return false;
	memcpy(&h, start, sizeof(h));
	for (size_t i = 0; i < h.count && (i + 1) * sizeof(struct cache_entry) <= bytes - sizeof(h); i++) {
		const char *found, *path;
		struct cache_entry e;

		memcpy(&e, start + sizeof(h) + i * sizeof(e), sizeof(e));
		found = text_at(start, bytes, e.name);
		path = text_at(start, bytes, e.path);
		if (e.flags != FLAGS_X86_64 || !found || !path || strcmp(found, name) != 0)
			continue;
		if (snprintf(ret, size, "%s", path) < (int)size && is_file(ret))
			return true;
	}
	return false;
}

static bool read_cache(const char *name, char *ret, size_t size)
{
	vgpu_close int fd = open("/etc/ld.so.cache", O_RDONLY | O_CLOEXEC);
	vgpu_free char *cache = NULL;
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size > CACHE_BYTES_MAX)
		return false;
	cache = malloc((size_t)st.st_size + 1);
	n = cache ? read(fd, cache, (size_t)st.st_size) : -1;
	return n > 0 && in_cache(cache, (size_t)n, name, ret, size);
}

bool jail_library_find(const struct jail_options *o, const char *name, char *ret, size_t size)
{
	static const char variable[] = "LD_LIBRARY_PATH=";
	static const char standard[] = "/lib/x86_64-linux-gnu:/usr/lib/x86_64-linux-gnu:/lib64:/usr/lib64:/lib:/usr/lib";

	for (unsigned int i = 0; i < o->env_count; i++)
		if (!strncmp(o->env[i], variable, sizeof(variable) - 1) &&
		    in_directories(o->env[i] + sizeof(variable) - 1, name, ret, size))
			return true;
	return read_cache(name, ret, size) || in_directories(standard, name, ret, size);
}
