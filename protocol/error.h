/* SPDX-License-Identifier: MIT */
/*
 * Error codes that cross a boundary.
 *
 * A code is (group << 16) | number. The group says what is lost and so decides the recovery:
 *
 *   0 CUDA     the CUDA driver's own result (CUresult), unchanged; 0 is success
 *   1 call     this call failed, everything else goes on
 *   3 session  the session has ended: close it, open another
 *   4 GPU      the GPU cannot be used: another GPU or the administrator
 *   5 host     the host refused or cannot answer: later, or the administrator
 *
 * CUDA's sticky results (illegal address and the like) end the session's context, as they do
 * natively. Numbers are written down and never reused.
 */
#ifndef VGPU_PROTOCOL_ERROR_H
#define VGPU_PROTOCOL_ERROR_H

#define VGPU_ERROR_GROUP(code) ((code) >> 16)

enum vgpu_error_group {
	VGPU_GROUP_CUDA = 0,
	VGPU_GROUP_CALL = 1,
	VGPU_GROUP_SESSION = 3,
	VGPU_GROUP_GPU = 4,
	VGPU_GROUP_HOST = 5,
};

/* X(name, code, sentence for a person) */
#define VGPU_ERRORS(X) \
	X(CALL_INVALID, 0x10001, "an argument is not valid") \
	X(CALL_HANDLE, 0x10002, "the handle is unknown or was destroyed") \
	X(CALL_ADDRESS, 0x10003, "the address range is not memory of this session") \
	X(CALL_QUOTA, 0x10004, "the VRAM quota of this VM is used up") \
	X(CALL_HEAP_FULL, 0x10005, "the window has no room left for pinned memory") \
	X(CALL_LIMIT, 0x10006, "a limit on the number of objects is reached") \
	X(CALL_UNSUPPORTED, 0x10007, "the host does not support this call") \
	X(CALL_TOO_LARGE, 0x10008, "the request is larger than the limit") \
	X(CALL_NO_MEMORY, 0x10009, "out of host memory") \
	X(CALL_PROTOCOL, 0x1000a, "the request is malformed") \
	X(CALL_FORKED, 0x1000b, "the session belongs to the process before fork") \
	X(CALL_NOT_OPEN, 0x1000c, "no session is open") \
	X(CALL_INTERRUPTED, 0x1000d, "interrupted by a signal") \
	X(SESSION_CLOSED, 0x30001, "the session was closed") \
	X(SESSION_EXECUTOR_DIED, 0x30002, "the process that runs this session on the host has died") \
	X(SESSION_PROTOCOL, 0x30003, "the session was ended because its requests were malformed") \
	X(SESSION_RESET, 0x30004, "the device was reset") \
	X(SESSION_ADMIN, 0x30005, "the administrator ended the session") \
	X(SESSION_SUSPENDED, 0x30006, "the machine was suspended") \
	X(SESSION_UNPLUGGED, 0x30007, "the device was removed") \
	X(SESSION_MEMORY, 0x30008, "the session's process on the host ran out of memory") \
	X(SESSION_LINK, 0x30009, "the client's connection to the host ended") \
	X(GPU_NONE, 0x40001, "the host has no usable GPU") \
	X(GPU_DRIVER_OLD, 0x40002, "the host's GPU driver is too old") \
	X(GPU_LOST, 0x40003, "the GPU has failed") \
	X(GPU_HMM, 0x40004, "GPU code could reach host memory, the executor refused to start") \
	X(HOST_NO_MEDIATOR, 0x50001, "the host's GPU service does not answer") \
	X(HOST_UNKNOWN_VM, 0x50002, "this VM or user is not configured for a GPU") \
	X(HOST_IDENTITY, 0x50003, "the peer is not who the configuration expects") \
	X(HOST_SESSION_LIMIT, 0x50004, "the session limit of this VM is reached") \
	X(HOST_WINDOW_LIMIT, 0x50005, "the window is larger than allowed") \
	X(HOST_QUARANTINE, 0x50006, "this VM is in quarantine") \
	X(HOST_VERSION, 0x50007, "no common protocol version") \
	X(HOST_BUSY, 0x50008, "already connected, or too many requests") \
	X(HOST_NO_EXECUTOR, 0x50009, "the host could not start a process for the session") \
	X(HOST_INTERNAL, 0x5000a, "the host's GPU service failed")

enum vgpu_error {
	VGPU_OK = 0,
#define VGPU_ERROR_ENUM(name, code, text) VGPU_ERROR_##name = code,
	VGPU_ERRORS(VGPU_ERROR_ENUM)
#undef VGPU_ERROR_ENUM
};

#endif
