/* SPDX-License-Identifier: MIT */
/* Modules, their functions and variables. */
#include "host/executor/internal.h"

#include <stdlib.h>
#include <string.h>

static struct vx_module *module_find(struct vx_session *s, uint32_t handle)
{
	struct vx_module *m = vx_table_get(&s->modules, handle);

	return m && !m->dying ? m : NULL;
}

/* A job that uses a module: the module is not unloaded before it ends. */
static struct vx_job *module_job(struct vx_session *s, const struct vx_call *c, uint32_t handle)
{
	struct vx_module *m = module_find(s, handle);
	struct vx_job *job;

	if (!m) {
		vx_reply_call(s, c, VGPU_ERROR_CALL_HANDLE, NULL);
		return NULL;
	}
	job = vx_job_new(s, c);
	if (!job)
		return NULL;
	m->users++;
	job->module = m;
	return job;
}

/* ---- load and unload ---- */

static CUresult load_image(struct vx_job *job, const void *image, char *error_log, char *info_log,
			   size_t *ret_log)
{
	const struct cuda_driver *cu = &job->session->gpu->cu;
	CUjit_option option[] = { CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
				  CU_JIT_INFO_LOG_BUFFER, CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES };
	void *value[] = { error_log, (void *)(uintptr_t)VGPU_LOG_MAX, info_log,
			  (void *)(uintptr_t)VGPU_LOG_MAX };
	CUresult rc = cu->cuModuleLoadDataEx(&job->cu_module, image, 4, option, value);
	const char *log = *error_log ? error_log : info_log;

	*ret_log = strnlen(log, VGPU_LOG_MAX);
	if (job->load.log_bytes)
		memcpy((void *)(uintptr_t)job->load.log, log,
		       *ret_log < job->load.log_bytes ? *ret_log : job->load.log_bytes);
	return rc;
}

static void load_run(struct vx_job *job)
{
	size_t bytes = job->load.image_bytes, log_bytes = 0;
	char *logs = calloc(2, VGPU_LOG_MAX + 1);
	char *image = malloc(bytes + 1);

	if (!logs || !image) {
		job->status = VGPU_ERROR_CALL_NO_MEMORY;
	} else {
		/* read once: the client can change the heap meanwhile */
		memcpy(image, (const void *)(uintptr_t)job->load.image, bytes);
		image[bytes] = 0;
		if (vx_image_plausible(image, bytes))
			job->status = vx_check(job->session, load_image(job, image, logs,
									logs + VGPU_LOG_MAX + 1,
									&log_bytes));
		else
			job->status = CUDA_ERROR_INVALID_IMAGE;
	}
	job->value[1] = log_bytes;
	free(image);
	free(logs);
}

static void load_finish(struct vx_job *job)
{
	struct vx_session *s = job->session;
	struct vx_module *m = NULL;

	s->loading_bytes -= job->load.image_bytes;
	if (!job->status) {
		m = calloc(1, sizeof(*m));
		if (m)
			m->handle = vx_table_add(&s->modules, m);
		if (!m || !m->handle) {
			s->gpu->cu.cuModuleUnload(job->cu_module);
			job->status = m ? VGPU_ERROR_CALL_LIMIT : VGPU_ERROR_CALL_NO_MEMORY;
			free(m);
		} else {
			m->cu = job->cu_module;
			job->value[0] = m->handle;
		}
	}
	vx_job_close(job);
}

void vx_module_load(struct vx_session *s, const struct vx_call *c)
{
	const struct vgpu_call_module *m = c->module;
	struct vx_job *job;

	if (!vx_ranges_cover(&s->heap, m->image, m->image_bytes) ||
	    (m->log_bytes && !vx_ranges_cover(&s->heap, m->log, m->log_bytes))) {
		vx_reply_call(s, c, VGPU_ERROR_CALL_ADDRESS, NULL);
		return;
	}
	if (s->loading_bytes + m->image_bytes > VX_LOADING_BYTES) {
		vx_reply_call(s, c, VGPU_ERROR_CALL_NO_MEMORY, NULL);
		return;
	}
	job = vx_job_new(s, c);
	if (!job)
		return;
	s->loading_bytes += m->image_bytes;
	job->load.image = m->image;
	job->load.image_bytes = m->image_bytes;
	job->load.log = m->log;
	job->load.log_bytes = m->log_bytes;
	job->run = load_run;
	job->finish = load_finish;
	vx_job_start(s, job);
}

static void unload_run(struct vx_job *job)
{
	job->status = vx_check(job->session, job->session->gpu->cu.cuModuleUnload(job->module->cu));
}

