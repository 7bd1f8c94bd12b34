# SPDX-License-Identifier: MIT
"""Who may connect."""
import os
import sqlite3
import uuid

from vgpu_host import (ERRORS, MIB, REFUSED, STUB, VERSION, WELCOME, Host, check, equal, memfd, need_root, wait_for)


def refused(m, error, text):
    equal((m.type, m.error), (REFUSED, ERRORS[error]), text)
    check(len(m.text) > 10, f"{text}: a sentence")


def audit_rows(h):
    with sqlite3.connect(f"file:{h.dir}/config.db?mode=ro", uri=True) as db:
        return [r[0] for r in db.execute("SELECT what FROM audit ORDER BY id")]


def as_user(uid, f):
    """Runs f in a child with another uid; True when it returned true."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            code = 0 if f() else 1
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1] == 0


def test_unknown_user(build):
    with Host(build) as h:
        refused(h.local().hello(), "HOST_UNKNOWN_VM", "user without configuration")
        h.add_local(enabled=False)
        refused(h.local().hello(), "HOST_UNKNOWN_VM", "disabled user")
        h.call("vm.set", name="me", enabled=True)
        equal(h.local().hello().type, WELCOME, "enabled user")


def test_group_of_user(build):
    need_root()
    with Host(build) as h:
        h.call("vm.add", name="students", kind="local", gid=54321)
        check(not as_user(54320, lambda: h.local().hello().type == WELCOME), "another group")
        check(as_user(54321, lambda: h.local().hello().type == WELCOME), "primary group")


def test_versions(build):
    with Host(build) as h:
        h.add_local()
        refused(h.local().hello(oldest=VERSION + 5, version=VERSION + 9), "HOST_VERSION", "newer client")
        refused(h.local().hello(oldest=1, version=2), "HOST_VERSION", "older client")
        refused(h.local().hello(features=0), "HOST_VERSION", "client without the base feature")
        equal(h.local().hello(oldest=VERSION, version=VERSION + 9).type, WELCOME, "client that can do both")


def test_kind_of_socket(build):
    with Host(build) as h:
        h.add_local()
        h.add_vm()
        w = memfd(32 * MIB)
        refused(h.local().hello(kind=STUB, window=w, window_bytes=32 * MIB), "HOST_IDENTITY", "stub at the local socket")
        refused(h.stub().hello(kind=2), "HOST_IDENTITY", "local client at a VM's socket")


def test_wrong_uid(build):
    need_root()
    with Host(build) as h:
        h.add_vm(window_bytes=32 * MIB)

        def connect(name="vm1"):
            return h.stub(name).hello(window=memfd(32 * MIB), window_bytes=32 * MIB)

        def wrong():
            m = connect()
            return m.type == REFUSED and m.error == ERRORS["HOST_IDENTITY"]

        check(as_user(54321, wrong), "another user at the VM's socket is refused")
        rows = audit_rows(h)
        check(any("uid 54321" in r for r in rows), f"audit record, have {rows}")
        h.call("vm.set", name="vm1", peer_uid=54321)
        check(as_user(54321, lambda: connect().type == WELCOME), "the expected user")
        m = connect()
        equal((m.type, m.error), (REFUSED, ERRORS["HOST_IDENTITY"]), "root, when another is expected")
        equal(h.call("status")["counters"]["identity_refused"], 2, "counter")


def test_uuid(build):
    own = uuid.uuid4()
    with Host(build) as h:
        h.add_vm(uuid=str(own), window_bytes=32 * MIB)
        m = h.stub().hello(window=memfd(32 * MIB), window_bytes=32 * MIB, uuid=uuid.uuid4().bytes)
        refused(m, "HOST_IDENTITY", "another VM's UUID")
        check(any("by UUID" in r for r in audit_rows(h)), "audit record")
        m = h.stub().hello(window=memfd(32 * MIB), window_bytes=32 * MIB, uuid=own.bytes)
        equal(m.type, WELCOME, "the VM's own UUID")


def test_second_connection(build):
    with Host(build) as h:
        h.add_vm(window_bytes=32 * MIB)
        first = h.stub()
        first.hello(window=memfd(32 * MIB), window_bytes=32 * MIB)
        first.open_ok(0, 0)
        m = h.stub().hello(window=memfd(32 * MIB), window_bytes=32 * MIB)
        refused(m, "HOST_BUSY", "second connection")
        equal(len(h.call("session.list")), 1, "the first one's session lives")
        equal(h.call("status")["links"][0]["identity"], "by path only", "identity in status")
        first.close()
        second = h.stub()
        m = second.hello(window=memfd(32 * MIB), window_bytes=32 * MIB)
        equal(m.type, WELCOME, "connection right after the first one's end")
        second.open_ok(0, 0)


def test_window_that_drains(build):
    """A client that comes back with its window while its old executor lives must wait."""
    with Host(build, env=["TEST_EXECUTOR=stay"]) as h:
        h.add_vm(window_bytes=32 * MIB)
        w = memfd(32 * MIB)
        link = h.stub()
        link.hello(window=w, window_bytes=32 * MIB)
        link.open_ok(0, 0)
        link.close()

        def again():
            m = h.stub().hello(window=w, window_bytes=32 * MIB)
            check(m.type == WELCOME or m.error == ERRORS["HOST_BUSY"], f"unexpected {m!r}")
            return m.type == WELCOME

        wait_for(again, "the window is accepted when the executor is reaped")


def test_removed_vm(build):
    with Host(build) as h:
        h.add_vm(window_bytes=32 * MIB)
        link = h.stub()
        link.hello(window=memfd(32 * MIB), window_bytes=32 * MIB)
        link.open_ok(0, 0)
        h.call("vm.remove", name="vm1")
        check(link.ended(), "link of a removed VM ends")
        check(not os.path.exists(f"{h.run}/vm/vm1.sock"), "its socket is gone")
        wait_for(lambda: len(h.executors()) == h.warm_count(), "its executor is gone")


def test_removed_vm_with_an_idle_link(build):
    """Nothing keeps the VM once its link is dropped: it goes in the middle of being removed."""
    with Host(build, warm=0) as h:
        for name in ("vm1", "vm2"):
            h.add_vm(name, window_bytes=64 * MIB)
        links = [h.stub("vm1"), h.stub("vm2")]
        for link in links:
            equal(link.hello(window=memfd(64 * MIB), window_bytes=64 * MIB).type, WELCOME, "HELLO")
        h.call("vm.remove", name="vm1")
        check(links[0].ended(), "the link ends")
        equal([v["name"] for v in h.call("vm.list")], ["vm2"], "what is left")
        equal(len(h.call("status")["links"]), 1, "links")
