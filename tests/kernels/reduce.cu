/* SPDX-License-Identifier: MIT */

/* One partial sum per block of 256 threads: out[block]. */
extern "C" __global__ void reduce_sum(const float *in, float *out, int n)
{
	__shared__ float part[256];
	int stride = gridDim.x * blockDim.x;
	float sum = 0;

	for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride)
		sum += in[i];
	part[threadIdx.x] = sum;
	__syncthreads();
	for (int half = 128; half > 0; half /= 2) {
		if (threadIdx.x < half)
			part[threadIdx.x] += part[threadIdx.x + half];
		__syncthreads();
	}
	if (threadIdx.x == 0)
		out[blockIdx.x] = part[0];
}

/* bins[256] += how often each byte occurs. */
extern "C" __global__ void histogram256(const unsigned char *in, unsigned *bins, int n)
{
	__shared__ unsigned local[256];
	int stride = gridDim.x * blockDim.x;

	for (int i = threadIdx.x; i < 256; i += blockDim.x)
		local[i] = 0;
	__syncthreads();
	for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride)
		atomicAdd(&local[in[i]], 1u);
	__syncthreads();
	for (int i = threadIdx.x; i < 256; i += blockDim.x)
		atomicAdd(&bins[i], local[i]);
}

/* out = inclusive prefix sums within each block (of up to 1,024 threads), sums[block] = the block's total. */
extern "C" __global__ void scan_block(const int *in, int *out, int *sums, int n)
{
	extern __shared__ int temp[];
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	temp[threadIdx.x] = i < n ? in[i] : 0;
	__syncthreads();
	for (int step = 1; step < blockDim.x; step *= 2) {
		int add = threadIdx.x >= step ? temp[threadIdx.x - step] : 0;

		__syncthreads();
		temp[threadIdx.x] += add;
		__syncthreads();
	}
	if (i < n)
		out[i] = temp[threadIdx.x];
	if (threadIdx.x == blockDim.x - 1)
		sums[blockIdx.x] = temp[threadIdx.x];
}

/* One step of a bitonic sort of n (a power of two) numbers. */
extern "C" __global__ void bitonic_step(unsigned *data, int n, int j, int k)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x, other = i ^ j;

	if (i < n && other > i) {
		unsigned a = data[i], b = data[other];

		if (((i & k) == 0) == (a > b)) {
			data[i] = b;
			data[other] = a;
		}
	}
}
