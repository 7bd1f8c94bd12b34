# SPDX-License-Identifier: MIT
"""The host stack for tests: real jailer and mediator processes in a temporary directory, and a
client that speaks protocol/link and the control socket. Standard library only."""
import array
import ctypes
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

MIB = 1 << 20
EXTENT = 2 * MIB
MAGIC = 0x4B4E4C56
VERSION = 1 << 16
HELLO, OPEN, HEAP_ADD, CLOSE, RESET, RESUME, RESUMED = range(1, 8)
WELCOME, REFUSED, OPENED, HEAP_ADDED, ENDED, CLOSED, RESET_DONE, STATUS = range(16, 24)
STUB, LOCAL = 1, 2
ERRORS = {}
DEADLINE = 60  # seconds after which a wait has failed; never a measure of speed


class Failure(Exception):
    pass


class Skip(Exception):
    pass


def need_root():
    if os.getuid():
        raise Skip("needs root: the sandbox's users, namespaces and cgroups")


def check(condition, text):
    if not condition:
        raise Failure(text)


def equal(have, want, text):
    check(have == want, f"{text}: have {have!r}, want {want!r}")


def wait_for(what, text, deadline=DEADLINE):
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        value = what()
        if value:
            return value
        time.sleep(0.02)
    raise Failure(f"did not happen within {deadline} s: {text}")


def load_errors(root):
    """Names and codes of protocol/error.h."""
    with open(os.path.join(root, "protocol/error.h")) as f:
        for line in f:
            line = line.strip()
            if line.startswith("X(") and "0x" in line:
                name, code = line[2:].split(",")[:2]
                ERRORS[name.strip()] = int(code, 16)


