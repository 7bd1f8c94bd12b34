# SPDX-License-Identifier: MIT
"""Loss of the mediator, of the jailer, of both."""
import mmap
import os
import signal
import subprocess
import time
import uuid

from vgpu_host import (CLOSE, CLOSED, ENDED, ERRORS, EXTENT, MIB, RESET, RESET_DONE, RESUME, RESUMED, WELCOME, Host, check, equal, memfd, need_root,
                       wait_for)


def resume(link, sessions, heaps=()):
    """A client's words after a reconnect: sessions are (sid, offset)."""
    for sid, offset in sessions:
        link.send_open(sid, offset, kind=RESUME)
        for s, heap, window, size in heaps:
            if s == sid:
                link.send_heap(sid, heap, window, size, flags=1)
    link.simple(RESUMED)


def new_vm(h):
    """A configured VM's window, and its link."""
    h.add_vm(window_bytes=64 * MIB)
    window = memfd(64 * MIB)
    link = h.stub()
    link.hello(window=window, window_bytes=64 * MIB)
    return window, link


def back(h, window):
    """The link of that VM after the loss of one: RESUMEs are to follow."""
    link = h.stub()
    link.hello(window=window, window_bytes=64 * MIB, resume=1)
    return link


def no_answer(link):
    """While an executor lives; a look for a second."""
    limit = link.sock.gettimeout()
    link.sock.settimeout(1)
    try:
        answer = link.recv()
    except TimeoutError:
        answer = None
    link.sock.settimeout(limit)
    check(answer is None, f"no answer while the executor lives, got {answer!r}")


def pids(h):
    return {s["sid"]: s["executor_pid"] for s in h.call("session.list") if s["state"] == "open"}


def test_mediator_killed(build):
    for sig in (signal.SIGKILL, signal.SIGTERM):
        with Host(build) as h:
            h.add_vm(window_bytes=64 * MIB)
            w = memfd(64 * MIB)
            link = h.stub()
            link.hello(window=w, window_bytes=64 * MIB, epoch=3)
            link.open_ok(0, 0)
            link.open_ok(1, EXTENT)
            equal(link.heap(1, 0, 4 * EXTENT, EXTENT).error, 0, "HEAP_ADD")
            before = pids(h)
            epoch = h.call("status")["epoch"]
            h.kill_mediator(sig)
            check(link.ended(), "link ends with the mediator")
            h.start_mediator()
            check(h.call("status")["epoch"] > epoch, "the epoch grows")
            link = h.stub()
            equal(link.hello(window=w, window_bytes=64 * MIB, epoch=3, resume=1).type, WELCOME, "reconnect")
            resume(link, [(0, 0), (1, EXTENT)], [(1, 0, 4 * EXTENT, EXTENT)])
            wait_for(lambda: pids(h) == before, "the same executors go on")
            equal(h.call("vm.show", name="vm1")["vram_used_bytes"], 2 * MIB, "VRAM is still known")
            equal(link.heap(1, EXTENT, 4 * EXTENT, EXTENT).error, ERRORS["CALL_INVALID"], "resumed heap is known")
            equal(link.heap(1, EXTENT, 5 * EXTENT, EXTENT).error, 0, "HEAP_ADD after the restart")
            link.open_ok(2, 8 * EXTENT)
            equal(link.close_session(1).type, CLOSED, "CLOSE after the restart")
            equal(h.call("vm.show", name="vm1")["vram_used_bytes"], 2 * MIB, "VRAM after CLOSE")
            os.kill(before[0], signal.SIGKILL)
            equal(link.expect(ENDED, 0).error, ERRORS["SESSION_EXECUTOR_DIED"], "death after the restart")


def test_local_clients_are_told_apart(build):
    """Two programs of one user, both with session 0: each gets its own back."""
    with Host(build) as h:
        h.add_local(window_bytes=64 * MIB)
        links = [h.local(), h.local()]
        windows, before = [], []
        for link in links:
            link.hello()
            windows.append(link.window)
            known = [s["executor_pid"] for s in h.call("session.list")]
            link.open_ok(0, 0)
            before.append([s["executor_pid"] for s in h.call("session.list") if s["executor_pid"] not in known][0])
        h.kill_mediator()
        h.start_mediator()
        for i in (1, 0):
            links[i].close()
            links[i] = h.local()
            equal(links[i].hello(window=windows[i], window_bytes=64 * MIB, resume=1).type, WELCOME, "reconnect")
            resume(links[i], [(0, 0)])
        wait_for(lambda: len(pids_all(h)) == 2, "both sessions are back")
        equal(links[0].close_session(0).type, CLOSED, "CLOSE of the first")
        check(not os.path.exists(f"/proc/{before[0]}"), "the first one's executor is gone")
        check(os.path.exists(f"/proc/{before[1]}"), "the second one's lives")
        for fd in windows:
            os.close(fd)


