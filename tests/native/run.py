#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""libvgpu against the real host stack (jailer, mediator, executors), through the local transport.

  run.py --build DIR [--driver PATH] [NAME...]

The driver is the software GPU of the build, unless another is named (libcuda.so.1 on a GPU host).
Prints one line a test; the last line counts them.
"""
import argparse
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/host"))
from vgpu_host import Host  # noqa: E402

QUOTA = 2 << 30
WINDOW = 1 << 30

# name: (program under tests/native of the build, arguments)
TESTS = {
    "kernels": ("vgpu-kernels", []),
    "kernels-pinned": ("vgpu-kernels", ["--pinned", "--rounds", "2"]),
}


def add_programs(build):
    """Every other test program of the folder takes no arguments."""
    for path in sorted((build / "tests/native").glob("native_*")):
        if path.is_file() and os.access(path, os.X_OK):
            TESTS[path.name.removeprefix("native_")] = (path.name, [])


def run(host, build, name):
    program, arguments = TESTS[name]
    env = dict(os.environ, VGPU_TRANSPORT="local:" + os.path.join(host.run, "local/vgpu.sock"),
               VGPU_KERNELS=str(ROOT / "tests/kernels"), VGPU_QUOTA_BYTES=str(QUOTA),
               VGPU_WINDOW_BYTES=str(WINDOW), VGPU_DRIVER=host.driver)
    start = time.monotonic()
    done = subprocess.run([build / "tests/native" / program, *arguments], cwd=ROOT, env=env, text=True,
                          capture_output=True, errors="replace", timeout=900, check=False)
    print(f"{'ok    ' if done.returncode == 0 else 'FAILED'} {name} ({time.monotonic() - start:.1f} s)", flush=True)
    if done.returncode:
        print(f"exit code {done.returncode}\n{done.stdout[-6000:]}{done.stderr[-6000:]}", flush=True)
    return done.returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--driver", help="the CUDA driver of the executors (the build's software GPU)")
    parser.add_argument("name", nargs="*")
    args = parser.parse_args()
    build = args.build.resolve()
    add_programs(build)
    driver = args.driver or str(build / "softgpu/libcuda.so.1")
    failed = 0
    with Host(str(build), executor=str(build / "host/executor/vgpu-executor"), driver=driver, warm=2) as host:
        host.add_local(vram_quota_bytes=QUOTA, window_bytes=WINDOW, sessions=16)
        names = args.name or sorted(TESTS)
        for name in names:
            failed += not run(host, build, name)
        host.wait_warm(2)
        host.wait_executors(2)  # the warm ones: nothing of the sessions is left
    print(f"{len(names) - failed} passed, {failed} failed")
    return 1 if failed or not names else 0


if __name__ == "__main__":
    sys.exit(main())
