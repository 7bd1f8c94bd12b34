# SPDX-License-Identifier: MIT
"""The host stack under load: programs that check their results, and what the host has at a moment."""
import ctypes
import itertools
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/host"))
from vgpu_host import Failure, Host, check, open_fds, wait_for  # noqa: E402

QUOTA = 1 << 30
WINDOW = 1 << 30
HANG = 120  # seconds after which something hangs; never a measure of speed
VICTIM_UID = 54001
# A real GPU is done with a round of the software GPU's size before the host has filled the next.
REAL_LOAD = ("--launches", "1000")
BINARIES = ("host/jailer/vgpu-jailer", "host/mediator/vgpu-mediator", "host/executor/vgpu-executor",
            "tests/kills/vgpu-load")
ROUND = re.compile(rb"^round (\d+) ok, (\d+) in flight$", re.M)
ERROR = re.compile(r"^error: (\w+): ", re.M)
_numbers = itertools.count(1)
_libc = ctypes.CDLL(None)


def end_with_parent():
    _libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG


class Load:
    """A vgpu-load at work. Subclasses know where it runs and so how to reach it."""

    name = "?"

    def output(self):
        raise NotImplementedError

    def status(self):
        """Exit status (128 + N for signal N), None while it runs."""
        raise NotImplementedError

    def signal(self, number):
        raise NotImplementedError

    def rounds(self):
        found = ROUND.findall(self.output())
        return int(found[-1][0]) if found else 0

    def in_flight(self):
        """How many of its rounds found a copy and a kernel in flight."""
        found = ROUND.findall(self.output())
        return int(found[-1][1]) if found else 0

    def wait_in_flight(self):
        """Until it has been seen with a copy and a kernel in flight."""
        wait_for(lambda: self.in_flight() or self.status() is not None, f"{self.name} has both in flight", HANG)
        check(self.in_flight(), f"it has ended: {self.describe()}")

    def describe(self):
        return f"{self.name}: status {self.status()}, output: ...{self.output()[-600:].decode(errors='replace')}"

    def wait_rounds(self, least):
        """Until it has done so many rounds; fails when it ends or hangs before."""
        wait_for(lambda: self.rounds() >= least or self.status() is not None,
                 f"{self.name} reaches round {least} (it is at {self.rounds()})", HANG)
        check(self.rounds() >= least, f"it has ended: {self.describe()}")

    def wait_end(self):
        wait_for(lambda: self.status() is not None, f"{self.name} ends", HANG)
        return self.status()

    def error(self):
        """The name of the status with which it gave up, None without."""
        found = ERROR.findall(self.output().decode(errors="replace"))
        return found[-1] if found else None

    def expect_end(self):
        status = self.wait_end()
        check(status == 0, f"it should have ended in order: {self.describe()}")

    def expect_error(self, *names):
        status = self.wait_end()
        check(status == 1 and self.error() in names,
              f"expected a clear error ({' or '.join(names)}): {self.describe()}")

    def expect_end_or_error(self, *names):
        """For what may have come just in time."""
        if self.wait_end():
            self.expect_error(*names)


class LocalLoad(Load):
    def __init__(self, stack, name, uid, *arguments):
        self.name = name
        self.file = stack.folder / f"load-{next(_numbers)}"
        argv = [stack.folder / "tests/kills/vgpu-load", "--transport", "local:" + stack.host.run + "/local/vgpu.sock",
                "--kernels", stack.folder / "kernels", *arguments]
        own = os.getuid()
        with open(self.file, "wb") as out:
            self.process = subprocess.Popen(argv, stdout=out, stderr=out, preexec_fn=end_with_parent,
                                            stdin=subprocess.DEVNULL, user=uid if uid != own else None)
        self.pid = self.process.pid

    def output(self):
        return self.file.read_bytes()

    def status(self):
        status = self.process.poll()
        return status if status is None or status >= 0 else 128 - status

    def signal(self, number):
        if self.process.poll() is None:
            self.process.send_signal(number)


class GuestLoad(Load):
    def __init__(self, stack, vm, *arguments):
        self.name = "a process in VM " + vm.name
        self.vm = vm
        load, kernels = vm.path(stack.folder / "tests/kills/vgpu-load"), vm.path(stack.folder / "kernels")
        self.command = vm.spawn(f"exec {load} --transport device:/dev/vgpu0 --kernels {kernels} " + " ".join(arguments))

    def output(self):
        return self.command.out + self.command.err

    def status(self):
        if self.command.gone:
            return 255
        return self.command.rc

    def signal(self, number):
        self.command.kill(number)


def resident_kib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def gpu_used_mib():
    """Memory in use on the first real GPU."""
    out = subprocess.run(["nvidia-smi", "-i", "0", "--query-gpu=memory.used", "--format=csv,noheader,nounits"],
                         check=True, capture_output=True, text=True).stdout
    return int(out.split()[0])