def pids_all(h):
    return [s["executor_pid"] for s in h.call("session.list") if s["state"] == "open"]


def test_vanished_links_are_ended(build):
    with Host(build) as h:
        h.add_local(window_bytes=64 * MIB)
        link = h.local()
        link.hello()
        link.open_ok(0, 0)
        pid = pids(h)[0]
        h.kill_mediator()
        link.close()
        h.start_mediator()
        wait_for(lambda: not os.path.exists(f"/proc/{pid}"), "executor of a vanished client ended after the grace time")
        wait_for(lambda: len(h.executors()) == h.warm_count() == 1, "only the warm one is left")


def test_executor_died_meanwhile(build):
    with Host(build) as h:
        w, link = new_vm(h)
        link.open_ok(0, 0)
        pid = pids(h)[0]
        h.kill_mediator()
        os.kill(pid, signal.SIGKILL)
        h.start_mediator()
        link = back(h, w)
        resume(link, [(0, 0)])
        equal(link.expect(ENDED, 0).error, ERRORS["SESSION_EXECUTOR_DIED"], "why")
        equal(link.close_session(0).type, CLOSED, "CLOSE")
        link.open_ok(0, 0)


def test_close_waits_for_the_executor(build):
    """A stopped executor cannot report to the new mediator: its extents are not the client's yet."""
    with Host(build, mediator_args=("--grace-ms", "60000")) as h:
        w, link = new_vm(h)
        link.open_ok(0, 0)
        pid = pids(h)[0]
        os.pwrite(w, b"mine", 4096)
        h.kill_mediator()
        os.kill(pid, signal.SIGSTOP)
        h.start_mediator()
        link = back(h, w)
        resume(link, [(0, 0)])
        link.simple(CLOSE, 0)
        wait_for(lambda: [s for s in h.call("session.list") if s["state"] == "resuming"], "the session is known")
        no_answer(link)
        equal(os.pread(w, 4, 4096), b"mine", "the extent is untouched")
        os.kill(pid, signal.SIGCONT)
        equal(link.expect(CLOSED, 0).error, 0, "CLOSE")
        check(not os.path.exists(f"/proc/{pid}"), "the executor is gone first")
        equal(os.pread(w, 4, 4096), bytes(4), "the extent is clear")


def test_warm_executors_are_kept(build):
    with Host(build, warm=2) as h:
        h.wait_warm(2)
        before = sorted(h.executors())
        h.kill_mediator()
        h.start_mediator()
        h.wait_warm(2)
        equal(sorted(h.executors()), before, "warm executors after a restart")


def test_jailer_killed(build):
    for sig in (signal.SIGKILL, signal.SIGTERM):
        with Host(build) as h:
            h.add_local(window_bytes=64 * MIB)
            link = h.local()
            link.hello()
            link.open_ok(0, 0)
            h.wait_warm()
            before = sorted(h.executors())
            h.kill_jailer(sig)
            equal(link.heap(0, 0, EXTENT, EXTENT).error, 0, "the session goes on without a jailer")
            wait_for(lambda: not h.call("status")["jailer"]["connected"], "the mediator notices")
            h.start_jailer()
            wait_for(lambda: h.call("status")["jailer"]["connected"], "the mediator reconnects")
            h.wait_warm()
            equal(sorted(h.executors()), before, "no executor is lost")
            link.open_ok(1, 4 * EXTENT)
            equal(link.close_session(0).type, CLOSED, "CLOSE of a session from before")
            wait_for(lambda: len(h.executors()) == 1 + h.warm_count(), "its executor is gone")


def test_executor_dies_without_a_jailer(build):
    with Host(build) as h:
        h.add_local(window_bytes=64 * MIB)
        link = h.local()
        link.hello()
        link.open_ok(0, 0)
        h.kill_jailer()
        wait_for(lambda: not h.call("status")["jailer"]["connected"], "the mediator notices")
        os.kill(pids(h)[0], signal.SIGKILL)
        h.start_jailer()
        equal(link.expect(ENDED, 0).error, ERRORS["SESSION_EXECUTOR_DIED"], "why")
        equal(link.close_session(0).type, CLOSED, "CLOSE")


