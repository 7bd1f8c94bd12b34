/* SPDX-License-Identifier: MIT */
/* Kernels that tests of the transport and of streams use: nothing to compute, flags, and bad addresses. */

extern "C" __global__ void empty()
{
}

/* Waits until *flag == value. */
extern "C" __global__ void spin_flag(volatile unsigned *flag, unsigned value)
{
	while (*flag != value)
		;
}

extern "C" __global__ void set_flag(unsigned *flag, unsigned value)
{
	__threadfence_system();
	*(volatile unsigned *)flag = value;
}

/* Writes wherever it is told; the caller gives an address that is nobody's. */
extern "C" __global__ void write_oob(unsigned *addr, unsigned value)
{
	*addr = value;
}

extern "C" __global__ void read64(const unsigned long long *addr, unsigned long long *out)
{
	*out = *(const volatile unsigned long long *)addr;
}

/* Ends only when somebody sets *never, which nobody does. */
extern "C" __global__ void endless(unsigned *never)
{
	while (*(volatile unsigned *)never == 0)
		;
}
