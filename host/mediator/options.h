/* SPDX-License-Identifier: MIT */
#ifndef VGPU_HOST_MEDIATOR_OPTIONS_H
#define VGPU_HOST_MEDIATOR_OPTIONS_H

#include "host/mediator/internal.h"

/* Exits for --help and --version; -EINVAL after a message for what is wrong. */
int med_options_parse(int argc, char **argv, struct med_options *ret);

#endif