static void unload_finish(struct vx_job *job)
{
	struct vx_session *s = job->session;
	struct vx_module *m = job->module;

	/* answered without having run, or without having waited: helpers may still use it, and a lost
	 * session is only good for closing */
	if (atomic_load(&s->sticky)) {
		vx_job_close(job);
		return;
	}
	while (m->functions) {
		struct vx_function *f = m->functions;

		m->functions = f->next;
		vx_table_remove(&s->functions, f->handle);
		free(f);
	}
	for (uint32_t i = s->device.count; i-- > 0;)
		if (s->device.range[i].module == m->handle)
			vx_ranges_remove(&s->device, s->device.range[i].start);
	vx_table_remove(&s->modules, m->handle);
	job->module = NULL;
	free(m);
	vx_job_close(job);
}

void vx_module_unload(struct vx_session *s, const struct vx_call *c)
{
	struct vx_job *job = module_job(s, c, c->module->module);

	if (!job)
		return;
	job->module->dying = true;
	for (uint32_t i = 0; i < s->device.count; i++)
		if (s->device.range[i].module == job->module->handle)
			s->device.range[i].dying = true;
	job->alone = true;
	job->after = VX_AFTER_ALL;
	job->run = unload_run;
	job->finish = unload_finish;
	vx_job_start(s, job);
}

/* ---- functions ---- */

static CUresult function_attributes(const struct cuda_driver *cu, CUfunction f,
				    struct vgpu_function_info *info)
{
	const struct {
		CUfunction_attribute attribute;
		__u32 *to;
	} wanted[] = {
		{ CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, &info->max_threads },
		{ CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, &info->static_shared_bytes },
		{ CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES, &info->const_bytes },
		{ CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES, &info->local_bytes },
		{ CU_FUNC_ATTRIBUTE_NUM_REGS, &info->registers },
		{ CU_FUNC_ATTRIBUTE_PTX_VERSION, &info->ptx_version },
		{ CU_FUNC_ATTRIBUTE_BINARY_VERSION, &info->binary_version },
		{ CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, &info->max_dynamic_shared_bytes },
	};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		int value;
		CUresult rc = cu->cuFuncGetAttribute(&value, wanted[i].attribute, f);

		if (rc)
			return rc;
		*wanted[i].to = (__u32)value;
	}
	return CUDA_SUCCESS;
}

/* The driver tells a kernel's parameters one by one and says INVALID_VALUE behind the last. */
static uint32_t function_params(const struct cuda_driver *cu, struct vx_job *job)
{
	uint32_t room = 0;

	for (uint32_t i = 0; i < VGPU_PARAM_COUNT_MAX; i++) {
		size_t offset, bytes;
		CUresult rc = cu->cuFuncGetParamInfo(job->cu_function, i, &offset, &bytes);

		if (rc == CUDA_ERROR_INVALID_VALUE)
			return 0;
		if (rc)
			return rc;
		if (offset > VGPU_PARAMS_MAX || bytes > VGPU_PARAMS_MAX - offset)
			return VGPU_ERROR_CALL_TOO_LARGE;
		if (i == room) {
			void *grown;

			room = room ? room * 2 : 16;
			grown = realloc(job->params, room * sizeof(*job->params));
			if (!grown)
				return VGPU_ERROR_CALL_NO_MEMORY;
			job->params = grown;
		}
		job->params[i] = (struct vgpu_param_info){ (__u32)offset, (__u32)bytes };
		job->info.param_count = i + 1;
		if (job->info.param_bytes < offset + bytes)
			job->info.param_bytes = (__u32)(offset + bytes);
	}
	return 0;
}

static void function_run(struct vx_job *job)
{
	const struct cuda_driver *cu = &job->session->gpu->cu;
	uint32_t status = cu->cuModuleGetFunction(&job->cu_function, job->module->cu, job->name);

	if (!status)
		status = function_attributes(cu, job->cu_function, &job->info);
	if (!status)
		status = function_params(cu, job);
	job->status = vx_check(job->session, status);
}

static void function_write(const struct vx_job *job, uint64_t bytes)
{
	uint8_t *out = (uint8_t *)(uintptr_t)job->get.out;
	uint64_t fixed = sizeof(job->info);
	uint64_t room = job->get.out_bytes;

	memcpy(out, &job->info, room < fixed ? room : fixed);
	if (room <= fixed || bytes == fixed)
		return;
	memcpy(out + fixed, job->params, (room < bytes ? room : bytes) - fixed);
}

