#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The library exports what libvgpu.syms lists, every call of vgpu.h is listed, and nothing else.

  symbols_test.py libvgpu.so libvgpu.syms vgpu.h
"""
import re
import subprocess
import sys


def main():
    library, listed_in, header = sys.argv[1:]
    out = subprocess.run(["nm", "-D", "--defined-only", library], text=True, capture_output=True, check=True).stdout
    exported = {re.sub("@.*", "", line.split()[2]) for line in out.splitlines() if line.split()[1] in "TDBRVW"}
    listed = set(re.findall(r"^\t(\w+);", open(listed_in).read(), re.M))
    declared = set(re.findall(r"^VGPU_API [^;(]*?\b(vgpu_\w+)\(", open(header).read(), re.M))
    bad = [f"{name}: exported, not listed" for name in sorted(exported - listed)]
    bad += [f"{name}: listed, not exported" for name in sorted(listed - exported)]
    bad += [f"{name}: declared, not listed" for name in sorted(declared - listed)]
    bad += [f"{name}: listed, not declared" for name in sorted(listed - declared)]
    print("\n".join(bad + [f"{len(exported)} symbols, {len(bad)} differences"]))
    return 1 if bad or not exported else 0


if __name__ == "__main__":
    sys.exit(main())
