/* SPDX-License-Identifier: MIT */
/*
 * Rules of every wire structure of this project:
 * little endian, fixed width, explicit padding, reserved fields are zero, no pointers, no
 * bitfields. Each structure states its size and the offsets that matter with these macros.
 */
#ifndef VGPU_PROTOCOL_WIRE_H
#define VGPU_PROTOCOL_WIRE_H

#ifdef __KERNEL__
#include <linux/build_bug.h>
#include <linux/stddef.h>
#include <linux/types.h>
#else
#include <assert.h>
#include <stddef.h>
#include <linux/types.h>
#endif

#ifdef __cplusplus
#define VGPU_WIRE_ASSERT(x) static_assert(x, #x)
#else
#define VGPU_WIRE_ASSERT(x) _Static_assert(x, #x)
#endif

#define VGPU_WIRE_SIZE(type, bytes) VGPU_WIRE_ASSERT(sizeof(type) == (bytes))
#define VGPU_WIRE_AT(type, field, at) VGPU_WIRE_ASSERT(offsetof(type, field) == (at))

#endif
