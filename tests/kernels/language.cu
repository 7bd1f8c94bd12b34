/* SPDX-License-Identifier: MIT */
/* Kernels that make nvcc use what ordinary ones seldom need, all in one small module. */
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_pipeline.h>

__constant__ float weights[8] = { 0.5f, -1.25f, 2, 4, 8, -16, 32, 0.015625f };
__device__ unsigned long long counter = 7;
__device__ int table[4] = { 3, 1, 4, 1 };
__device__ int *table_address = &table[2];

/* Constant memory, a module's variables, and an address in an initialiser. */
extern "C" __global__ void module_data(const float *in, float *out, int n)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i >= n)
		return;
	atomicAdd(&counter, (unsigned long long)i << 20);
	out[i] = in[i] * weights[i & 7] + table_address[i & 1];
}

extern "C" __global__ void half_convert(const float *in, unsigned short *h, unsigned short *b, float *back, int n)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i >= n)
		return;

	__half x = __float2half_rn(in[i]);
	__nv_bfloat16 y = __float2bfloat16_rn(in[i]);

	h[i] = __half_as_ushort(x);
	b[i] = __bfloat16_as_ushort(y);
	back[2 * i] = __half2float(x);
	back[2 * i + 1] = __bfloat162float(y);
}

extern "C" __global__ void half_axpy(unsigned short a, const __half2 *x, __half2 *y, const __nv_bfloat162 *p,
				     __nv_bfloat162 *q, int n)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i >= n)
		return;
	y[i] = __hfma2(__half2half2(__ushort_as_half(a)), x[i], y[i]);
	q[i] = __hadd2(__hmul2(p[i], q[i]), p[i]);
}

/* Sums of each warp, by shuffles, votes and a ballot. */
extern "C" __global__ void warp_ops(const int *in, int *sum, unsigned *ballot, int *scan, int n)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x & 31, v = i < n ? in[i] : 0, s = v, p = v;

	for (int d = 16; d > 0; d /= 2)
		s += __shfl_xor_sync(0xffffffff, s, d);
	for (int d = 1; d < 32; d *= 2) {
		int t = __shfl_up_sync(0xffffffff, p, d);

		if (lane >= d)
			p += t;
	}

	unsigned odd = __ballot_sync(0xffffffff, v & 1);
	int any = __any_sync(0xffffffff, v < 0), all = __all_sync(0xffffffff, v >= 0);
	unsigned same = __match_any_sync(0xffffffff, v & 3);
	int most = __reduce_max_sync(0xffffffff, v);

	if (i < n) {
		sum[i] = s + (any << 20) + (all << 21) + most;
		ballot[i] = odd ^ same;
		scan[i] = p;
	}
}

/* Only some lanes take part: the mask comes from the divergent branch. */
extern "C" __global__ void warp_partial(const int *in, int *out, int n)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i >= n)
		return;

	int v = in[i], r = -1;

	if (v & 1) {
		unsigned mask = __activemask();

		r = __popc(mask) * 100 + __shfl_sync(mask, v, __ffs(mask) - 1);
	} else {
		for (int k = 0; k < (v & 7); k++)
			r += k * v;
	}
	out[i] = r;
}

extern "C" __global__ void doubles(const double *in, double *out, int n)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i >= n)
		return;

	double x = in[i];

	out[i] = sqrt(fabs(x)) + x / 3.0 + fma(x, x, 1.0) + floor(x) + (double)(float)x + exp(-x * x) + sin(x);
}

__device__ __noinline__ int fibonacci(int n)
{
	return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

__device__ __noinline__ float poly(float x, int kind)
{
	switch (kind) {
	case 0: return x;
	case 1: return x * x;
	case 2: return x * x * x - 2;
	case 3: return 1 / x;
	case 4: return sqrtf(x);
	case 5: return __expf(x);
	case 6: return x > 1 ? 7 : 9;
	default: return -x;
	}
}

typedef float (*binary)(float, float);
__device__ __noinline__ float f_add(float a, float b) { return a + b; }
__device__ __noinline__ float f_sub(float a, float b) { return a - b; }
__device__ __noinline__ float f_mul(float a, float b) { return a * b; }
__device__ binary functions[3] = { f_add, f_sub, f_mul };

/* Recursion, a switch, and calls through a table of functions, all divergent. */
extern "C" __global__ void functions_and_switch(int *fib, float *out, int n)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i >= n)
		return;
	fib[i] = fibonacci(i % 13);
	out[i] = poly(i + 1.5f, i % 9) + functions[i % 3](i, 2.5f);
}

/* An array per thread with an index that is not known: local memory. */
extern "C" __global__ void local_array(const unsigned *in, unsigned *out, int n)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;
	unsigned a[16];

	if (i >= n)
		return;
	for (int k = 0; k < 16; k++)
		a[k] = in[i] * (k + 1);
	for (int k = 0; k < 64; k++)
		a[(in[i] >> (k & 7)) & 15] += a[k & 15] ^ k;

	unsigned sum = 0;

	for (int k = 0; k < 16; k++)
		sum = sum * 31 + a[k];
	out[i] = sum;
}

