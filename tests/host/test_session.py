# SPDX-License-Identifier: MIT
"""Sessions of a well-behaved client, and the limits that it meets."""
import mmap
import os
import shutil
import tempfile

from vgpu_host import (ERRORS, EXTENT, HEAP_ADDED, MIB, OPEN, OPENED, REFUSED, RESET, RESET_DONE, CLOSED, Host, Skip, WELCOME,
                       check, equal, memfd, wait_for)


def test_local_session(build):
    with Host(build) as h:
        h.add_local(window_bytes=64 * MIB)
        h.wait_warm()
        link = h.local()
        m = link.hello()
        equal(m.type, WELCOME, "answer of HELLO")
        equal(m.window_bytes, 64 * MIB, "window")
        equal(os.fstat(link.window).st_size, 64 * MIB, "size of the memfd")
        link.open_ok(0, 0)
        equal(link.heap(0, 0, EXTENT, 2 * EXTENT).error, 0, "HEAP_ADD")
        s = h.call("session.list")
        equal(len(s), 1, "sessions")
        equal(s[0]["heap_bytes"], 2 * EXTENT, "heap")
        equal(s[0]["vram_bytes"], MIB, "VRAM as the executor charges it")
        with mmap.mmap(link.window, 64 * MIB) as w:
            w[0:4] = b"head"
            w[EXTENT:EXTENT + 4] = b"heap"
            w[8 * EXTENT:8 * EXTENT + 4] = b"else"
            equal(link.close_session(0).error, 0, "CLOSE")
            equal(w[0:4], bytes(4), "control extent after CLOSED")
            equal(w[EXTENT:EXTENT + 4], bytes(4), "heap after CLOSED")
            equal(w[8 * EXTENT:8 * EXTENT + 4], b"else", "what belongs to no session")
        equal(h.call("vm.show", name="me")["vram_used_bytes"], 0, "VRAM after CLOSED")
        link.open_ok(0, EXTENT)


def test_executors_are_replaced(build):
    with Host(build, warm=2) as h:
        h.add_local()
        h.wait_warm(2)
        link = h.local()
        link.hello()
        for sid in range(3):
            link.open_ok(sid, sid * EXTENT)
        h.wait_executors(5)
        link.close()
        h.wait_executors(2)
        wait_for(lambda: len(h.cgroups()) == 2 if os.getuid() == 0 else True, "cgroups of ended executors removed")


def test_session_limit(build):
    with Host(build) as h:
        h.add_local(sessions=2)
        link = h.local()
        equal(link.hello().sessions, 2, "limit in WELCOME")
        link.open_ok(0, 0)
        link.open_ok(1, EXTENT)
        m = link.open(2, 2 * EXTENT)
        equal(m.error, ERRORS["HOST_SESSION_LIMIT"], "third session")
        equal((m.value, m.limit), (3, 2), "value and limit")
        check("raise it" in m.text, f"says what to do: {m.text}")
        h.call("vm.set", name="me", sessions=3)
        link.open_ok(2, 2 * EXTENT)
        equal(h.call("status")["counters"]["session_limit"], 1, "counter")


def test_window_limit(build):
    with Host(build, mediator_args=["--window-total", "48M"]) as h:
        h.add_local(window_bytes=32 * MIB)
        m = h.local().hello(window_bytes=34 * MIB)
        equal((m.type, m.error), (REFUSED, ERRORS["HOST_WINDOW_LIMIT"]), "window above the VM's limit")
        equal((m.value, m.limit), (34, 32), "value and limit in MiB")
        first = h.local()
        equal(first.hello().type, WELCOME, "first window")
        m = h.local().hello()
        equal((m.type, m.error), (REFUSED, ERRORS["HOST_WINDOW_LIMIT"]), "window above the host's limit")
        first.close()
        wait_for(lambda: h.call("status")["windows"]["bytes"] == 0, "window of an ended link given back")
        equal(h.local().hello().type, WELCOME, "window after one has gone")


