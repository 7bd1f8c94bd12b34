#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Kills, stops, restarts and replaces parts of the stack under load.

  run.py --build DIR [--driver PATH] [--kills N] [--qemu-kills N] [--stop SECONDS] [--seed S]
        [--victim NAME] [--vm | --no-vm]

While programs keep a copy and a kernel in flight and check every result, each kind of victim gets
SIGKILL at random moments and SIGSTOP for seconds. Each time: the others go on with right results,
the victim's side gets a clear error (or, for mediator and jailer, none), a new session works at
once, and no process, descriptor, socket, cgroup, window or GPU memory is left over.

First with local programs, then with VMs (--no-vm and --vm choose one half). One line a kind of
victim; the last line counts them. The seed makes the moments the same again.
"""
import argparse
import os
import pathlib
import random
import signal
import sys
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "vm")]
from stack import Stack, check  # noqa: E402
from vgpu_host import real_driver  # noqa: E402
from victims import Victims  # noqa: E402

# The software GPU's memory is the executor's own: room for a load, not for the image that is too large.
SOFT_MEMORY = ("96M", 160 << 20)
REAL_MEMORY = ("1536M", 512 << 20)
IN_VM = 5  # kills of each kind in a VM
WINDOW = 256 << 20
# These neighbours leave some of the machine to what is killed.
LIGHT = ("--pause-ms", "20", "--bulk", "65536")
# A guest that stood still for half a minute has not hung.
GUEST_OPTIONS = "nosoftlockup rcupdate.rcu_cpu_stall_suppress=1"


class Report:
    def __init__(self, only):
        self.only, self.passed, self.failed = only, 0, 0
        self.stack = None

    def wanted(self, name):
        return not self.only or any(part in name for part in self.only)

    def run(self, name, scenario, *arguments):
        """True when it passed or was not asked for."""
        if not self.wanted(name):
            return True
        start = time.monotonic()
        try:
            text = scenario(*arguments)
        except Exception as error:
            self.failed += 1
            traceback.print_exc(limit=-4, file=sys.stdout)
            print(self.stack.describe())
            print(f"FAILED {name}: {error}", flush=True)
            return False
        skipped = text.startswith("skipped")
        self.passed += not skipped
        print(f"{'skip  ' if skipped else 'ok    '} {name}: {text} ({time.monotonic() - start:.0f} s)", flush=True)
        return True


def run_all(report, scenarios):
    """One after the other; after a failure nothing is known about the stack any more."""
    for name, scenario, *arguments in scenarios:
        if not report.run(name, scenario, *arguments):
            return False
    return True


def end_neighbours(stack, neighbours):
    """They end in order, and the stack is as it was before anybody came."""
    rounds = sum(load.rounds() for load in neighbours)
    for load in neighbours:
        load.signal(signal.SIGTERM)
        load.expect_end()
    stack.host.wait_warm(stack.host.warm)
    have = stack.baseline()
    check(have["sessions"] == 0 and not any(have["vram"].values()), f"left over at the end: {have}")
    check(have["executors"] == have["cgroups"] == stack.host.warm or not have["cgroups"], f"left over at the end: {have}")
    return f"{rounds} rounds right"


def local_half(args, report, rng, build):
    limit, grow = REAL_MEMORY if args.driver else SOFT_MEMORY
    with Stack(build, args.driver, warm=2, memory_limit=limit) as stack:
        report.stack = stack
        v = Victims(stack, rng, args.kills, args.stop)
        few = Victims(stack, rng, max(1, args.kills // 5), args.stop)
        v.neighbours = few.neighbours = [stack.local("neighbour 1"), stack.local("neighbour 2", *LIGHT)]
        for load in v.neighbours:
            load.wait_rounds(2)
        good = run_all(report, [
            ("stop client and executor", v.stop),
            ("client", v.client),
            ("executor", v.executor),
            ("stop client and executor", v.stopped, args.stop),
            ("mediator", v.mediator),
            ("jailer", v.jailer),
            ("restart", few.restart),
            ("upgrade", few.upgrade),
            ("memory", few.memory, grow),
            ("stop mediator", v.daemon_stopped, "mediator", args.stop),
            ("stop jailer", v.daemon_stopped, "jailer", args.stop),
        ])
        if good:
            report.run("neighbours", end_neighbours, stack, v.neighbours)


def vm_half(args, report, rng, build):
    from vm import Vm, images
    images.SCALE = 1
    os.environ["VGPU_BUILD"] = str(build)
    with Stack(build, args.driver, warm=2) as stack:
        report.stack = stack
        for name in ("alice", "bob"):
            stack.host.call("vm.add", name=name, vram_quota_bytes=1 << 30, window_bytes=WINDOW, sessions=12)
            stack.vms[name] = Vm(name, driver=True, append=GUEST_OPTIONS, stub={
                "socket": os.path.join(stack.host.run, "vm", name + ".sock"), "window_size": "256M"})
        for vm in stack.vms.values():
            vm.start()
        for vm in stack.vms.values():
            vm.join()
            vm.run("insmod /share/vgpu.ko")
        alice, bob = stack.vms["alice"], stack.vms["bob"]
        v = Victims(stack, rng, min(args.kills, IN_VM), args.stop, vm=bob)
        q = Victims(stack, rng, args.qemu_kills, args.stop, vm=bob)
        neighbours = [stack.guest(alice, *LIGHT), stack.local("a local neighbour", *LIGHT)]
        v.neighbours = q.neighbours = neighbours
        for load in neighbours:
            load.wait_rounds(2)
        good = run_all(report, [
            ("vm client", v.client),
            ("vm executor", v.executor),
            ("vm mediator", v.mediator),
            ("vm jailer", v.jailer),
            ("vm restart", v.restart),
            ("vm stop qemu", v.qemu_stopped, args.stop),
            ("vm qemu", q.qemu),
        ])
        if good:
            report.run("vm neighbours", end_neighbours, stack, neighbours)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--driver", help="the CUDA driver of the executors ('real': NVIDIA's; else the software GPU)")
    parser.add_argument("--kills", type=int, default=25, help="of each kind of victim")
    parser.add_argument("--qemu-kills", type=int, default=25, help="of QEMU: each costs a boot")
    parser.add_argument("--stop", type=float, default=30, help="seconds of SIGSTOP, at least")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--victim", action="append", help="only lines with this in their name; may be repeated")
    half = parser.add_mutually_exclusive_group()
    half.add_argument("--vm", action="store_true", help="only the half with VMs")
    half.add_argument("--no-vm", action="store_true", help="only the half without")
    args = parser.parse_args()
    if os.getuid():
        sys.exit("needs root: the jailer gives each executor a user, namespaces and a cgroup of its own")
    if args.driver == "real":
        args.driver = real_driver() or sys.exit("there is no NVIDIA GPU")
    seed = args.seed if args.seed is not None else int(time.time())
    print(f"seed {seed}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    os.nice(5)
    report, rng = Report(args.victim), random.Random(seed)
    for half, wanted in ((local_half, not args.vm), (vm_half, not args.no_vm)):
        if not wanted:
            continue
        try:
            half(args, report, rng, args.build.resolve())
        except Exception:
            report.failed += 1
            traceback.print_exc(limit=-4, file=sys.stdout)
            print(f"FAILED {half.__name__}", flush=True)
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed or not report.passed else 0


if __name__ == "__main__":
    sys.exit(main())
