/* SPDX-License-Identifier: MIT */
/* A stream's worker: takes commands out of the ring one by one and does them. */
#include <stdlib.h>

#include "softgpu/internal.h"

static CUresult run(struct softgpu_context *context, struct softgpu_command *command)
{
	switch (command->kind) {
	case SOFTGPU_LAUNCH:
		return softgpu_run_grid(context, &command->launch);
	case SOFTGPU_COPY:
		return softgpu_run_copy(context, command);
	case SOFTGPU_FILL:
		return softgpu_run_fill(context, command);
	case SOFTGPU_WRITE_VALUE:
		return softgpu_run_write(context, command);
	case SOFTGPU_WAIT_VALUE:
		return softgpu_run_wait_value(context, command);
	case SOFTGPU_WAIT:
		softgpu_stream_wait(command->wait.stream, command->wait.sequence);
		return CUDA_SUCCESS;
	case SOFTGPU_HOST_FUNCTION:
		command->host.function(command->host.data);
		return CUDA_SUCCESS;
	case SOFTGPU_FREE:
		return softgpu_memory_free(command->free_address, SOFTGPU_MEM_DEVICE) ? CUDA_SUCCESS :
											CUDA_ERROR_ILLEGAL_ADDRESS;
	default:
		return CUDA_SUCCESS;
	}
}

/* What must happen although the context has failed: nobody may wait for ever, nothing may leak. */
static void finish(struct softgpu_stream *stream, struct softgpu_command *command)
{
	switch (command->kind) {
	case SOFTGPU_LAUNCH:
		free(command->launch.big_params);
		break;
	case SOFTGPU_COPY:
		free(command->copy.staging);
		break;
	case SOFTGPU_RECORD:
		softgpu_event_reached(command->record.event, command->record.generation);
		softgpu_event_put(command->record.event);
		break;
	case SOFTGPU_WAIT:
		softgpu_stream_put(command->wait.stream);
		break;
	case SOFTGPU_CALLBACK:
		command->host.callback((CUstream)stream, softgpu_context_error(stream->context), command->host.data);
		break;
	default:
		break;
	}
}

/* Waits until there is a command; polls first, since sleeping and waking costs more than most commands. */
static void wait_for_command(struct softgpu_stream *stream, uint64_t at)
{
	uint64_t until = 0;

	for (unsigned int i = 0; atomic_load_explicit(&stream->submitted, memory_order_acquire) == at; i++) {
		softgpu_relax();
		if (i % 64 == 63) {
			uint64_t now = softgpu_now_ns();

			if (!until)
				until = now + (uint64_t)softgpu.config.spin_us * 1000;
			if (now >= until)
				break;
		}
	}
	while (atomic_load(&stream->submitted) == at) {
		atomic_store(&stream->sleeping, 1);
		if (atomic_load(&stream->submitted) == at)
			softgpu_futex_wait(&stream->submitted, (uint32_t)at, 0);
	}
	atomic_store(&stream->sleeping, 0);
}

void *softgpu_worker(void *argument)
{
	struct softgpu_stream *stream = argument;
	struct softgpu_context *context = stream->context;
	bool end = false;

	for (uint64_t at = 0; !end; at++) {
		struct softgpu_command *command = &stream->ring[at % SOFTGPU_QUEUE_DEPTH];
		CUresult result = CUDA_SUCCESS;

		wait_for_command(stream, at);
		end = command->kind == SOFTGPU_END;
		if (!softgpu_context_error(context))
			result = run(context, command);
		if (result)
			softgpu_context_fail(context, result);
		finish(stream, command);
		if (end && !stream->legacy)
			softgpu_stream_unlink(stream);
		atomic_store(&stream->completed, at + 1);
		if (atomic_load(&stream->waiters))
			softgpu_futex_wake(&stream->completed);
	}
	softgpu_stream_put(stream);
	if (atomic_fetch_sub(&context->workers, 1) == 1)
		softgpu_futex_wake(&context->workers);
	return NULL;
}
