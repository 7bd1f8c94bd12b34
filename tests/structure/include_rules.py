#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Who may include whom: the folders are the trust boundaries, this keeps them so.

client/*, device/* and host/* include their own folder, protocol/, common/ and api/ (the generated
CUDA types: host/executor, softgpu and benchmarks only), never each other. Kernel code includes
only protocol/device, protocol/uapi, protocol/session and what those include.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)

# folder: other folders that its files may include
RULES = {
    "protocol": ["protocol"],
    "common": ["protocol", "common"],
    "client/driver": ["client/driver", "protocol"],
    "client/libvgpu": ["client/libvgpu", "protocol", "common"],
    "device/core": ["device/core", "protocol", "common"],
    "device/qemu": ["device/qemu", "device/core", "protocol", "common"],
    "host/jailer": ["host/jailer", "protocol", "common"],
    "host/mediator": ["host/mediator", "protocol", "common"],
    "host/admin": ["host/admin", "protocol", "common"],
    "host/executor": ["host/executor", "protocol", "common", "api"],
    "softgpu": ["softgpu", "api"],
}
# QEMU's own headers, seen by device/qemu alone
FOREIGN = {"device/qemu": re.compile(
    r"^(qemu|qapi|qom|hw|exec|sysemu|system|migration|monitor|standard-headers)/|^qemu-|^cpu\.h$")}


def folder_of(path):
    best = ""
    for folder in RULES:
        if path.startswith(folder + "/") and len(folder) > len(best):
            best = folder
    return best


def resolve(path, name):
    """The included file, from the root of the repository, or None when it is not one of ours."""
    beside = (ROOT / path).parent / name
    for candidate in (beside, ROOT / name):
        if candidate.exists():
            return candidate.resolve().relative_to(ROOT).as_posix()
    if name.startswith("api/"):
        return name
    return None


def check(path):
    folder = folder_of(path)
    if not folder:
        return
    for name in INCLUDE.findall((ROOT / path).read_text(errors="replace")):
        target = resolve(path, name)
        if target is None:
            if folder in FOREIGN and FOREIGN[folder].match(name):
                continue
            yield f'{path}: "{name}" is not a file of this project; use <> for system headers'
        elif not any(target.startswith(allowed + "/") for allowed in RULES[folder]):
            # a unit test may drive the real peer's library code through its public header only
            yield f"{path}: {folder} may not include {target} (allowed: {', '.join(RULES[folder])})"


def main():
    faults, seen = [], 0
    for path in sorted(ROOT.rglob("*.[ch]")):
        rel = path.relative_to(ROOT).as_posix()
        if rel.startswith((".", "build")):
            continue
        seen += 1
        faults += check(rel)
    for fault in faults:
        print(fault)
    print(f"{seen} files read, {len(faults)} faults")
    return 1 if faults or not seen else 0


if __name__ == "__main__":
    sys.exit(main())
