#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Looks at live executors from outside, as root: is every wall of the sandbox really there?

usage: sandbox.py BUILD    Prints one line for each executor; raises at the first wall that is missing.
"""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
sys.path.insert(0, os.path.join(ROOT, "tests/host"))
from vgpu_host import Host, check, equal, load_errors  # noqa: E402

MEDIATOR_UID = 54329


def read(*parts):
    with open(os.path.join("/proc", *map(str, parts))) as f:
        return f.read()


def status(pid):
    return dict(line.split(":\t", 1) for line in read(pid, "status").splitlines() if ":\t" in line)


def namespaces(pid):
    return {n: os.readlink(f"/proc/{pid}/ns/{n}") for n in ("mnt", "net", "ipc", "pid")}


def check_rights(pid):
    have = status(pid)
    uids, gids = set(have["Uid"].split()), set(have["Gid"].split())
    check(len(uids) == 1 and not uids & {"0", str(MEDIATOR_UID)}, f"uids of {pid}: {uids}")
    check(len(gids) == 1 and not gids & {"0", str(MEDIATOR_UID)}, f"gids of {pid}: {gids}")
    equal(have["Groups"].strip(), "", f"supplementary groups of {pid}")
    for kind in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
        equal(int(have[kind], 16), 0, f"{kind} of {pid}")
    equal(have["NoNewPrivs"], "1", f"no-new-privs of {pid}")
    equal(have["Seccomp"], "2", f"seccomp mode of {pid}")
    for task in os.listdir(f"/proc/{pid}/task"):
        equal(status(f"{pid}/task/{task}")["Seccomp"], "2", f"seccomp mode of thread {task} of {pid}")
    core = re.search(r"Max core file size +(\S+) +(\S+)", read(pid, "limits"))
    equal(core.groups(), ("0", "0"), f"core dump limit of {pid}")
    return uids.pop()


def check_cgroup(pid, host):
    path = read(pid, "cgroup").strip().split("::", 1)[1]
    check(f"/{host.cgroup}/" in path, f"cgroup of {pid}: {path}")
    for file in ("memory.max", "pids.max"):
        with open(os.path.join("/sys/fs/cgroup", path.lstrip("/"), file)) as f:
            check(f.read().strip() != "max", f"{file} of {pid} is no limit")
    return path


def check_view(pid, programs):
    """What it sees of the machine: libraries and itself, read-only; four harmless devices; no network."""
    devices = [line.split(":")[0].strip() for line in read(pid, "net/dev").splitlines()[2:]]
    check(set(devices) <= {"lo"}, f"network devices of {pid}: {devices}")
    allowed = {"dev", "etc", "proc", "usr", "lib", "lib32", "lib64"} | {p.split("/")[1] for p in programs}
    seen = set(os.listdir(f"/proc/{pid}/root"))
    check(seen <= allowed, f"{pid} sees {seen - allowed} in the root folder")
    equal(set(os.listdir(f"/proc/{pid}/root/etc")), {"ld.so.cache"}, f"what {pid} sees in /etc")
    for line in read(pid, "mountinfo").splitlines():
        where, options = line.split()[4:6]
        if where not in ("/proc", "/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"):
            check("ro" in options.split(","), f"{pid} may write to {where}")
            check(where == "/" or where.startswith(("/usr/lib", "/usr/local/lib", "/etc/ld.so.")) or
                  any(p == where or p.startswith(where + "/") for p in programs), f"{pid} sees {where}")
    for link in os.listdir(f"/proc/{pid}/fd"):
        target = os.readlink(f"/proc/{pid}/fd/{link}")
        check("config.db" not in target and not target.startswith(("/root", "/home")), f"{pid} has {target} open")


def main():
    build = os.path.abspath(sys.argv[1])
    load_errors(ROOT)
    programs = [os.path.join(build, p) for p in ("host/executor/vgpu-executor", "softgpu/libcuda.so.1")]
    with Host(build, executor=programs[0], driver=programs[1], warm=3, mediator_uid=MEDIATOR_UID) as host:
        host.wait_warm(3)
        equal(host.call("status")["sandbox"]["missing"], [], "parts of the sandbox that the mediator misses")
        ours = namespaces("self")
        pids = host.executors()
        equal(len(pids), 3, "executors")
        seen = {}
        for pid in pids:
            uid, cgroup, spaces = check_rights(pid), check_cgroup(pid, host), namespaces(pid)
            check_view(pid, programs)
            for kind, name in spaces.items():
                check(name != ours[kind], f"{pid} shares our {kind} namespace")
            for what, value in [("uid", uid), ("cgroup", cgroup)] + list(spaces.items()):
                check((what, value) not in seen, f"{pid} shares its {what} with {seen.get((what, value))}")
                seen[what, value] = pid
            print(f"executor {pid}: uid {uid}, cgroup {cgroup}, namespaces {len(spaces)}")


main()
