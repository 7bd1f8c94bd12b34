/* SPDX-License-Identifier: MIT */
/* Shared by config.c (reading) and config_edit.c (changing). */
#ifndef VGPU_HOST_MEDIATOR_CONFIG_INTERNAL_H
#define VGPU_HOST_MEDIATOR_CONFIG_INTERNAL_H

#include <sqlite3.h>

#include "host/mediator/internal.h"

struct med_config {
	sqlite3 *db;
};

int med_config_exec(struct med_config *c, const char *sql);

#endif