def memfd(size, seal=True):
    fd = os.memfd_create("test-window", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    if seal:
        import fcntl
        fcntl.fcntl(fd, 1033, 2 | 4 | 1)  # F_ADD_SEALS: SHRINK | GROW | SEAL
    return fd


def eventfd():
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.eventfd(0, 0o2000000 | 0o4000)


class Message:
    def __init__(self, packet, fds):
        self.type, self.bytes, self.epoch, self.sid = struct.unpack_from("<IIII", packet)
        self.fds = fds
        if self.type == WELCOME:
            (self.version, self.features, self.status, self.sessions,
             self.window_bytes) = struct.unpack_from("<IIIIQ", packet, 16)
        else:
            self.error, self.value, self.limit, self.status = struct.unpack_from("<IIII", packet, 16)
            self.text = packet[32:].split(b"\0")[0].decode()

    def __repr__(self):
        return f"message {self.type} sid {self.sid} error {getattr(self, 'error', 0):#x} {getattr(self, 'text', '')!r}"


class Link:
    """A scripted client of a link: a stub (path of a VM's socket) or a local program."""

    def __init__(self, path, kind):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(DEADLINE)
        self.sock.connect(path)
        self.kind = kind
        self.epoch = 0
        self.window = -1

    def close(self):
        self.sock.close()

    def send(self, packet, fds=()):
        socket.send_fds(self.sock, [packet], list(fds))

    def header(self, kind, size, sid=0):
        return struct.pack("<IIII", kind, size, self.epoch, sid)

    def recv(self):
        packet, fds, flags, _ = socket.recv_fds(self.sock, 2048, 8)
        if not packet:
            for fd in fds:
                os.close(fd)
            return None
        return Message(packet, fds)

    def expect(self, kind, sid=None):
        m = self.recv()
        check(m is not None, f"the link ended, expected message {kind}")
        check(m.type == kind, f"expected message {kind}, got {m!r}")
        if sid is not None:
            equal(m.sid, sid, "session of the answer")
        return m

    def ended(self):
        """Reads until the end of the link: True when it comes."""
        try:
            while self.recv() is not None:
                pass
        except ConnectionResetError:
            pass
        return True

    def send_hello(self, window=-1, window_bytes=0, uuid=bytes(16), resume=0, magic=MAGIC, oldest=VERSION,
                   version=VERSION, kind=None, epoch=0, features=1):
        self.epoch = epoch
        body = struct.pack("<IIIIIIQ16sIIII", magic, oldest, version, kind or self.kind, features, resume,
                           window_bytes, uuid, os.getpid(), 0, 0, 0)
        self.send(self.header(HELLO, 80) + body, [window] if window >= 0 else [])

    def hello(self, **kw):
        self.send_hello(**kw)
        m = self.recv()
        if m is not None and m.type == WELCOME:
            self.window_bytes = m.window_bytes
            if m.fds:
                self.window = m.fds[0]
            elif "window" in kw:
                self.window = kw["window"]
        return m

    def send_open(self, sid, offset=0, arena=0, kind=OPEN, fds=None):
        body = struct.pack("<QIIIIII", offset, arena, 1, os.getpid(), 0, 0, 0)
        own = fds is None and kind == OPEN
        if own:
            fds = [eventfd(), eventfd()]
        self.send(self.header(kind, 48, sid) + body, fds or [])
        if own:
            for fd in fds:
                os.close(fd)

    def open(self, sid, offset=0, **kw):
        self.send_open(sid, offset, **kw)
        return self.expect(OPENED, sid)

    def open_ok(self, sid, offset=0, **kw):
        m = self.open(sid, offset, **kw)
        equal(m.error, 0, f"error of OPEN ({m.text})")
        return m

    def send_heap(self, sid, heap, window, size, flags=0):
        self.send(self.header(HEAP_ADD, 48, sid) + struct.pack("<QQQII", heap, window, size, flags, 0))

    def heap(self, sid, heap, window, size):
        self.send_heap(sid, heap, window, size)
        return self.expect(HEAP_ADDED, sid)

    def simple(self, kind, sid=0):
        self.send(self.header(kind, 16, sid))

    def close_session(self, sid):
        self.simple(CLOSE, sid)
        return self.expect(CLOSED, sid)


class Control:
    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(DEADLINE)
        self.sock.connect(path)
        self.file = self.sock.makefile("rwb")

    def raw(self, line):
        self.file.write(line)
        self.file.flush()
        return json.loads(self.file.readline())

    def call(self, method, **params):
        return self.raw(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode() + b"\n")

    def result(self, method, **params):
        answer = self.call(method, **params)
        check("result" in answer, f"{method}: {answer.get('error')}")
        return answer["result"]

    def close(self):
        self.file.close()
        self.sock.close()


def real_driver():
    """The path of NVIDIA's driver if it has a GPU to offer, else None."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    count = ctypes.c_int(0)
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return None
    with open("/proc/self/maps") as maps:
        return next((line.split()[-1] for line in maps if "/libcuda.so" in line), None)


class Host:
    """A jailer and a mediator of the build directory."""

    def __init__(self, build, executor=None, driver=None, warm=1, jailer_args=(), mediator_args=(), env=(),
                 mediator_uid=None):
        self.build = build
        self.dir = tempfile.mkdtemp(prefix="vgpu-test-")
        os.chmod(self.dir, 0o755)
        self.run = os.path.join(self.dir, "run")
        self.state = os.path.join(self.dir, "state")
        self.jailer_socket = os.path.join(self.dir, "jailer.sock")
        self.cgroup = "vgpu-test-" + os.path.basename(self.dir)[-8:]
        self.executor = executor or os.path.join(build, "tests/host/test-executor")
        self.mediator_uid = os.getuid() if mediator_uid is None else mediator_uid
        self.uid_base = 2146000000 + (os.getpid() % 1000) * 1000
        self.env = list(env)
        self.warm = warm
        self.driver = driver or "libcuda.so.1"
        self.jailer_args, self.mediator_args = list(jailer_args), list(mediator_args)
        self.log = open(os.path.join(self.dir, "log"), "ab")
        self.jailer = self.mediator = None
        os.mkdir(self.run)
        if self.mediator_uid != os.getuid():
            os.chown(self.run, self.mediator_uid, self.mediator_uid)
            os.chown(self.dir, self.mediator_uid, self.mediator_uid)

    def __enter__(self):
        self.start_jailer()
        self.start_mediator()
        return self

    def __exit__(self, kind, value, trace):
        log = self.read_log()
        self.stop()
        if kind:
            print("--- log of jailer and mediator\n" + log[-5000:], flush=True)

    def read_log(self):
        with open(os.path.join(self.dir, "log"), errors="replace") as f:
            return f.read()

    def start_jailer(self):
        args = [os.path.join(self.build, "host/jailer/vgpu-jailer"), "--socket", self.jailer_socket,
                "--state-dir", self.state, "--mediator-uid", str(self.mediator_uid), "--executor", self.executor,
                "--driver", self.driver, "--uid-base", str(self.uid_base), "--uid-count", "900",
                "--cgroup", self.cgroup]
        for e in self.env:
            args += ["--env", e]
        # a stale socket of a killed one must not look like the new one's
        if os.path.exists(self.jailer_socket):
            os.unlink(self.jailer_socket)
        self.jailer = subprocess.Popen(args + self.jailer_args, stderr=self.log)
        wait_for(lambda: os.path.exists(self.jailer_socket) or self.jailer.poll() is not None, "jailer's socket")
        check(self.jailer.poll() is None, "the jailer did not start")

    def start_mediator(self):
        args = [os.path.join(self.build, "host/mediator/vgpu-mediator"), "--config-db",
                os.path.join(self.dir, "config.db"), "--run-dir", self.run, "--jailer", self.jailer_socket,
                "--warm", str(self.warm), "--grace-ms", "3000"]
        path = os.path.join(self.run, "control.sock")
        if os.path.exists(path):
            os.unlink(path)
        uid = self.mediator_uid if self.mediator_uid != os.getuid() else None
        self.mediator = subprocess.Popen(args + self.mediator_args, stderr=self.log, user=uid, group=uid)
        wait_for(lambda: self.can_connect(path) or self.mediator.poll() is not None, "control socket")
        check(self.mediator.poll() is None, "the mediator did not start")

    @staticmethod
    def can_connect(path):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            s.connect(path)
            return True
        except OSError:
            return False
        finally:
            s.close()

    @staticmethod
    def end(process, sig):
        if process and process.poll() is None:
            process.send_signal(sig)
            process.wait(DEADLINE)

    def kill_mediator(self, sig=signal.SIGKILL):
        self.end(self.mediator, sig)

    def kill_jailer(self, sig=signal.SIGKILL):
        self.end(self.jailer, sig)

    def control(self):
        return Control(os.path.join(self.run, "control.sock"))

    def call(self, method, **params):
        c = self.control()
        try:
            return c.result(method, **params)
        finally:
            c.close()

    def add_local(self, name="me", uid=None, **kw):
        return self.call("vm.add", name=name, kind="local", uid=os.getuid() if uid is None else uid, **kw)

    def add_vm(self, name="vm1", **kw):
        if os.getuid():
            kw.setdefault("peer_uid", os.getuid())
        return self.call("vm.add", name=name, **kw)

    def local(self):
        return Link(os.path.join(self.run, "local/vgpu.sock"), LOCAL)

    def stub(self, name="vm1"):
        return Link(os.path.join(self.run, "vm", name + ".sock"), STUB)

    def executors(self):
        """pids of the processes of this host's executors, by their user ids and command."""
        pids = []
        for p in os.listdir("/proc"):
            if not p.isdigit():
                continue
            try:
                with open(f"/proc/{p}/cmdline", "rb") as f:
                    if f.read().split(b"\0")[0] == os.path.realpath(self.executor).encode():
                        with open(f"/proc/{p}/status") as s:
                            text = s.read()
                        if "\nState:\tZ" in text:
                            continue
                        uid = int(text.split("\nUid:")[1].split()[0])
                        if self.uid_base <= uid < self.uid_base + 900 or self.logs_here(p):
                            pids.append(int(p))
            except (FileNotFoundError, ProcessLookupError):
                continue
        return pids

    def logs_here(self, pid):
        """Without user ids of their own: by the pipe of their standard error."""
        if os.getuid() == 0 and "--no-uid" not in self.jailer_args:
            return False
        return os.readlink(f"/proc/{pid}/fd/2").startswith(self.state + "/")

    def cgroups(self):
        found = []
        for base in ("/sys/fs/cgroup", "/sys/fs/cgroup/memory"):
            d = os.path.join(base, self.cgroup)
            if os.path.isdir(d):
                found += [x for x in os.listdir(d) if x.startswith("executor-")]
        return found

    def warm_count(self):
        return self.call("status")["executors"]["warm"]

    def wait_warm(self, n=1):
        wait_for(lambda: self.warm_count() >= n, f"{n} warm executors")

    def wait_executors(self, n):
        wait_for(lambda: len(self.executors()) == n, f"{n} executor processes (have {len(self.executors())})")

    def stop(self):
        """Ends both: their executors must follow by themselves; checks that nothing is left."""
        codes = []
        for process in (self.mediator, self.jailer):
            if process and process.poll() is None:
                self.end(process, signal.SIGTERM)
                codes.append(process.returncode)
        try:
            # the test executor crashes on request, and a sanitizer tells of it
            log = "".join(line for line in self.read_log().splitlines(True)
                          if "executor says" not in line or "TEST_EXECUTOR=crash" not in self.env)
            equal([c for c in codes if c], [], "exit status of mediator and jailer after SIGTERM")
            check("Sanitizer" not in log and "runtime error:" not in log, "a sanitizer has found something")
            wait_for(lambda: not self.executors(), "executors end when nobody holds their sockets")
        finally:
            for pid in self.executors():
                os.kill(pid, signal.SIGKILL)
            self.log.close()
            for base in ("/sys/fs/cgroup", *(f"/sys/fs/cgroup/{c}" for c in ("memory", "pids", "cpu", "freezer"))):
                d = os.path.join(base, self.cgroup)
                if os.path.isdir(d):
                    for x in os.listdir(d):
                        if x.startswith("executor-"):
                            wait_for(lambda path=os.path.join(d, x): remove_empty(path), f"cgroup {x} is empty", 10)
                    try:
                        os.rmdir(d)
                    except OSError:
                        pass
            shutil.rmtree(self.dir, ignore_errors=True)


def remove_empty(path):
    """Of a process that has just died a cgroup may still be busy for a moment."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def open_fds(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))
