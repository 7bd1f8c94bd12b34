# SPDX-License-Identifier: MIT
"""The control socket: errors, roles, configuration."""
import json
import os

from test_identity import as_user
from vgpu_host import MIB, Host, check, equal, memfd, need_root, wait_for


def code(answer):
    check("error" in answer, f"expected an error, got {answer}")
    check(len(answer["error"]["message"]) > 5, "a sentence")
    return answer["error"]["code"]


def test_errors(build):
    with Host(build, warm=0) as h:
        c = h.control()
        equal(code(c.raw(b"not json\n")), -32700, "not JSON")
        equal(code(c.raw(b"[" * 20 + b"]" * 20 + b"\n")), -32700, "nested too deeply")
        equal(code(c.raw(b"[]\n")), -32600, "batch")
        equal(code(c.raw(b'{"jsonrpc":"1.0","id":1,"method":"status"}\n')), -32600, "version")
        equal(code(c.raw(b'{"jsonrpc":"2.0","id":{},"method":"status"}\n')), -32600, "id")
        equal(code(c.raw(b'{"jsonrpc":"2.0","id":1,"method":5}\n')), -32600, "method")
        equal(code(c.raw(b'{"jsonrpc":"2.0","id":1,"method":"status","params":[1]}\n')), -32602, "positional")
        equal(code(c.raw(b'{"jsonrpc":"2.0","id":1,"id":2,"method":"status"}\n')), -32700, "duplicate key")
        equal(code(c.call("nothing")), -32601, "method")
        equal(code(c.call("status", extra=1)), -32602, "unknown parameter")
        equal(code(c.call("vm.add")), -32602, "missing name")
        for bad in ("", "-a", ".a", "a/b", "a b", "x" * 64, "ä", "a\u0000b"):
            check(code(c.call("vm.add", name=bad)) in (-32602, -32004, -32700), f"name {bad!r}")
        for key, bad in (("sessions", 0), ("sessions", 65), ("sessions", -1), ("sessions", "4"), ("sessions", 2**63 - 1),
                         ("window_bytes", 1), ("window_bytes", 2**60), ("vram_quota_bytes", -5), ("weight", 0),
                         ("priority", "highest"), ("kind", "x"), ("uuid", "12"), ("enabled", 1), ("uid", 5),
                         ("tenant", "nobody"), ("peer_uid", 2**32)):
            check(code(c.call("vm.add", name="x", **{key: bad})) in (-32602, -32004, -32002), f"{key} {bad}")
        equal(c.result("vm.list"), [], "nothing was added")
        check(code(c.call("vm.show", name="x")) == -32002, "unknown VM")
        check(code(c.call("session.end", id=4)) == -32002, "unknown session")


def test_notification_and_pipelining(build):
    with Host(build, warm=0) as h:
        c = h.control()
        c.file.write(b'{"jsonrpc":"2.0","method":"vm.add","params":{"name":"quiet"}}\n')
        lines = b"".join(json.dumps({"jsonrpc": "2.0", "id": i, "method": "vm.list"}).encode() + b"\n" for i in range(200))
        c.file.write(lines)
        c.file.flush()
        for i in range(200):
            answer = json.loads(c.file.readline())
            equal(answer["id"], i, "answers come in order")
            equal(len(answer["result"]), 1, "the notification was carried out")


def test_long_line(build):
    with Host(build, warm=0) as h:
        c = h.control()
        try:
            c.file.write(b"x" * (2 * MIB))
            c.file.flush()
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            line = c.file.readline()
        except ConnectionResetError:
            line = b""
        check(not line or json.loads(line)["error"]["code"] == -32700, "a line that is too long")
        h.call("status")


def test_client_that_does_not_read(build):
    with Host(build, warm=0) as h:
        for i in range(40):
            h.add_vm(f"vm{i}")
        c = h.control()
        c.sock.setblocking(False)
        request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "status"}).encode() + b"\n"
        try:
            for _ in range(100000):
                c.sock.sendall(request)
        except BlockingIOError:
            pass
        else:
            raise AssertionError("a client that does not read was never held back")
        h.call("status")


def test_tenants(build):
    with Host(build, warm=0) as h:
        c = h.control()
        equal([t["name"] for t in c.result("tenant.list")], ["default"], "first tenant")
        c.result("tenant.add", name="physics", weight=200, vram_quota_bytes=8 << 30)
        equal(code(c.call("tenant.add", name="physics")), -32003, "name taken")
        equal(code(c.call("vm.add", name="a", tenant="physics")), -32004, "VM without a quota in a tenant with one")
        c.result("vm.add", name="a", tenant="physics", vram_quota_bytes=6 << 30)
        answer = c.call("vm.add", name="b", tenant="physics", vram_quota_bytes=3 << 30)
        equal(code(answer), -32004, "sum above the tenant's quota")
        check("physics" in answer["error"]["message"], "names the tenant")
        c.result("vm.add", name="b", tenant="physics", vram_quota_bytes=2 << 30)
        equal(code(c.call("tenant.set", name="physics", vram_quota_bytes=7 << 30)), -32004, "quota below its VMs'")
        equal(code(c.call("tenant.remove", name="physics")), -32004, "tenant with VMs")
        c.result("vm.remove", name="a")
        c.result("vm.remove", name="b")
        c.result("tenant.remove", name="physics")
        equal(code(c.call("tenant.remove", name="default")), -32004, "the default tenant")


