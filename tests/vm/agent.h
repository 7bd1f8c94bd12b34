/* SPDX-License-Identifier: MIT */
/*
 * The wire between a test on the host (vm.py) and PID 1 of a test guest (init.c, agent.c): frames over a
 * virtio-serial port named "vgpu.agent", a header and then `len` bytes. All numbers are little-endian.
 * Both sides skip bytes until a magic: after a reset a frame of the guest's former life may be cut off.
 *
 *	host                               guest
 *	HELLO nonce  (repeated)   ->
 *	                          <-       READY nonce, kernel release
 *	RUN id, shell command     ->       starts it in a session of its own
 *	STDIN id, bytes (none = end) ->
 *	KILL id, u32 signal       ->       to the whole process group
 *	                          <-       STDOUT / STDERR id, bytes
 *	                          <-       EXIT id, u32 wait status; the last word about this id
 *	POWER "off" | "reboot"    ->
 */
#ifndef VGPU_TESTS_VM_AGENT_H
#define VGPU_TESTS_VM_AGENT_H

#include <stdint.h>

#define AGENT_MAGIC "VgA\x01"
#define AGENT_PORT_NAME "vgpu.agent"

enum {
	AGENT_PAYLOAD_MAX = 1 << 20, /* a command line with everything quoted into it */
	AGENT_COMMANDS_MAX = 128,    /* at the same time: 64 guest threads' worth of processes, twice */
};

enum agent_type {
	AGENT_HELLO = 'H',
	AGENT_RUN = 'R',
	AGENT_STDIN = 'I',
	AGENT_KILL = 'K',
	AGENT_POWER = 'P',
	AGENT_READY = 'h',
	AGENT_STDOUT = 'o',
	AGENT_STDERR = 'e',
	AGENT_EXIT = 'x',
};

struct agent_header {
	char magic[4];
	uint8_t type;
	uint8_t reserved[3];
	uint32_t id;
	uint32_t len;
};

/* agent.c */

/* Opens the agent's port, waiting up to timeout_ms for it to appear. Returns a descriptor or -errno. */
int agent_open(int timeout_ms);

/* Serves the port until the host asks for power off or reboot. Returns 'o' or 'r', or -errno. */
int agent_serve(int port);

/* Starts a shell command with these three descriptors as its standard ones; returns its pid or -errno. */
int agent_spawn(const char *command, const int fds[3]);

/* Where commands are to run, when not in the initial root: a folder to chroot into. */
void agent_set_root(const char *path);

#endif
