# SPDX-License-Identifier: MIT
"""Executors that die, lie, or will not end."""
import os
import signal

from vgpu_host import (CLOSE, ENDED, ERRORS, EXTENT, MIB, OPENED, CLOSED, Host, check, equal, need_root, wait_for)


def opened(h, **kw):
    h.add_local(window_bytes=64 * MIB, **kw)
    link = h.local()
    link.hello()
    link.open_ok(0, 0)
    return link


def only_warm_left(h):
    wait_for(lambda: len(h.executors()) == h.warm_count() == h.warm, "only warm executors are left")


def test_killed(build):
    with Host(build) as h:
        link = opened(h)
        os.kill(h.call("session.list")[0]["executor_pid"], signal.SIGKILL)
        m = link.expect(ENDED, 0)
        equal(m.error, ERRORS["SESSION_EXECUTOR_DIED"], "why")
        check("signal 9" in m.text, f"says how: {m.text}")
        equal(link.open(0, EXTENT).error, ERRORS["CALL_PROTOCOL"], "number before CLOSE")
        equal(link.close_session(0).type, CLOSED, "CLOSE of a dead session")
        link.open_ok(0, 0)
        equal(h.call("vm.show", name="me")["faults"], 1, "faults")


def test_crash_while_assigned(build):
    with Host(build, env=["TEST_EXECUTOR=crash"]) as h:
        h.add_local()
        link = h.local()
        link.hello()
        m = link.open(0, 0)
        equal(m.error, ERRORS["SESSION_EXECUTOR_DIED"], "OPEN")
        equal(link.open(0, 0).error, ERRORS["SESSION_EXECUTOR_DIED"], "OPEN with the same number and extent")
        only_warm_left(h)


def test_refuses(build):
    with Host(build, env=["TEST_EXECUTOR=refuse"]) as h:
        h.add_local()
        link = h.local()
        link.hello()
        m = link.open(0, 0)
        equal((m.error, m.text), (ERRORS["CALL_INVALID"], "refused by the test"), "OPEN")
        only_warm_left(h)


def test_fails_with_a_cause(build):
    with Host(build, env=["TEST_EXECUTOR=fault"]) as h:
        link = opened(h)
        m = link.expect(ENDED, 0)
        equal(m.error, ERRORS["GPU_LOST"], "the executor's own error")
        equal(m.text, "the GPU ?fell? off?the bus", "its text without control characters")


def test_breaks_the_protocol(build):
    with Host(build, env=["TEST_EXECUTOR=garbage"], warm=0) as h:
        h.add_local()
        link = h.local()
        link.hello()
        m = link.open(0, 0)
        equal(m.error, ERRORS["HOST_NO_EXECUTOR"], "OPEN")
        check("protocol" in m.text, f"says why: {m.text}")
        check(h.call("status")["counters"]["executors_malformed"] >= 1, "counter")
        h.wait_executors(0)


def test_no_gpu(build):
    with Host(build, env=["TEST_EXECUTOR=no-gpu"]) as h:
        h.add_local()
        link = h.local()
        link.hello()
        m = link.open(0, 0)
        equal((m.error, m.text), (ERRORS["GPU_NONE"], "there is no GPU in this test"), "OPEN")
        equal(h.call("status")["executors"]["error"], "there is no GPU in this test", "error in status")
        link.open(0, 0)


def test_will_not_finish(build):
    with Host(build, env=["TEST_EXECUTOR=stay"], mediator_args=["--finish-ms", "100"]) as h:
        link = opened(h)
        equal(link.close_session(0).type, CLOSED, "CLOSE")
        only_warm_left(h)


def test_stopped(build):
    """SIGSTOP: the session hangs, others do not, and CLOSE ends it."""
    with Host(build) as h:
        link = opened(h)
        pid = h.call("session.list")[0]["executor_pid"]
        os.kill(pid, signal.SIGSTOP)
        link.send_heap(0, 0, EXTENT, EXTENT)
        link.open_ok(1, 8 * EXTENT)
        equal(link.close_session(0).type, CLOSED, "CLOSE of a stopped session")
        check(not os.path.exists(f"/proc/{pid}"), "stopped executor is gone")


def test_out_of_memory(build):
    need_root()
    with Host(build, env=["TEST_EXECUTOR=memory"], jailer_args=["--memory-limit", "64M"]) as h:
        link = opened(h)
        m = link.expect(ENDED, 0)
        equal(m.error, ERRORS["SESSION_MEMORY"], "why")
        check("memory limit" in m.text, f"says what to do: {m.text}")
        equal(h.call("status")["counters"]["executors_out_of_memory"], 1, "counter")


def test_children_die_too(build):
    need_root()
    for relax in ([], ["--no-pid"], ["--no-cgroup"], ["--no-pid", "--no-cgroup"]):
        with Host(build, env=["TEST_EXECUTOR=children"], jailer_args=relax) as h:
            link = opened(h)
            wait_for(lambda: len(h.executors()) >= 2, "child process")
            link.close_session(0)
            only_warm_left(h)


def test_session_end(build):
    with Host(build) as h:
        link = opened(h)
        h.call("session.end", id=h.call("session.list")[0]["id"])
        equal(link.expect(ENDED, 0).error, ERRORS["SESSION_ADMIN"], "why")
        equal(link.close_session(0).type, CLOSED, "CLOSE")
        only_warm_left(h)


def test_missing_executor_program(build):
    with Host(build, executor=os.path.join(build, "host/admin/vgpu-admin"), warm=0) as h:
        h.add_local()
        link = h.local()
        link.hello()
        m = link.open(0, 0)
        equal(m.type, OPENED, "answer")
        equal(m.error, ERRORS["HOST_NO_EXECUTOR"], "a program that is no executor")
        check("exited with status" in m.text, f"says how: {m.text}")


def test_log_flood(build):
    """An executor that floods its log does not flood the host's."""
    with Host(build, env=["TEST_EXECUTOR=shout"]) as h:
        link = opened(h)
        wait_for(lambda: "has said too much" in h.read_log(), "the limit of the log")
        check(os.path.getsize(f"{h.dir}/log") < 4 * MIB, "size of the log")
        link.close_session(0)


def test_cannot_be_ended(build):
    """A process that does not go makes the GPU degraded until it goes: new sessions are refused, and all are told."""
    with Host(build, mediator_args=["--stuck-ms", "500"]) as h:
        h.add_local(window_bytes=64 * MIB)
        link = h.local()
        link.hello()
        link.open_ok(0, 0)
        h.wait_warm()
        h.jailer.send_signal(signal.SIGSTOP)  # nobody reaps, as if it hung in the driver
        try:
            link.simple(CLOSE, 0)
            wait_for(lambda: h.call("status")["executors"]["stuck"] == 1, "it is noticed")
            m = link.open(1, EXTENT)
            equal(m.error, ERRORS["GPU_LOST"], "OPEN")
            check("degraded" in m.text, f"a sentence: {m.text}")
            bad = [c["text"] for c in h.call("doctor")["checks"] if c["verdict"] == "bad" and c["check"] == "gpu"]
            check(len(bad) == 1 and "degraded" in bad[0], f"doctor: {bad}")
        finally:
            h.jailer.send_signal(signal.SIGCONT)
        link.expect(CLOSED, 0)
        wait_for(lambda: h.call("status")["executors"]["stuck"] == 0, "it is gone")
        link.open_ok(1, EXTENT)
