# SPDX-License-Identifier: MIT
"""What is killed, stopped, restarted and replaced, and what must be true each time.

A scenario is a method of Victims; it returns the text of its line. `vm` is the VM in which the
victims run, None for local programs.
"""
import os
import signal
import time

from stack import Failure, HANG, Load, check, gpu_used_mib, pause, resident_kib, wait_for

DIED = "SESSION_EXECUTOR_DIED"
MEMORY = "SESSION_MEMORY"
NO_MEDIATOR = "HOST_NO_MEDIATOR"
# while mediator or jailer is away, a session that is just being opened may be refused with these
REFUSED = (NO_MEDIATOR, DIED, "HOST_NO_EXECUTOR", "HOST_BUSY", "SESSION_CLOSED", "SESSION_LINK")
FLIGHT_S = 0.4  # a kill comes within so many seconds after the victim's first right result
EARLY_S = 0.15  # and some come so soon after its start
RSS_KIB = 4096  # what mediator and jailer may have grown by after all kills of one kind


class Victims:
    def __init__(self, stack, rng, kills, stop_s, vm=None):
        self.stack, self.rng, self.kills, self.stop_s, self.vm = stack, rng, kills, stop_s, vm
        self.host = stack.host
        self.neighbours = []

    # ---- the parts of a scenario ----

    def begin(self):
        """A victim at work: a copy and a kernel are in flight."""
        victim = self.stack.guest(self.vm) if self.vm else self.stack.victim()
        victim.wait_in_flight()
        pause(self.rng, FLIGHT_S)
        return victim

    def opening(self):
        """A victim that is just opening its session."""
        victim = self.stack.guest(self.vm, "--rounds", "20") if self.vm else self.stack.victim("--rounds", "20")
        pause(self.rng, EARLY_S)
        return victim

    def rest(self):
        self.stack.new_session(self.vm)  # the first of a VM makes the page of its quota, which stays
        have = self.stack.baseline()
        if self.stack.real_gpu:
            have["gpu"] = gpu_used_mib()
        return have

    def after(self, what, baseline):
        """A new session works at once, nothing is left, the others go on."""
        self.stack.new_session(self.vm)
        self.stack.settle(baseline, what)
        self.stack.go_on(self.neighbours)

    def each(self, what, once, kills=None):
        """Runs once(i) for all kills; memory of the daemons does not grow with them."""
        baseline = self.rest()
        pids = (self.host.mediator.pid, self.host.jailer.pid)
        for i in range(kills or self.kills):
            try:
                victim = once(i)
            except Failure as failure:
                raise Failure(f"{what} {i + 1}: {failure}") from None
            if isinstance(victim, Load):
                self.stack.forget(victim)
            if not i:
                before = [resident_kib(pid) for pid in pids]
            self.after(f"{what} {i + 1}", baseline)
        for name, pid, kib in zip(("mediator", "jailer"), pids, before):
            grown = resident_kib(pid) - kib
            check(grown <= RSS_KIB, f"{what}: the {name} has grown by {grown} KiB")

    def each_restart(self, what, once, kills=None):
        """The same for ends of mediator and jailer. The first shows what adopted executors cost."""
        baseline = None
        at_first = self.rest()
        for i in range(kills or self.kills):
            try:
                once(i)
                if baseline is None:
                    self.after(what + " 1", {k: v for k, v in at_first.items() if not k.endswith(" fds")})
                    baseline = self.rest()
                else:
                    self.after(f"{what} {i + 1}", baseline)
            except Failure as failure:
                raise Failure(f"{what} {i + 1}: {failure}") from None

    # ---- SIGKILL ----

    def client(self):
        early = 0

        def once(i):
            nonlocal early
            is_early = i % 4 == 3
            early += is_early
            victim = self.opening() if is_early else self.begin()
            victim.signal(signal.SIGKILL)
            victim.wait_end()
            return victim
        self.each("kill of a client", once)
        return f"{self.kills} kills, {early} of them while its session was being opened"

    def executor(self):
        warm = 0

        def once(i):
            nonlocal warm
            victim = self.begin()
            if i % 5 == 4:
                # of nobody: nobody notices
                warm += 1
                busy = {s["executor_pid"] for s in self.host.call("session.list")}
                idle = [pid for pid in self.host.executors() if pid not in busy]
                if idle:
                    self.kill(self.rng.choice(idle))
                self.stack.go_on([victim])
                victim.signal(signal.SIGTERM)
                victim.expect_end()
            else:
                self.kill(self.stack.executor_of(victim))
                victim.expect_error(DIED)
            return victim
        self.each("kill of an executor", once)
        return f"{self.kills} kills, each of its clients told {DIED}, {warm} of them were warm ones of nobody"

    @staticmethod
    def kill(pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def mediator(self):
        victim = self.begin()
        everybody = self.neighbours + [victim]

        def once(i):
            pause(self.rng, FLIGHT_S)
            other = self.opening() if i % 2 else None
            self.host.kill_mediator()
            if not self.vm:
                refused = self.stack.victim("--rounds", "1")
                refused.expect_error(NO_MEDIATOR)
                self.stack.forget(refused)
            self.stack.go_on(everybody)
            self.host.start_mediator()
            if other:
                other.expect_end_or_error(*REFUSED)
                self.stack.forget(other)
            self.come_back()
            self.stack.go_on(everybody)
        self.each_restart("kill of the mediator", once)
        self.end(victim)
        return f"{self.kills} kills, no session noticed any"

    def come_back(self):
        """All sessions have found the new mediator."""
        wait_for(lambda: self.host.call("status")["jailer"]["connected"], "the mediator has its jailer", HANG)
        if self.vm:
            wait_for(lambda: any(link["vm"] == self.vm.name for link in self.host.call("status")["links"]),
                     "the device is back", HANG)

    def jailer(self):
        victim = self.begin()
        everybody = self.neighbours + [victim]

        def once(i):
            pause(self.rng, FLIGHT_S)
            other = self.opening() if i % 2 else None
            self.host.kill_jailer()
            self.stack.go_on(everybody)
            self.host.start_jailer()
            if other:
                other.expect_end_or_error(*REFUSED)
                self.stack.forget(other)
            self.come_back()
            self.stack.go_on(everybody)
        self.each_restart("kill of the jailer", once)
        self.end(victim)
        return f"{self.kills} kills, no session noticed any"

    def end(self, victim):
        victim.signal(signal.SIGTERM)
        victim.expect_end()
        self.stack.forget(victim)

    def qemu(self):
        """Each time with a process of the VM at work; the VM boots again."""
        baseline = self.rest()
        without = {k: v for k, v in baseline.items() if k != "window of " + self.vm.name}
        gone = {**without, "links": [name for name in without["links"] if name != self.vm.name]}
        check(len(gone["links"]) < len(without["links"]), "the VM has a link")
        for i in range(self.kills):
            self.begin()
            self.vm.kill()
            try:
                self.gone(gone, i)
                self.vm.agent.close()
                self.vm.qmp.close()
                self.vm.boot()
                self.after(f"kill {i + 1} of QEMU", baseline)
            except Failure as failure:
                raise Failure(f"kill {i + 1} of QEMU: {failure}") from None
        return f"{self.kills} kills, the VM booted and used the GPU again each time"

    def gone(self, expected, i):
        vm = self.stack.vms.pop(self.vm.name)
        # the QEMU has windows, fds and sockets of its own: they are back when it is
        ignore = ("mediator's fds", "unix sockets", "windows")
        self.stack.settle(expected, f"kill {i + 1} of QEMU", ignore)
        self.stack.vms[self.vm.name] = vm
        self.stack.go_on(self.neighbours)

    # ---- SIGSTOP ----

    def stop(self):
        """Halts a client and the executor of another; stopped() goes on with them, others may be killed meanwhile."""
        self.at_rest = self.rest()
        self.halted = [self.begin(), self.begin()]
        self.halted_executor = self.stack.executor_of(self.halted[1])
        self.halted[0].signal(signal.SIGSTOP)
        os.kill(self.halted_executor, signal.SIGSTOP)
        self.halted_since = time.monotonic()
        return "they stand still"

    def stopped(self, seconds):
        time.sleep(max(0.0, self.halted_since + seconds - time.monotonic()))
        seconds = time.monotonic() - self.halted_since
        self.stack.go_on(self.neighbours)
        self.halted[0].signal(signal.SIGCONT)
        os.kill(self.halted_executor, signal.SIGCONT)
        for victim in self.halted:
            self.stack.go_on([victim])
            self.end(victim)
        self.after("SIGSTOP", self.at_rest)
        return f"stopped for {seconds:.0f} s, went on with right results"

    def qemu_stopped(self, seconds):
        baseline = self.rest()
        victim = self.begin()
        self.vm.qemu.stop()
        try:
            self.while_stopped(seconds, self.neighbours)
        finally:
            self.vm.qemu.cont()
        self.stack.go_on([victim])
        self.end(victim)
        self.after("SIGSTOP of QEMU", baseline)
        return f"stopped for {seconds:.0f} s, went on with right results"

    def while_stopped(self, seconds, loads):
        """Progress at the beginning and at the end of the time."""
        self.stack.go_on(loads)
        time.sleep(seconds)
        self.stack.go_on(loads)

    def daemon_stopped(self, name, seconds):
        """Mediator or jailer stands still: sessions go on, one that is opened meanwhile has its answer after."""
        victim = self.begin()
        for _ in range(self.host.warm):  # of those that an earlier jailer has started this one has a pidfd
            self.stack.new_session(self.vm)
        baseline = self.rest()
        daemon = getattr(self.host, name)
        daemon.send_signal(signal.SIGSTOP)
        try:
            other = self.opening()
            self.while_stopped(seconds, self.neighbours + [victim])
        finally:
            daemon.send_signal(signal.SIGCONT)
        other.expect_end_or_error(*REFUSED)
        self.stack.forget(other)
        self.after("SIGSTOP of the " + name, baseline)
        self.end(victim)
        return f"stopped for {seconds:.0f} s, no session noticed"

    # ---- restarts ----

    def restart(self):
        """As systemctl restart does it: SIGTERM, wait, start."""
        victim = self.begin()
        everybody = self.neighbours + [victim]

        def once(i):
            pause(self.rng, FLIGHT_S)
            other = self.opening() if i % 2 else None
            self.restart_daemons(("mediator", "jailer") if self.rng.random() < 0.5 else ("jailer", "mediator"))
            if other:
                other.expect_end_or_error(*REFUSED)
                self.stack.forget(other)
            self.come_back()
            self.stack.go_on(everybody)
        self.each_restart("restart", once)
        self.end(victim)
        return f"{self.kills} restarts of mediator and jailer, no session noticed any"

    def restart_daemons(self, names):
        """One after the other: each keeps the executors' sockets while the other is away."""
        for name in names:
            process = getattr(self.host, name)
            if name == "mediator":
                self.host.kill_mediator(signal.SIGTERM)
                self.host.start_mediator()
            else:
                self.host.kill_jailer(signal.SIGTERM)
                self.host.start_jailer()
            check(process.returncode == 0, f"the {name} ended with status {process.returncode} after SIGTERM")
            wait_for(lambda: self.host.call("status")["jailer"]["connected"], "mediator and jailer are connected", HANG)

    def upgrade(self):
        """New binaries are renamed over the old ones, both daemons restarted, old sessions go on."""
        victim = self.begin()
        everybody = self.neighbours + [victim]

        def once(i):
            self.stack.install()
            self.stack.go_on(everybody, 1)  # old daemons, new files
            self.restart_daemons(("jailer", "mediator"))
            self.stack.go_on(everybody)
            self.new_release_in_use()
        self.each_restart("upgrade", once)
        self.end(victim)
        return f"{self.kills} upgrades, old sessions went on, new ones got the new executor"

    def new_release_in_use(self):
        """The warm executors of the old release are used up, then sessions have the new one's."""
        wanted = os.stat(self.host.executor).st_ino
        for _ in range(self.host.warm + 1):
            load = self.stack.victim()
            load.wait_rounds(1)
            release = os.stat(f"/proc/{self.stack.executor_of(load)}/exe").st_ino
            self.end(load)
        check(release == wanted, "a session opened after the upgrade has an executor of the old release")
        for name in ("mediator", "jailer"):
            daemon = getattr(self.host, name)
            exe = os.stat(f"/proc/{daemon.pid}/exe").st_ino
            check(exe == os.stat(daemon.args[0]).st_ino, f"the {name} is the old one")

    # ---- memory ----

    def memory(self, grow_bytes):
        """A client makes its executor's host memory grow past its cgroup's limit."""
        limited = "memory-limit" not in self.host.call("status")["sandbox"]["missing"]
        if not limited:
            return "skipped: executors have no memory cgroup on this machine"

        def once(i):
            victim = self.stack.victim("--grow", str(grow_bytes))
            victim.expect_error(MEMORY)
            return victim
        self.each("executor out of memory", once)
        return f"{self.kills} executors passed their limit, each client told {MEMORY}"

