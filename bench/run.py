#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs bench/calls against a host stack of its own: jailer, mediator and warm executors.

  run.py --build DIR [--driver PATH] [--json FILE] [ARGUMENTS OF calls...]

The driver is NVIDIA's where there is a GPU, else the build's software GPU, unless one is named.
"""
import argparse
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/host"))
from vgpu_host import Host, real_driver  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--driver")
    args, rest = parser.parse_known_args()
    build = args.build.resolve()
    driver = args.driver or real_driver() or str(build / "softgpu/libcuda.so.1")
    with Host(str(build), executor=str(build / "host/executor/vgpu-executor"), driver=driver, warm=2) as host:
        host.add_local(vram_quota_bytes=4 << 30, window_bytes=1 << 30, sessions=16)
        host.wait_warm(1)
        transport = "local:" + os.path.join(host.run, "local/vgpu.sock")
        return subprocess.run([build / "bench/calls", "--transport", transport, *rest], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
