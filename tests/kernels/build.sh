#!/bin/sh
# SPDX-License-Identifier: MIT
# Makes the PTX and the fat binaries that are committed here, from the .cu files. Needs nvcc of CUDA 13.
set -eu
cd "$(dirname "$0")"
for name in basic vector matmul reduce math language; do
	nvcc -O3 -arch=compute_90 -ptx "$name.cu" -o "$name.ptx"
done
fatbin()
{
	nvcc -O3 -gencode arch=compute_90,code=compute_90 --fatbin "--compress-mode=$2" "$1.cu" -o "$1-$3.fatbin"
}
fatbin vector none plain
fatbin vector speed lz4
fatbin vector size zstd
fatbin language size zstd
nvcc -O3 -arch=sm_90 --cubin vector.cu -o vector-sm90.cubin