struct wide {
	int v[10];
	double d;
};

/* A struct by value, indexed with what is not known. */
extern "C" __global__ void struct_param(struct wide w, double *out, int n)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i < n)
		out[i] = w.v[i % 10] + w.d * i;
}

extern "C" __global__ void atomics64(unsigned long long *v, float *f, double *d, int *s)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;
	__shared__ unsigned long long most;

	if (threadIdx.x == 0)
		most = 0;
	__syncthreads();
	atomicMax(&most, (unsigned long long)i << 33);
	__syncthreads();
	atomicAdd(&v[0], 0x100000001ull * i);
	atomicMax(&v[1], most);
	atomicXor(&v[2], 1ull << (i & 63));
	for (unsigned long long old = v[3], seen; (seen = atomicCAS(&v[3], old, old + 3)) != old; old = seen)
		;
	atomicAdd(f, 0.5f);
	atomicAdd(d, 0.25);
	atomicMin(&s[0], -i);
	atomicInc((unsigned *)&s[1], 9);
	atomicAnd(&s[2], ~(1 << (i & 31)));
	atomicExch(&s[3], 42);
}

/* Integer instructions one by one: out[k * n + i]. */
extern "C" __global__ void integers(const unsigned *x, const unsigned *y, unsigned *out, int n)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i >= n)
		return;

	unsigned a = x[i], b = y[i];
	unsigned long long w = (unsigned long long)a << 32 | b, q = w / (b | 1), r = w % (a | 1);
	unsigned v[] = { (unsigned)__popc(a), (unsigned)__clz(a), (unsigned)__ffs(a), __brev(a), __byte_perm(a, b, 0x3715),
			 __funnelshift_l(a, b, b & 31), __umulhi(a, b), (unsigned)__mulhi((int)a, (int)b), a / (b | 1),
			 a % (b | 1), (unsigned)((int)a / (int)(b | 1)), (unsigned)((int)a % (int)(b | 1)),
			 (unsigned)abs((int)a), (unsigned)min((int)a, (int)b), max(a, b), __usad(a, b, 5),
			 (unsigned)__dp4a((int)a, (int)b, 9), (a & b) ^ (~a | 0x55), (unsigned)((int)a >> (b & 31)),
			 (unsigned)q, (unsigned)(q >> 32), (unsigned)r, (unsigned)__popcll(w), (unsigned)__clzll(w),
			 (unsigned)(w * w >> 32), (unsigned)__umul64hi(w, w), (unsigned)(signed char)a,
			 (unsigned)(short)b, (unsigned)__float2int_rz(a * 1e-3f), __float_as_uint((float)(int)b) };

	for (int k = 0; k < sizeof(v) / sizeof(v[0]); k++)
		out[k * n + i] = v[k];
}

/* Blocks of 3 dimensions, a barrier that counts, and a kernel that leaves early in part of a block. */
extern "C" __global__ void barriers(int *out)
{
	int t = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
	int b = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z), size = blockDim.x * blockDim.y * blockDim.z;

	if (t >= size - 5)
		return;

	int count = __syncthreads_count(t & 1), any = __syncthreads_or(t == 3), all = __syncthreads_and(t < 1000);

	out[b * size + t] = count * 4 + any * 2 + all;
}

/* Divisions of 128 bits, which read the flag of one carry chain in another. */
extern "C" __global__ void divide_128(const unsigned long long *in, unsigned long long *out, int n)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i >= n)
		return;

	unsigned __int128 a = (unsigned __int128)in[4 * i] << 64 | in[4 * i + 1];
	unsigned __int128 b = (unsigned __int128)in[4 * i + 2] << 64 | in[4 * i + 3], q = a / b, r = a % b;

	out[4 * i] = (unsigned long long)(q >> 64);
	out[4 * i + 1] = (unsigned long long)q;
	out[4 * i + 2] = (unsigned long long)(r >> 64);
	out[4 * i + 3] = (unsigned long long)r;
}

/* Copies to shared memory that are waited for, and differences of bytes. */
extern "C" __global__ void async_tile(const uint4 *in, unsigned *out)
{
	__shared__ uint4 tile[64];
	const unsigned *words = (const unsigned *)tile;
	int t = threadIdx.x;

	__pipeline_memcpy_async(&tile[t], &in[t], sizeof(uint4), t & 3);
	__pipeline_commit();
	__pipeline_wait_prior(0);
	__syncthreads();
	for (int k = t; k < 256; k += blockDim.x)
		out[k] = __vsadu4(words[k], words[255 - k]) + __vabsdiffs4(words[k], words[k ^ 1]);
}