def test_window_total(build):
    """Rounding a window up must not carry the sum past the limit of the host, and so away with it."""
    total = 5 * MIB  # not whole extents
    with Host(build, warm=0, mediator_args=("--window-total", str(total))) as h:
        h.add_local(window_bytes=64 * MIB, sessions=8)
        links = []
        for size, good in ((4 * MIB, True), (1, False), (1 * MIB, False), (64 * MIB, False)):
            links.append(h.local())
            m = links[-1].hello(window_bytes=size)
            equal(m.type, WELCOME if good else REFUSED, f"{size} bytes: {m!r}")
        check(h.call("status")["windows"]["bytes"] <= total, "the sum stays within the limit")


def test_extents(build):
    with Host(build) as h:
        h.add_local(window_bytes=32 * MIB)
        link = h.local()
        link.hello()
        for offset, what in ((1, "not aligned"), (32 * MIB, "behind the end"), (2**64 - EXTENT, "far outside")):
            equal(link.open(0, offset).error, ERRORS["CALL_INVALID"], f"control extent {what}")
        link.open_ok(0, 0)
        equal(link.open(1, 0).error, ERRORS["CALL_INVALID"], "control extent of another session")
        equal(link.open(0, EXTENT).error, ERRORS["CALL_PROTOCOL"], "number in use")
        equal(link.open(1, EXTENT, arena=99).error, ERRORS["CALL_INVALID"], "arena")
        bad = [(0, 0, EXTENT), (0, EXTENT, 0), (0, EXTENT, 1), (1, EXTENT, EXTENT), (0, 30 * MIB, 2 * EXTENT),
               (0, EXTENT, 2**64 - EXTENT), (2**64 - EXTENT, EXTENT, EXTENT), (1 << 50, EXTENT, EXTENT)]
        for heap, window, size in bad:
            equal(link.heap(0, heap, window, size).error, ERRORS["CALL_INVALID"], f"heap {heap:#x} {window:#x} {size:#x}")
        equal(link.heap(0, 0, EXTENT, 2 * EXTENT).error, 0, "good heap")
        equal(link.heap(0, EXTENT, 4 * EXTENT, EXTENT).error, ERRORS["CALL_INVALID"], "heap offset in use")
        equal(link.heap(0, 4 * EXTENT, 2 * EXTENT, EXTENT).error, ERRORS["CALL_INVALID"], "extent in use")
        equal(link.heap(1, 0, 8 * EXTENT, EXTENT).error, ERRORS["CALL_NOT_OPEN"], "session that is not open")
        link.open_ok(1, 5 * EXTENT)
        equal(link.heap(1, 0, EXTENT, EXTENT).error, ERRORS["CALL_INVALID"], "extent of another session")
        link.close_session(0)
        equal(link.heap(1, 0, EXTENT, EXTENT).error, 0, "extent after its session closed")


def test_heap_runs_limit(build):
    with Host(build) as h:
        h.add_local(window_bytes=2 << 30)
        link = h.local()
        link.hello()
        link.open_ok(0, 0)
        for i in range(512):
            equal(link.heap(0, i * EXTENT, (i + 1) * EXTENT, EXTENT).error, 0, f"run {i}")
        m = link.heap(0, 512 * EXTENT, 513 * EXTENT, EXTENT)
        equal((m.error, m.limit), (ERRORS["CALL_LIMIT"], 512), "run 513")


def test_vm_window(build):
    with Host(build) as h:
        h.add_vm(window_bytes=32 * MIB)
        for fd, text in ((memfd(32 * MIB, seal=False), "not sealed"), (os.open("/dev/zero", os.O_RDWR), "not a memfd")):
            m = h.stub().hello(window=fd, window_bytes=32 * MIB)
            equal((m.type, m.error), (REFUSED, ERRORS["CALL_INVALID"]), text)
        m = h.stub().hello(window=memfd(16 * MIB), window_bytes=32 * MIB)
        equal(m.type, REFUSED, "memfd smaller than HELLO says")
        link = h.stub()
        m = link.hello(window=memfd(32 * MIB), window_bytes=32 * MIB, epoch=7)
        equal((m.type, m.epoch, len(m.fds)), (WELCOME, 7, 0), "good window")
        link.open_ok(5, 0)