def test_configuration_is_kept(build):
    with Host(build, warm=0) as h:
        vm = h.add_vm("kept", sessions=7, vram_quota_bytes=5 << 30, priority="high", weight=3, window_bytes=64 * MIB,
                      peer_uid=1234)
        h.call("vm.set", name="kept", sessions=9)
        h.kill_mediator()
        h.start_mediator()
        again = h.call("vm.show", name="kept")
        equal(again["sessions"], 9, "changed setting")
        for key in ("uuid", "vram_quota_bytes", "priority", "weight", "window_bytes", "peer_uid", "socket"):
            equal(again[key], vm[key], key)
        check(os.path.exists(again["socket"]), "its socket")


def test_quota_changes_at_once(build):
    with Host(build) as h:
        h.add_local(vram_quota_bytes=1 << 30)
        link = h.local()
        link.hello()
        link.open_ok(0, 0)
        h.call("vm.set", name="me", vram_quota_bytes=None)
        equal(h.call("vm.show", name="me")["vram_quota_bytes"], None, "no quota")


def test_unique(build):
    with Host(build, warm=0) as h:
        c = h.control()
        vm = c.result("vm.add", name="a")
        equal(code(c.call("vm.add", name="a")), -32003, "name")
        equal(code(c.call("vm.add", name="b", uuid=vm["uuid"])), -32003, "UUID")
        c.result("vm.add", name="l", kind="local", uid=77)
        equal(code(c.call("vm.add", name="m", kind="local", uid=77)), -32003, "user")
        equal(code(c.call("vm.add", name="n", kind="local")), -32004, "local without a user")


def test_roles(build):
    need_root()
    with Host(build, mediator_args=["--admin-uid", "54330"]) as h:
        h.call("vm.add", name="theirs", kind="local", uid=54331)
        h.add_local()
        link = h.local()
        link.hello()
        link.open_ok(0, 0)
        other = h.call("session.list")[0]["id"]

        def stranger():
            return code(h.control().call("status")) == -32001

        def viewer():
            c = h.control()
            return ([v["name"] for v in c.result("vm.list")] == ["theirs"] and c.result("session.list") == [] and
                    c.result("status")["links"] == [] and code(c.call("vm.add", name="x")) == -32001 and
                    code(c.call("vm.show", name="me")) == -32002 and code(c.call("session.end", id=other)) == -32002 and
                    code(c.call("tenant.list")) == -32001 and code(c.call("doctor")) == -32001)

        def admin():
            return len(h.control().result("vm.list")) == 2

        check(as_user(54399, stranger), "a user without a VM")
        check(as_user(54331, viewer), "a user with a local VM")
        check(as_user(54330, admin), "an administrator by uid")


def test_role_follows_the_configuration(build):
    """What a connection may see is asked with every request: the name may be another user's VM by now."""
    need_root()
    with Host(build, warm=0) as h:
        h.call("vm.add", name="desk", kind="local", uid=54331)

        def former():
            c = h.control()
            good = [v["name"] for v in c.result("vm.list")] == ["desk"]
            os.write(to_parent[1], b"1")
            os.read(to_child[0], 1)
            return good and code(c.call("vm.list")) == -32001

        to_parent, to_child = os.pipe(), os.pipe()
        pid = os.fork()
        if not pid:
            os._exit(0 if as_user(54331, former) else 1)
        os.read(to_parent[0], 1)
        h.call("vm.remove", name="desk")
        h.call("vm.add", name="desk", kind="local", uid=54332)
        os.write(to_child[1], b"1")
        equal(os.waitpid(pid, 0)[1], 0, "the former owner sees nothing of the new one's")
        for fd in to_parent + to_child:
            os.close(fd)


def test_doctor_and_status(build):
    with Host(build) as h:
        h.wait_warm()
        checks = {c["check"]: c["verdict"] for c in h.call("doctor")["checks"]}
        equal(checks["jailer"], "ok", "jailer")
        equal(checks["executor"], "ok", "executor")
        s = h.call("status")
        equal(s["gpu"]["name"], "test executor", "GPU")
        if os.getuid() == 0:
            equal(s["sandbox"]["missing"], ["seccomp", "hmm-off"], "what the test executor lacks, and nothing else")
        h.kill_jailer()
        wait_for(lambda: {c["check"]: c["verdict"] for c in h.call("doctor")["checks"]}["jailer"] == "bad", "no jailer")


def test_newer_database(build):
    import sqlite3
    import subprocess
    with Host(build, warm=0) as h:
        h.kill_mediator()
        with sqlite3.connect(f"{h.dir}/config.db") as db:
            db.execute("PRAGMA user_version = 99")
        p = subprocess.run([os.path.join(build, "host/mediator/vgpu-mediator"), "--config-db", f"{h.dir}/config.db",
                            "--run-dir", h.run, "--jailer", h.jailer_socket], stderr=subprocess.PIPE, text=True)
        check(p.returncode and "newer program" in p.stderr, f"refuses a newer schema: {p.stderr}")


def test_disable_ends_sessions(build):
    with Host(build) as h:
        h.add_vm(window_bytes=32 * MIB)
        link = h.stub()
        link.hello(window=memfd(32 * MIB), window_bytes=32 * MIB)
        link.open_ok(0, 0)
        h.call("vm.set", name="vm1", enabled=False)
        check(link.ended(), "link of a disabled VM ends")
        wait_for(lambda: h.call("session.list") == [], "its sessions are gone")
