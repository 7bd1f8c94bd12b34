/* SPDX-License-Identifier: MIT */

extern "C" __global__ void mandelbrot(unsigned *out, int w, int h, float x0, float y0, float dx, float dy, int maxit)
{
	int px = blockIdx.x * blockDim.x + threadIdx.x, py = blockIdx.y * blockDim.y + threadIdx.y;

	if (px >= w || py >= h)
		return;

	float cx = x0 + px * dx, cy = y0 + py * dy, x = 0, y = 0;
	int it = 0;

	while (it < maxit && x * x + y * y <= 4.0f) {
		float t = x * x - y * y + cx;

		y = 2 * x * y + cy;
		x = t;
		it++;
	}
	out[py * w + px] = it;
}

/* One block per row, any number of columns; blocks of a power of two of up to 256 threads. */
extern "C" __global__ void softmax_rows(const float *in, float *out, int rows, int cols)
{
	__shared__ float part[256];
	int row = blockIdx.x;

	if (row >= rows)
		return;

	float most = -3.402823466e38f, sum = 0;

	for (int i = threadIdx.x; i < cols; i += blockDim.x)
		most = fmaxf(most, in[(size_t)row * cols + i]);
	part[threadIdx.x] = most;
	__syncthreads();
	for (int half = blockDim.x / 2; half > 0; half /= 2) {
		if (threadIdx.x < half)
			part[threadIdx.x] = fmaxf(part[threadIdx.x], part[threadIdx.x + half]);
		__syncthreads();
	}
	most = part[0];
	__syncthreads();
	for (int i = threadIdx.x; i < cols; i += blockDim.x)
		sum += expf(in[(size_t)row * cols + i] - most);
	part[threadIdx.x] = sum;
	__syncthreads();
	for (int half = blockDim.x / 2; half > 0; half /= 2) {
		if (threadIdx.x < half)
			part[threadIdx.x] += part[threadIdx.x + half];
		__syncthreads();
	}
	sum = part[0];
	for (int i = threadIdx.x; i < cols; i += blockDim.x)
		out[(size_t)row * cols + i] = expf(in[(size_t)row * cols + i] - most) / sum;
}

/* Positions (x, y, z, mass) attract each other; one time step. */
extern "C" __global__ void nbody_step(const float4 *pos, float4 *newpos, float4 *vel, float dt, int n)
{
	__shared__ float4 tile[256];
	int i = blockIdx.x * blockDim.x + threadIdx.x;
	float4 me = i < n ? pos[i] : make_float4(0, 0, 0, 0), v = i < n ? vel[i] : make_float4(0, 0, 0, 0);
	float ax = 0, ay = 0, az = 0;

	for (int base = 0; base < n; base += blockDim.x) {
		int other = base + threadIdx.x;

		tile[threadIdx.x] = other < n ? pos[other] : make_float4(0, 0, 0, 0);
		__syncthreads();
		for (int k = 0; k < blockDim.x; k++) {
			float dx = tile[k].x - me.x, dy = tile[k].y - me.y, dz = tile[k].z - me.z;
			float inv = rsqrtf(dx * dx + dy * dy + dz * dz + 0.01f), s = tile[k].w * inv * inv * inv;

			ax += dx * s;
			ay += dy * s;
			az += dz * s;
		}
		__syncthreads();
	}
	if (i >= n)
		return;
	v.x += ax * dt;
	v.y += ay * dt;
	v.z += az * dt;
	vel[i] = v;
	newpos[i] = make_float4(me.x + v.x * dt, me.y + v.y * dt, me.z + v.z * dt, me.w);
}