class Stack:
    """Jailer, mediator and executors from a folder of copies, which can be replaced under load."""

    def __init__(self, build, driver=None, warm=2, memory_limit="8G"):
        self.build = build
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vgpu-kills-"))
        self.folder.chmod(0o755)
        self.releases = 0
        self.install()
        shutil.copytree(ROOT / "tests/kernels", self.folder / "kernels")
        self.real_gpu = bool(driver)
        self.heavy = REAL_LOAD if driver else ()
        self.loads = []
        self.vms = {}
        self.host = Host(str(self.folder), executor=str(self.folder / BINARIES[2]),
                         driver=driver or str(build / "softgpu/libcuda.so.1"), warm=warm,
                         jailer_args=["--memory-limit", memory_limit], mediator_args=["--grace-ms", "3000"])

    def __enter__(self):
        self.host.__enter__()
        self.host.add_local("neighbour", uid=os.getuid(), vram_quota_bytes=QUOTA, window_bytes=WINDOW, sessions=16)
        self.host.add_local("victim", uid=VICTIM_UID, vram_quota_bytes=QUOTA, window_bytes=WINDOW, sessions=16)
        self.host.wait_warm(self.host.warm)
        return self

    def __exit__(self, kind, value, trace):
        for vm in self.vms.values():
            vm.close(check=False)
        for load in self.loads:
            if isinstance(load, LocalLoad):
                load.signal(signal.SIGKILL)
                load.process.wait()
        for process in (self.host.jailer, self.host.mediator):
            if process and process.poll() is None:
                process.send_signal(signal.SIGCONT)
        self.host.__exit__(kind, value, trace)
        shutil.rmtree(self.folder, ignore_errors=True)

    def install(self):
        """As a package manager does: each file written beside the old one and renamed over it. Each
        release is another file to the last byte: what follows the ELF file's end is never loaded."""
        self.releases += 1
        for name in BINARIES:
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            new = target.with_name(target.name + ".new")
            shutil.copy(self.build / name, new)
            with open(new, "ab") as f:
                f.write(b"release %d\n" % self.releases)
            os.rename(new, target)

    # ---- load ----

    def local(self, name, *arguments, uid=None):
        load = LocalLoad(self, name, os.getuid() if uid is None else uid, *arguments)
        self.loads.append(load)
        return load

    def victim(self, *arguments):
        return self.local("the victim", *self.heavy, *arguments, uid=VICTIM_UID)

    def guest(self, vm, *arguments):
        return GuestLoad(self, vm, *self.heavy, *arguments)

    def new_session(self, vm=None):
        """A new session works at once."""
        load = self.guest(vm, "--rounds", "4") if vm else self.victim("--rounds", "4")
        load.name = "a new session" + (" in VM " + vm.name if vm else "")
        load.expect_end()
        self.forget(load)

    def forget(self, load):
        if load in self.loads:
            self.loads.remove(load)

    def executor_of(self, load):
        """pid of the executor that serves it."""
        def find():
            for s in self.host.call("session.list"):
                mine = s["client_pid"] == load.pid if isinstance(load, LocalLoad) else s["vm"] == load.vm.name
                if mine and s["executor_pid"] and s["state"] == "open":
                    return s["executor_pid"]
            return None
        return wait_for(find, f"the executor of {load.name}")

    # ---- what there is ----

    def inventory(self):
        """What must be the same again when a victim is gone."""
        h = self.host
        status = h.call("status")
        have = {"sessions": len(h.call("session.list")),
                "links": sorted(link["vm"] for link in status["links"]),
                "windows": status["windows"]["bytes"],
                "vram": {vm["name"]: vm["vram_used_bytes"] for vm in status["vms"]},
                "executors": len(h.executors()),
                "warm": status["executors"]["warm"],
                "ending": status["executors"]["ending"],
                "cgroups": len(h.cgroups()),
                "run dir": sorted(os.listdir(h.run) + os.listdir(os.path.join(h.run, "vm"))),
                "state files": len(os.listdir(h.state))}
        for vm in self.vms.values():
            have["window of " + vm.name] = window_blocks(vm.qemu.pid)
        with open("/proc/net/unix") as f:
            have["unix sockets"] = sum(h.dir in line for line in f)
        have["jailer's fds"] = open_fds(h.jailer.pid)
        have["mediator's fds"] = open_fds(h.mediator.pid)
        return have

    def settle(self, baseline, text, ignore=()):
        """Waits until nothing is there that was not there before."""
        have, ignore = {}, (*ignore, "gpu")

        def same():
            have.clear()
            have.update(self.inventory())
            return all(have[k] == v for k, v in baseline.items() if k not in ignore)
        try:
            wait_for(same, text)
        except Failure:
            differ = {k: (v, have.get(k)) for k, v in baseline.items() if k not in ignore and have.get(k) != v}
            raise Failure(f"{text}: left over (before, now): {differ}; "
                          f"{[s for s in self.host.call('session.list')]}") from None
        if self.real_gpu and "gpu" in baseline:
            wait_for(lambda: gpu_used_mib() <= baseline["gpu"], f"{text}: VRAM is back at {baseline['gpu']} MiB", HANG)

    def baseline(self):
        """The inventory at rest: two looks at it see the same."""
        def steady():
            first = self.inventory()
            time.sleep(0.05)
            return first if first["ending"] == 0 and first["warm"] >= self.host.warm and first == self.inventory() else None
        have = wait_for(steady, "the stack comes to rest", HANG)
        return have

    def describe(self):
        """For a failure: what the loads said last, and the log."""
        lines = [load.describe() for load in self.loads]
        lines += ["--- log of jailer and mediator", self.host.read_log()[-8000:]]
        lines += [vm.report() for vm in self.vms.values()]
        return "\n".join(lines)

    def go_on(self, loads, rounds=2):
        """All of them do some more rounds, with right results."""
        for load, target in [(load, load.rounds() + rounds) for load in loads]:
            load.wait_rounds(target)


def window_blocks(pid):
    """512-byte blocks in use in the window's memfd of a QEMU."""
    blocks = 0
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            if "vgpu-window" in os.readlink(f"/proc/{pid}/fd/{fd}"):
                blocks += os.stat(f"/proc/{pid}/fd/{fd}").st_blocks
        except FileNotFoundError:
            continue
    return blocks


def pause(rng, most):
    """A random moment."""
    time.sleep(rng.uniform(0, most))