static uint32_t function_add(struct vx_session *s, struct vx_job *job)
{
	struct vx_function *f = job->module->functions;

	/* asked for again: the same handle, or a client could use them all up with one function */
	while (f && f->cu != job->cu_function)
		f = f->next;
	if (f) {
		job->info.function = f->handle;
		return 0;
	}
	f = calloc(1, sizeof(*f));
	if (!f)
		return VGPU_ERROR_CALL_NO_MEMORY;
	f->handle = vx_table_add(&s->functions, f);
	if (!f->handle) {
		free(f);
		return VGPU_ERROR_CALL_LIMIT;
	}
	f->cu = job->cu_function;
	f->param_bytes = job->info.param_bytes;
	f->module = job->module;
	f->next = job->module->functions;
	job->module->functions = f;
	job->info.function = f->handle;
	return 0;
}

static void function_finish(struct vx_job *job)
{
	uint64_t bytes = sizeof(job->info) + job->info.param_count * sizeof(*job->params);

	if (!job->status)
		job->status = function_add(job->session, job);
	if (!job->status) {
		job->value[0] = job->info.function;
		job->value[1] = bytes;
		if (job->get.out_bytes)
			function_write(job, bytes);
	}
	vx_job_close(job);
}

static struct vx_job *name_job(struct vx_session *s, const struct vx_call *c)
{
	const struct vgpu_call_buffer *out = &c->name->out;
	struct vx_job *job;

	if (out->bytes && !vx_ranges_cover(&s->heap, out->address, out->bytes)) {
		vx_reply_call(s, c, VGPU_ERROR_CALL_ADDRESS, NULL);
		return NULL;
	}
	job = module_job(s, c, c->name->module);
	if (!job)
		return NULL;
	job->get.out = out->address;
	job->get.out_bytes = out->bytes;
	job->name = strndup((const char *)c->data, c->data_bytes);
	if (!job->name) {
		job->status = VGPU_ERROR_CALL_NO_MEMORY;
		vx_job_close(job);
		return NULL;
	}
	return job;
}

void vx_module_function(struct vx_session *s, const struct vx_call *c)
{
	struct vx_job *job = name_job(s, c);

	if (!job)
		return;
	job->run = function_run;
	job->finish = function_finish;
	vx_job_start(s, job);
}

/* ---- variables ---- */

static void global_run(struct vx_job *job)
{
	CUdeviceptr at = 0;
	size_t bytes = 0;

	job->status = vx_check(job->session, job->session->gpu->cu.cuModuleGetGlobal(
						     &at, &bytes, job->module->cu, job->name));
	job->value[0] = at;
	job->value[1] = bytes;
}

static void global_finish(struct vx_job *job)
{
	struct vx_session *s = job->session;
	const struct vx_range range = { .start = job->value[0],
					.bytes = job->value[1],
					.module = job->module->handle };
	const struct vx_range *known;

	s->allocs--;
	if (!job->status && range.bytes) {
		known = vx_ranges_find(&s->device, range.start);
		if (!known && vx_ranges_add(&s->device, &range) < 0)
			job->status = VGPU_ERROR_CALL_NO_MEMORY;
	}
	vx_job_close(job);
}

void vx_module_global(struct vx_session *s, const struct vx_call *c)
{
	struct vx_job *job;

	if (s->device.count + s->allocs >= s->device.limit) {
		vx_reply_call(s, c, VGPU_ERROR_CALL_LIMIT, NULL);
		return;
	}
	job = name_job(s, c);
	if (!job)
		return;
	s->allocs++;
	job->run = global_run;
	job->finish = global_finish;
	vx_job_start(s, job);
}

/* ---- attributes ---- */

static void set_run(struct vx_job *job)
{
	job->status = vx_check(job->session, job->session->gpu->cu.cuFuncSetAttribute(
						     job->function->cu,
						     (CUfunction_attribute)job->set.attribute,
						     job->set.value));
}

void vx_module_set(struct vx_session *s, const struct vx_call *c)
{
	struct vx_function *f = vx_table_get(&s->functions, c->set->function);
	struct vx_job *job;

	if (c->set->attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES &&
	    c->set->attribute != CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT) {
		vx_reply_call(s, c, VGPU_ERROR_CALL_UNSUPPORTED, NULL);
		return;
	}
	job = module_job(s, c, f ? f->module->handle : 0);
	if (!job)
		return;
	job->function = f;
	job->set.attribute = c->set->attribute;
	job->set.value = c->set->value;
	job->after = VX_AFTER_ALL; /* launches before it mean the old value */
	job->run = set_run;
	job->finish = vx_job_close;
	vx_job_start(s, job);
}
