#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Repeats on a real host (KVM, an NVIDIA GPU, NVIDIA's driver) what docs/tested.md says was only
# seen under emulation or on the software GPU. As root, from a checkout:
#
#   tests/real-host.sh [LIBCUDA]      LIBCUDA: default libcuda.so.1
#
# Results are printed, and kept in build-check/real-host/.
set -euo pipefail
cd "$(dirname "$0")/.."

driver=${1:-$(ldconfig -p | sed -n 's/.*libcuda\.so\.1 .*=> //p' | head -n 1)}
out=build-check/real-host
py=/usr/bin/python3

[ "$(id -u)" = 0 ] || { echo "real-host: needs root"; exit 2; }
[ -n "$driver" ] && [ -e "$driver" ] || { echo "real-host: no libcuda.so.1: install NVIDIA's driver, or name the file"; exit 2; }
tools/deps.sh build vm
$py - <<'E2' || { echo "real-host: KVM does not boot a trial guest here"; exit 2; }
import sys
sys.path.insert(0, "tests/vm")
import images
sys.exit(0 if images.kvm_works() else 1)
E2

mkdir -p "$out"
test -f build/build.ninja || meson setup build >/dev/null
ninja -C build >/dev/null
failed=0
stage() {
	local name=$1
	shift
	if "$@" >"$out/$name.log" 2>&1; then echo "ok     $name"; else echo "FAILED $name: see $out/$name.log"; failed=$((failed + 1)); fi
}
export VGPU_DRIVER=$driver
stage native $py tests/native/run.py --build build --driver "$driver"
stage vm $py tests/vm/run.py --build build --long
stage kills $py tests/kills/run.py --build build --driver "$driver"
stage demo $py tools/demo.py --build build
if command -v virsh >/dev/null && vgpu-admin status >/dev/null 2>&1; then
	stage libvirt-q35 $py tests/libvirt/run.py --build build --machine q35
	stage libvirt-pc $py tests/libvirt/run.py --build build --machine pc
else
	echo "not run: libvirt (install libvirt, vgpu-host and the device as the README says)"
fi
stage bench $py bench/run.py --build build --driver "$driver" --json "$out/calls.json"
{ uname -a; qemu-system-x86_64 --version | head -n 1; nvidia-smi -q | grep -E 'Driver Version|Product Name' | head -n 2; } | tee "$out/machine"
echo "$failed failed"
[ "$failed" = 0 ]