def test_session_closed_without_a_jailer(build):
    """CLOSE while the jailer is away: answered when the executor is known to be gone."""
    with Host(build, env=["TEST_EXECUTOR=stay"], mediator_args=["--finish-ms", "100"]) as h:
        h.add_local(window_bytes=64 * MIB)
        link = h.local()
        link.hello()
        link.open_ok(0, 0)
        h.kill_jailer()
        wait_for(lambda: not h.call("status")["jailer"]["connected"], "the mediator notices")
        link.simple(CLOSE, 0)
        h.start_jailer()
        link.expect(CLOSED, 0)


def test_open_without_a_jailer(build):
    with Host(build, warm=0) as h:
        h.add_local()
        h.kill_jailer()
        wait_for(lambda: not h.call("status")["jailer"]["connected"], "the mediator notices")
        link = h.local()
        link.hello()
        m = link.open(0, 0)
        equal(m.error, ERRORS["HOST_NO_EXECUTOR"], "OPEN")
        check("vgpu-jailer" in m.text, f"says what is missing: {m.text}")


def test_both_killed(build):
    with Host(build) as h:
        w, link = new_vm(h)
        link.open_ok(0, 0)
        h.wait_warm()
        h.kill_mediator()
        h.kill_jailer()
        h.wait_executors(0)
        h.start_jailer()
        h.start_mediator()
        link = back(h, w)
        resume(link, [(0, 0)])
        equal(link.expect(ENDED, 0).error, ERRORS["SESSION_EXECUTOR_DIED"], "why")
        link.close_session(0)
        link.open_ok(0, 0)
        if os.getuid() == 0:
            wait_for(lambda: len(h.cgroups()) == 2, "cgroups of lost executors removed")


def test_two_mediators(build):
    with Host(build) as h:
        first = h.mediator
        h.call("status")
        p = subprocess.run([os.path.join(build, "host/mediator/vgpu-mediator"), "--config-db", f"{h.dir}/other.db",
                            "--run-dir", h.run, "--jailer", h.jailer_socket], stderr=subprocess.PIPE, text=True)
        check(p.returncode != 0 and "another mediator" in p.stderr, f"second mediator refused: {p.stderr}")
        check(first.poll() is None, "the first one goes on")
        h.call("status")


def test_repeated_kills(build):
    """No descriptor, process or cgroup is left over by ten restarts of each."""
    with Host(build) as h:
        w, link = new_vm(h)
        link.open_ok(0, 0)
        pid = pids(h)[0]
        for i in range(10):
            if i % 2:
                h.kill_jailer()
                h.start_jailer()
                wait_for(lambda: h.call("status")["jailer"]["connected"], "reconnect to the jailer")
            else:
                h.kill_mediator()
                link.close()
                h.start_mediator()
                link = back(h, w)
                resume(link, [(0, 0)])
                wait_for(lambda: pids(h) == {0: pid}, "session resumed")
        h.wait_warm()
        wait_for(lambda: len(h.executors()) == 2, "one session, one warm executor")
        if os.getuid() == 0:
            equal(len(h.cgroups()), 2, "cgroups")
        equal(link.close_session(0).type, CLOSED, "CLOSE at last")


def test_unprivileged_mediator(build):
    """As it is installed: the jailer is root, the mediator is not."""
    need_root()
    with Host(build, mediator_uid=54329) as h:
        h.add_local(uid=0)
        link = h.local()
        link.hello()
        link.open_ok(0, 0)
        h.kill_jailer()
        h.start_jailer()
        wait_for(lambda: h.call("status")["jailer"]["connected"], "reconnect")
        equal(link.close_session(0).type, CLOSED, "CLOSE")


def restarted(h, w, **kw):
    """A stub with session 0 at extent 0, its mediator restarted, reconnected."""
    link = h.stub()
    link.hello(window=w, window_bytes=64 * MIB, epoch=1)
    link.open_ok(0, 0)
    equal(link.heap(0, 0, EXTENT, EXTENT).error, 0, "HEAP_ADD")
    pid = pids(h)[0]
    h.kill_mediator()
    h.start_mediator()
    link = h.stub()
    equal(link.hello(window=w, window_bytes=64 * MIB, epoch=1, **kw).type, WELCOME, "reconnect")
    return link, pid