def test_reset(build):
    with Host(build, env=["TEST_EXECUTOR=stay"], mediator_args=["--finish-ms", "200"]) as h:
        h.add_vm(window_bytes=32 * MIB)
        link = h.stub()
        link.hello(window=memfd(32 * MIB), window_bytes=32 * MIB, epoch=1)
        link.open_ok(0, 0)
        link.open_ok(1, EXTENT)
        link.epoch = 2
        link.simple(RESET)
        link.send_open(2, 4 * EXTENT)
        m = link.expect(OPENED, 2)
        if m.error:
            equal(m.error, ERRORS["HOST_BUSY"], "OPEN during a reset")
            link.expect(RESET_DONE)
        else:
            raise AssertionError("OPEN during a reset was accepted")
        equal(h.call("vm.show", name="vm1")["sessions_open"], 0, "sessions after the reset")
        link.open_ok(0, 0)
        equal(link.close_session(0).type, CLOSED, "CLOSE that needs SIGKILL")


def test_eventfds_are_checked(build):
    with Host(build) as h:
        h.add_local()
        link = h.local()
        link.hello()
        zero = os.open("/dev/zero", os.O_RDWR)
        equal(link.open(0, 0, fds=[zero, zero]).error, ERRORS["CALL_INVALID"], "/dev/zero as a doorbell")
        os.close(zero)


def test_quota_slots_outlast_dying_sessions(build):
    """64 sessions, all closed and opened again at once: the slots of dying ones are not given out."""
    with Host(build, warm=0) as h:
        h.add_local(sessions=64, window_bytes=512 * MIB)
        link = h.local()
        link.hello()
        for sid in range(60):
            link.send_open(sid, sid * EXTENT)
        for _ in range(60):
            equal(link.expect(OPENED).error, 0, "OPEN of many")
        equal(h.call("vm.show", name="me")["vram_used_bytes"], 60 * MIB, "VRAM of all")
        link.close()
        wait_for(lambda: h.call("vm.show", name="me")["vram_used_bytes"] == 0, "VRAM given back")
        h.wait_executors(0)


def test_rate_limit(build):
    with Host(build, env=["TEST_EXECUTOR=no-gpu"], warm=0) as h:
        h.add_local(sessions=64)
        link = h.local()
        link.hello()
        busy = 0
        for _ in range(200):
            m = link.open(0, 0)
            busy += m.error == ERRORS["HOST_BUSY"]
            check(m.error in (ERRORS["HOST_BUSY"], ERRORS["GPU_NONE"]), f"unexpected {m!r}")
        check(busy > 0, "200 sessions in a row were never too fast")
        check(h.call("status")["counters"]["rate_limit"] == busy, "counter of the rate limit")


def test_driver_by_its_name(build):
    """A bare library name: the jail shows the directory in which dlopen will find it."""
    library = os.path.join(build, "softgpu/libcuda.so.1")
    if not os.path.exists(library):
        raise Skip("the software GPU is not built")
    d = tempfile.mkdtemp(prefix="vgpu-driver-")
    try:
        os.chmod(d, 0o755)
        shutil.copy(library, os.path.join(d, "libcuda.so.1"))
        with Host(build, executor=os.path.join(build, "host/executor/vgpu-executor"), driver="libcuda.so.1",
                  env=[f"LD_LIBRARY_PATH={d}"]) as h:
            h.wait_warm()
            check(h.call("status")["gpu"]["software"], "the library of that directory is in use")
    finally:
        shutil.rmtree(d)
