/* SPDX-License-Identifier: MIT */
/* Configuration: `key=value` pairs from the file that SOFTGPU_CONFIG names, then from SOFTGPU itself. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "softgpu/internal.h"

static bool parse_number(const char *text, uint64_t *ret_number)
{
	char *end;
	unsigned long long number;
	int shift = 0;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	number = strtoull(text, &end, 0);
	if (errno)
		return false;
	switch (*end) {
	case 'K':
		shift = 10;
		break;
	case 'M':
		shift = 20;
		break;
	case 'G':
		shift = 30;
		break;
	case 'T':
		shift = 40;
		break;
	}
	if (shift)
		end++;
	if (*end || number > UINT64_MAX >> shift)
		return false;
	*ret_number = number << shift;
	return true;
}

static bool set_number(struct softgpu_config *config, const char *key, uint64_t number)
{
	const struct {
		const char *name;
		int *value;
		uint64_t least, most;
	} ints[] = {
		{ "devices", &config->devices, 0, SOFTGPU_MAX_DEVICES },
		{ "driver", &config->driver_version, 12040, 13000 },
		{ "multiprocessors", &config->multiprocessors, 1, 1024 },
		{ "threads", &config->threads, 0, 256 },
		{ "spin_us", &config->spin_us, 0, 1000000 },
	};
	const struct {
		const char *name;
		uint64_t *value;
		uint64_t least;
	} longs[] = {
		{ "vram", &config->vram_bytes, 1 << 20 },
		{ "fault_launch", &config->fault_launch, 0 },
		{ "endless_launch", &config->endless_launch, 0 },
		{ "lost_launch", &config->lost_launch, 0 },
		{ "ecc_launch", &config->ecc_launch, 0 },
		{ "fail_alloc", &config->fail_alloc, 0 },
		{ "copy_rate", &config->copy_bytes_per_s, 0 },
	};

	for (size_t i = 0; i < sizeof(ints) / sizeof(ints[0]); i++) {
		if (strcmp(key, ints[i].name) != 0)
			continue;
		if (number < ints[i].least || number > ints[i].most)
			return false;
		*ints[i].value = (int)number;
		return true;
	}
	for (size_t i = 0; i < sizeof(longs) / sizeof(longs[0]); i++) {
		if (strcmp(key, longs[i].name) != 0)
			continue;
		if (number < longs[i].least || number > (uint64_t)1 << 46)
			return false;
		*longs[i].value = number;
		return true;
	}
	return false;
}

static bool set_pair(struct softgpu_config *config, char *pair)
{
	char *value = strchr(pair, '=');
	char *pattern = NULL;
	uint64_t number;

	if (!value)
		return false;
	*value++ = 0;
	if (!strcmp(pair, "fault_kernel"))
		pattern = config->fault_kernel;
	else if (!strcmp(pair, "endless_kernel"))
		pattern = config->endless_kernel;
	if (pattern) {
		if (strlen(value) >= sizeof(config->fault_kernel))
			return false;
		snprintf(pattern, sizeof(config->fault_kernel), "%s", value);
		return true;
	}
	return parse_number(value, &number) && set_number(config, pair, number);
}

static bool set_all(struct softgpu_config *config, char *text, const char *from)
{
	char *rest = text, *pair;

	while ((pair = strsep(&rest, ",\n"))) {
		char shown[128];

		pair += strspn(pair, " \t");
		if (!*pair || *pair == '#')
			continue;
		snprintf(shown, sizeof(shown), "%s", pair);
		if (!set_pair(config, pair)) {
			fprintf(stderr, "softgpu: %s: \"%s\" is no known key with a value in its range\n", from, shown);
			return false;
		}
	}
	return true;
}

static bool load_file(struct softgpu_config *config, const char *path)
{
	char text[4096];
	FILE *file = fopen(path, "re");
	size_t length;

	if (!file) {
		fprintf(stderr, "softgpu: cannot read SOFTGPU_CONFIG=%s: %m\n", path);
		return false;
	}
	length = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[length] = 0;
	return set_all(config, text, path);
}

bool softgpu_config_load(struct softgpu_config *ret_config)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct softgpu_config config = {
		.vram_bytes = (uint64_t)4 << 30,
		.devices = 1,
		.driver_version = 13000,
		.multiprocessors = 8,
		.threads = cpus > 1 ? (int)(cpus > 16 ? 15 : cpus - 1) : 0,
		.spin_us = 10,
	};
	const char *path = getenv("SOFTGPU_CONFIG"), *pairs = getenv("SOFTGPU");

	if (path && *path && !load_file(&config, path))
		return false;
	if (pairs) {
		char text[4096];

		if (strlen(pairs) >= sizeof(text)) {
			fprintf(stderr, "softgpu: SOFTGPU is longer than %zu bytes\n", sizeof(text) - 1);
			return false;
		}
		snprintf(text, sizeof(text), "%s", pairs);
		if (!set_all(&config, text, "SOFTGPU"))
			return false;
	}
	*ret_config = config;
	return true;
}