def test_reset_after_restart(build):
    """A reset that the earlier mediator has not seen: its sessions go, and all of the window is zero."""
    with Host(build) as h:
        h.add_vm(window_bytes=64 * MIB)
        w = memfd(64 * MIB)
        link, pid = restarted(h, w, resume=1)
        with mmap.mmap(w, 64 * MIB) as view:
            view[EXTENT:EXTENT + 4] = b"heap"
            link.simple(RESUMED)
            link.epoch = 2
            link.simple(RESET)
            equal(link.expect(RESET_DONE).epoch, 2, "epoch of RESET_DONE")
            check(not os.path.exists(f"/proc/{pid}"), "the executor of the older epoch is gone")
            equal(view[EXTENT:EXTENT + 4], bytes(4), "its heap, which the new mediator never knew")
        link.open_ok(0, 0)


def test_reset_to_the_same_epoch(build):
    with Host(build) as h:
        h.add_vm(window_bytes=64 * MIB)
        link, pid = restarted(h, memfd(64 * MIB), resume=1)
        resume(link, [(0, 0)], [(0, 0, EXTENT, EXTENT)])
        wait_for(lambda: pids(h) == {0: pid}, "session resumed")
        link.simple(RESET)
        link.expect(RESET_DONE)
        check(not os.path.exists(f"/proc/{pid}"), "executor gone")


def test_new_life_of_a_vm(build):
    """The VM was started anew while the mediator was away: nothing of before is kept."""
    with Host(build) as h:
        h.add_vm(window_bytes=64 * MIB)
        link, pid = restarted(h, memfd(64 * MIB), resume=0)
        wait_for(lambda: not os.path.exists(f"/proc/{pid}"), "executor of the earlier life ended")
        link.open_ok(0, 0)


def test_resume_out_of_place(build):
    with Host(build) as h:
        h.add_vm(window_bytes=64 * MIB)
        for kind in (RESUME, RESUMED):
            link = h.stub()
            link.hello(window=memfd(64 * MIB), window_bytes=64 * MIB)
            if kind == RESUME:
                link.send_open(0, 0, kind=RESUME)
            else:
                link.simple(RESUMED)
            check(link.ended(), "RESUME where nothing is to be resumed")


def test_heap_sent_again(build):
    with Host(build) as h:
        h.add_vm(window_bytes=64 * MIB)
        link, _ = restarted(h, memfd(64 * MIB), resume=1)
        resume(link, [(0, 0)], [(0, 0, EXTENT, EXTENT)])
        wait_for(lambda: 0 in pids(h), "session resumed")
        equal(link.heap(0, 0, EXTENT, EXTENT).error, 0, "a run that the session has")
        equal(link.heap(0, 0, EXTENT, 2 * EXTENT).error, ERRORS["CALL_INVALID"], "another one at its place")


def test_impostor(build):
    """A taken-over executor says after a restart that it is another VM's: that VM is not harmed."""
    victim = uuid.uuid4()
    with Host(build, env=[f"TEST_VICTIM={victim.hex}"]) as h:
        h.add_vm("victim", uuid=str(victim), window_bytes=64 * MIB)
        h.add_vm("attacker", window_bytes=64 * MIB)
        links, windows = {}, {}
        for name, sid in (("attacker", 9), ("victim", 3)):
            windows[name] = memfd(64 * MIB)
            links[name] = h.stub(name)
            links[name].hello(window=windows[name], window_bytes=64 * MIB)
            links[name].open_ok(sid, 0)
        mine = pids(h)
        os.kill(mine[3], signal.SIGSTOP)  # the impostor speaks first
        h.kill_mediator()
        h.start_mediator()
        wait_for(lambda: h.call("status")["counters"]["executors_malformed"] == 1, "the impostor is noticed")
        os.kill(mine[3], signal.SIGCONT)
        link = h.stub("victim")
        link.hello(window=windows["victim"], window_bytes=64 * MIB, resume=1)
        resume(link, [(3, 0)])
        wait_for(lambda: pids(h).get(3) == mine[3], "the victim's session goes on")
        equal(h.call("vm.show", name="victim")["vram_used_bytes"], MIB, "its VRAM is known")
        wait_for(lambda: not os.path.exists(f"/proc/{mine[9]}"), "the impostor is gone")


def test_stopped_jailer_outlasts_the_grace_time(build):
    """Which executors live is not known while the jailer is stopped: no session is given up for that."""
    with Host(build, warm=0) as h:
        w, link = new_vm(h)
        link.open_ok(0, 0)
        before = pids(h)
        h.jailer.send_signal(signal.SIGSTOP)
        try:
            h.kill_mediator()
            h.start_mediator()
            link = back(h, w)
            resume(link, [(0, 0)])
            time.sleep(5)  # the grace time is 3 s
            equal([s["state"] for s in h.call("session.list")], ["resuming"], "the session waits")
        finally:
            h.jailer.send_signal(signal.SIGCONT)
        wait_for(lambda: pids(h) == before, "the same executor goes on")


