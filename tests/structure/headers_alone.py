#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compiles each header of protocol/ and each public header alone, as C and as C++."""
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEADERS = sorted(ROOT.glob("protocol/**/*.h")) + [ROOT / "client/libvgpu/vgpu.h"]


def main():
    failed = 0
    for header in HEADERS:
        for language, compiler in (("c", "gcc"), ("c++", "g++")):
            run = subprocess.run(
                [compiler, "-x", language, "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-I", ROOT, "-"],
                input=f'#include "{header}"\n', text=True, capture_output=True, check=False)
            if run.returncode:
                failed += 1
                print(f"{header.relative_to(ROOT)} as {language}:\n{run.stderr}")
    print(f"{len(HEADERS)} headers, {failed} failures")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
