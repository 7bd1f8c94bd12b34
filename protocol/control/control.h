/* SPDX-License-Identifier: MIT */
/*
 * vgpu-admin, vgpu-agent <-> vgpu-mediator: JSON-RPC 2.0 over a Unix stream socket, one JSON
 * object a line. Methods and roles: control.md beside this file.
 */
#ifndef VGPU_PROTOCOL_CONTROL_H
#define VGPU_PROTOCOL_CONTROL_H

#define VGPU_CONTROL_VERSION 1
#define VGPU_CONTROL_SOCKET "/run/vgpu/control.sock"

enum vgpu_control_limits {
	VGPU_CONTROL_MESSAGE_MAX = 1 << 20, /* bytes of a line: lists of a whole host fit */
	VGPU_CONTROL_DEPTH_MAX = 8,	    /* of nesting: parameters are flat objects */
	VGPU_CONTROL_CLIENTS_UID = 16,	    /* connections of one user */
};

enum vgpu_control_error {
	/* JSON-RPC's own */
	VGPU_CONTROL_PARSE = -32700,
	VGPU_CONTROL_REQUEST = -32600,
	VGPU_CONTROL_METHOD = -32601,
	VGPU_CONTROL_PARAMS = -32602,
	VGPU_CONTROL_INTERNAL = -32603,
	/* ours */
	VGPU_CONTROL_DENIED = -32001,	 /* the peer's role does not allow the method */
	VGPU_CONTROL_NOT_FOUND = -32002, /* no such VM, tenant or session */
	VGPU_CONTROL_EXISTS = -32003,	 /* the name, UUID or user is taken */
	VGPU_CONTROL_REFUSED = -32004,	 /* a limit or a rule; the message has values and limit */
};

#endif
