#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""`make demo`: two VMs use one GPU at the same time, and every result is checked against the CPU.

Starts the jailer and the mediator in a temporary folder, boots two VMs (KVM where a trial guest
boots, else emulation), each with a vgpu of its own, runs tests/kernels in both at once through
libvgpu, and ends everything. The software GPU stands in only where there is no real one.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests/host"), str(ROOT / "tests/vm")]
from vgpu_host import Host, real_driver  # noqa: E402
from vm import Vm, images  # noqa: E402

TENANTS = ("alice", "bob")
QUOTA = 1 << 30
LINE = re.compile(r"^(\w+) +(\d+) launches +(\d+) bytes +([\d.]+) ms +(.*)$")


def machine(host, name):
    return Vm(name, stub={"socket": os.path.join(host.run, "vm", name + ".sock"), "window_size": "256M"},
              driver=True)


def admin(build, host, *words):
    return subprocess.run([build / "host/admin/vgpu-admin", "--socket", os.path.join(host.run, "control.sock"), *words],
                          check=True, capture_output=True, text=True).stdout


def report(name, output, seconds):
    """Prints what one VM did. True when all of it was right."""
    rows = [m.groups() for m in map(LINE.match, output.splitlines()) if m]
    print(f"\nVM {name}: {len(rows)} kernels in {seconds:.1f} s")
    print(f"  {'kernel':<14} {'launches':>8} {'copied':>12} {'time':>11}  against the CPU")
    for kernel, launches, copied, ms, verdict in rows:
        print(f"  {kernel:<14} {launches:>8} {int(copied) / 1024:>8.0f} KiB {float(ms):>8.1f} ms  {verdict}")
    right = bool(rows) and all(row[4] == "ok" for row in rows)
    if not right:
        print(output)
    return right


def run(args):
    build = args.build.resolve()
    driver = real_driver()
    gpu = driver or str(build / "softgpu/libcuda.so.1")
    print("vgpu demo: two VMs, one GPU")
    with Host(str(build), executor=str(build / "host/executor/vgpu-executor"), driver=gpu, warm=2) as host:
        for name in TENANTS:
            host.call("tenant.add", name=name)
            host.call("vm.add", name=name, tenant=name, vram_quota_bytes=QUOTA, window_bytes=QUOTA)
        host.wait_warm(2)
        info = host.call("status")["gpu"]
        print(f"GPU: {info['name']} ({'software: this machine has no NVIDIA GPU' if info['software'] else 'real'}), "
              f"driver {info['driver_version'] // 1000}.{info['driver_version'] % 1000 // 10}, "
              f"{info['vram_total_bytes'] / 2**30:.0f} GiB")
        vms = [machine(host, name) for name in TENANTS]
        try:
            print(f"booting {' and '.join(TENANTS)} with {vms[0].accel.upper()} ...", flush=True)
            for vm in vms:
                vm.start()
            for vm in vms:
                vm.join()
                vm.run("insmod /share/vgpu.ko")
            command = (f"{vms[0].path(build / 'tests/native/vgpu-kernels')} --transport device:/dev/vgpu0 "
                       f"--scale 4 --kernels {vms[0].path(ROOT / 'tests/kernels')}")
            start = time.monotonic()
            running = [(vm, vm.spawn(command)) for vm in vms]
            host_status = watch(build, host)
            right = True
            for vm, command in running:
                result = command.wait(args.timeout)
                right &= report(vm.name, result.out + result.err, time.monotonic() - start) and result.rc == 0
        finally:
            for vm in vms:
                vm.close(check=False)
    print("\nvgpu-admin status, while both ran:\n")
    print("\n".join("  " + line for line in host_status.splitlines()))
    print(f"\n{'Both VMs got the right answers.' if right else 'FAILED: see above.'}")
    return 0 if right else 1


def watch(build, host):
    """vgpu-admin's status at a moment when both VMs have a session (or the last one before they end)."""
    text, end = "", time.monotonic() + 120
    while time.monotonic() < end:
        open_now = {s["vm"] for s in host.call("session.list")}
        if open_now == set(TENANTS):
            return admin(build, host, "status") + "\n" + admin(build, host, "session", "list")
        if text and not open_now:
            break
        if open_now:
            text = admin(build, host, "status") + "\n" + admin(build, host, "session", "list")
        time.sleep(0.05)
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--timeout", type=float, default=600, help="seconds that the kernels may take in a VM")
    args = parser.parse_args()
    if os.geteuid():
        sys.exit("make demo needs root: it starts the jailer, which gives each executor a user of its own")
    return run(args)


if __name__ == "__main__":
    sys.exit(main())