def test_reset_without_a_jailer(build):
    """Only a VM that may have executors from before waits until the jailer says which live."""
    with Host(build, warm=0) as h:
        windows = {}
        for name in ("had", "new"):
            h.add_vm(name, window_bytes=64 * MIB)
            windows[name] = memfd(64 * MIB)
        link = h.stub("had")
        link.hello(window=windows["had"], window_bytes=64 * MIB)
        link.open_ok(0, 0)
        h.kill_jailer()
        h.kill_mediator()
        h.start_mediator()
        link = {}
        for name in ("had", "new"):
            link[name] = h.stub(name)
            link[name].hello(window=windows[name], window_bytes=64 * MIB)
            link[name].epoch = 1
            link[name].simple(RESET)
        link["new"].expect(RESET_DONE)
        link["had"].sock.settimeout(4)  # the grace time is 3 s
        answer = None
        try:
            answer = link["had"].recv()
        except TimeoutError:
            pass
        check(answer is None, f"no answer before it is known, got {answer!r}")
        link["had"].sock.settimeout(60)
        h.start_jailer()
        link["had"].expect(RESET_DONE)


def test_extents_wait_for_a_silent_executor(build):
    """Given up after the grace time, but not reaped yet: it may still write to what its session had."""
    for word in (CLOSE, RESET):
        with Host(build, warm=0) as h:
            w, link = new_vm(h)
            link.open_ok(0, 0)
            pid = pids(h)[0]
            os.pwrite(w, b"mine", 4096)
            os.kill(pid, signal.SIGSTOP)
            h.kill_mediator()
            h.start_mediator()
            wait_for(lambda: h.call("status")["jailer"]["connected"], "the jailer has told which executors live")
            h.jailer.send_signal(signal.SIGSTOP)  # and ends none now
            try:
                link = back(h, w)
                resume(link, [(0, 0)])
                equal(link.expect(ENDED, 0).error, ERRORS["SESSION_EXECUTOR_DIED"], "why")
                link.simple(word, 0)
                no_answer(link)
                equal(os.pread(w, 4, 4096), b"mine", "the extent is untouched")
            finally:
                h.jailer.send_signal(signal.SIGCONT)
            link.expect(CLOSED if word == CLOSE else RESET_DONE)
            check(not os.path.exists(f"/proc/{pid}"), "the executor is gone first")
            equal(os.pread(w, 4, 4096), bytes(4), "the extent is clear")
            os.close(w)


def test_executor_that_says_it_is_new(build):
    """A taken-over executor says after a restart that it is warm: it must not get a second VM's session."""
    with Host(build, warm=0) as h:
        h.add_vm("attacker", window_bytes=64 * MIB)
        h.add_vm("victim", window_bytes=64 * MIB)
        link = h.stub("attacker")
        link.hello(window=memfd(64 * MIB), window_bytes=64 * MIB)
        link.open_ok(10, 0)
        pid = pids(h)[10]
        h.kill_mediator()
        h.start_mediator()
        victim = h.stub("victim")
        victim.hello(window=memfd(64 * MIB), window_bytes=64 * MIB)
        victim.open_ok(3, 0)
        check(pids(h)[3] != pid, "the victim's session has a process of its own")
        equal(h.call("status")["counters"]["executors_malformed"], 1, "the false one is noticed")
        wait_for(lambda: not os.path.exists(f"/proc/{pid}"), "and ended")


def test_silent_executor_holds_up_its_own_vm_only(build):
    """An executor that does not answer a new mediator: other VMs' sessions open at once."""
    with Host(build) as h:
        h.add_vm("silent", window_bytes=64 * MIB)
        h.add_vm("other", window_bytes=64 * MIB)
        link = h.stub("silent")
        link.hello(window=memfd(64 * MIB), window_bytes=64 * MIB)
        link.open_ok(0, 0)
        pid = pids(h)[0]
        os.kill(pid, signal.SIGSTOP)
        h.kill_mediator()
        h.start_mediator()
        other = h.stub("other")
        other.hello(window=memfd(64 * MIB), window_bytes=64 * MIB)
        other.open_ok(5, 0)
        check(os.path.exists(f"/proc/{pid}"), "the silent one is still waited for")
        wait_for(lambda: not os.path.exists(f"/proc/{pid}"), "and ended after the grace time")
