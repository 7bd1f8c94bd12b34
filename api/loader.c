/* SPDX-License-Identifier: MIT */
/* Loads a CUDA driver library at run time, so that one binary serves any driver and none at build time. */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/loader.h"

int cuda_driver_load(const char *path, struct cuda_driver *ret_driver, char *err, size_t err_size)
{
	struct cuda_driver driver = { 0 };

	driver.library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!driver.library) {
		const char *cause = dlerror();

		snprintf(err, err_size, "cannot load the CUDA driver %s: %s", path, cause ? cause : "unknown cause");
		return -ENOENT;
	}
	for (size_t i = 0; i < cuda_symbols_count; i++) {
		const struct cuda_symbol *symbol = &cuda_symbols[i];
		void *address = dlsym(driver.library, symbol->name);

		if (!address && !symbol->optional) {
			snprintf(err, err_size, "the CUDA driver %s has no %s; a driver of CUDA %d.%d or newer has it", path,
				 symbol->name, symbol->since / 1000, symbol->since / 10 % 10);
			dlclose(driver.library);
			return -ENOSYS;
		}
		memcpy((char *)&driver + symbol->offset, &address, sizeof(address));
	}
	*ret_driver = driver;
	return 0;
}

void cuda_driver_unload(struct cuda_driver *driver)
{
	if (!driver || !driver->library)
		return;
	dlclose(driver->library);
	memset(driver, 0, sizeof(*driver));
}
