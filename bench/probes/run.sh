#!/bin/bash
# SPDX-License-Identifier: MIT
# Builds and runs the probes on a machine with an NVIDIA GPU; raw output goes to OUT (default:
# ./probe-out), the numbers that matter are printed last. Needs root, gcc, nvcc's ptxas and cuda.h.
# Usage: run.sh [environment] [identity] [copy] [arena] [launch]
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
out=${OUT:-$PWD/probe-out}
cuda=${CUDA_HOME:-/usr/local/cuda}
parts=${*:-environment identity copy arena launch}
build=$(mktemp -d)
log=$out/h200-probes.txt
mkdir -p "$out"
chmod 755 "$build"
export CUDA_CACHE_DISABLE=1
lib=$(ldconfig -p | awk '/libcuda\.so\.1 /{print $NF; exit}')
if [ -z "$lib" ]; then
	for d in /usr/local/nvidia/lib64 /usr/local/nvidia/lib; do
		[ -e $d/libcuda.so.1 ] && export LD_LIBRARY_PATH=$d:${LD_LIBRARY_PATH:-}
	done
fi

compile() {
	local flags="-O2 -Wall -Wextra -pthread -I$root -I$build -I$cuda/include"
	local stubs="-L$cuda/lib64/stubs -lcuda -ldl"

	printf '#include <sys/syscall.h>\n' | gcc -E -dM - | awk '/#define __NR_/{
		sub("__NR_", "", $2); print "[" $3 "] = \"" $2 "\","}' | grep -E '^\[[0-9]+\]' > "$build/names.inc"
	gcc $flags "$here/trace.c" -o "$build/trace" || exit 1
	for p in launch enqueue depth fault copy4 bigcopy pipeline arena; do
		gcc $flags "$here/$p.c" "$here/probe.c" -o "$build/$p" $stubs || exit 1
	done
	gcc $flags -rdynamic "$here"/{identity,work,confine,hmm,probe}.c -o "$build/identity" $stubs || exit 1
	printf '#include <stdio.h>\n#include "bench/probes/probe.h"\nint main(void){fputs(probe_ptx,stdout);return 0;}' > "$build/ptx.c"
	gcc $flags "$build/ptx.c" "$here/probe.c" -o "$build/ptx" $stubs && "$build/ptx" > "$build/k.ptx"
	"$cuda/bin/ptxas" -arch=sm_90 "$build/k.ptx" -o "$build/k.cubin" || exit 1
}

say() { echo "=== $*"; }
try() { # seconds, command...
	local limit=$1 t=$SECONDS
	shift
	timeout -k 5 "$limit" "$@"
	local rc=$?
	[ $rc -ne 0 ] && echo "  (exit status $rc: $(basename "$1") ${*:2})"
	echo "  [$((SECONDS - t)) s]"
}

environment() {
	say environment
	date -u; uname -a; id; ldd --version | head -1
	grep -m1 'model name' /proc/cpuinfo; nproc; free -m | head -2
	mount | grep -E 'cgroup|overlay| / ' ; cat /proc/self/cgroup; cat /sys/fs/cgroup/cgroup.controllers
	ls -l /dev/nvidia* /dev/kvm /dev/nvidia-caps 2>&1
	cat /sys/kernel/mm/transparent_hugepage/shmem_enabled /sys/kernel/mm/transparent_hugepage/enabled
	cat /proc/sys/kernel/unprivileged_userns_clone /proc/sys/user/max_user_namespaces 2>&1
	cat /sys/devices/system/clocksource/clocksource0/current_clocksource
	ldconfig -p | grep -E 'seccomp|jansson|sqlite|libcap|microhttpd|zstd|lz4|glib|pixman|libcuda|nvidia-ml'
	ldd "$build/launch"; ls -l /usr/local/nvidia /usr/local/nvidia/lib64 2>/dev/null
	nvidia-smi -q | head -60; cat /proc/driver/nvidia/version; cat /proc/driver/nvidia/params
	ls -lR /proc/driver/nvidia | head -40; ulimit -a
}

identity() {
	local i="$build/identity" c="cubin=$build/k.cubin" w

	say namespaces; try 10 $i namespaces
	say vram; try 20 $i vram
	say hmm
	for w in stack malloc library; do
		try 10 $i hmm=off $w
		try 10 $i hmm=on $w
	done
	say 'tracer, as root'
	try 40 "$build/trace" "$out/trace-warm.txt" "$out/filter-warm.txt" $i warm spare $c
	try 40 "$build/trace" "$out/trace-cold.txt" "$build/filter-cold.txt" $i $c
	say 'after the context'
	try 15 $i warm $c
	try 15 $i warm drop $c
	try 15 $i warm drop limits $c
	try 15 $i warm drop limits empty $c
	try 15 $i warm spare drop limits empty $c
	try 15 $i drop limits empty $c
	try 15 $i preload drop limits empty $c
	try 15 $i warm nodes drop limits $c
	try 15 $i warm nodes drop limits filter=$out/filter-warm.txt $c
	try 15 $i warm drop empty filter=$out/filter-warm.txt $c
	tight > "$build/tight.txt"
	try 15 $i warm drop limits empty filter=$build/tight.txt $c
	say 'before cuInit'
	for w in ldpsn ldps ldp lds ld dps d ldpu ldpsnu; do
		try 15 $i start=$w warm $c
	done
	say 'before cuInit, and a filter after'
	try 15 $i start=ldpsn warm filter=$out/filter-warm.txt $c
}

# What an executor would like to need, by name.
tight() {
	for n in read write close mmap munmap mprotect madvise mremap brk futex ioctl poll ppoll \
		sched_yield clock_gettime clock_nanosleep nanosleep gettid getpid exit exit_group \
		rt_sigreturn rt_sigprocmask clone3 set_robust_list rseq eventfd2 sendmsg recvmsg; do
		awk -F'[]["]+' -v n=$n '{split($0, a, "\""); if (a[2] == n) print $2}' "$build/names.inc"
	done
}

launch() {
	say 'launch + synchronise'; try 60 "$build/launch"
	say 'cost of single calls'; try 60 "$build/enqueue"
	say 'depth of streams'; try 60 "$build/depth"
	say faults; try 60 "$build/fault"
}

arena() {
	say 'address arenas'
	{
		try 20 "$build/arena" none
		try 40 "$build/arena" 100000000000 10000000000 10000000000 8
		try 40 "$build/arena" 100000000000 1000000000 1000000000 16
		try 20 "$build/arena" 200000000000 100000000000 10000000000 5
		# the protocol's own (protocol/session/session.h)
		try 20 "$build/arena" 200000000000 10000000000 4000000000 7
		try 20 "$build/arena" 7e8000000000 10000000000 4000000000 1
		try 20 "$build/arena" 1000000000 1000000000 1000000000 8
	} 2> "$out/maps.txt"
}

copy() {
	say '4-byte copies'; try 60 "$build/copy4"
	say '256 MiB copies'; try 60 "$build/bigcopy"
	say 'pageable pipeline'; try 90 "$build/pipeline"
}

: > "$log"
compile
for p in $parts; do
	$p 2>&1 | cat >> "$log" # a pipe, so that a file size limit of 0 does not end the probe
done
grep -vE '^  \[|^lib|^\s+lib' "$log" | cut -c1-230 | tail -c 11500
rm -rf "$build"
