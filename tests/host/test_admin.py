# SPDX-License-Identifier: MIT
"""vgpu-admin as people and programs use it, and the manual pages."""
import json
import os
import re
import shutil
import subprocess

from vgpu_host import MIB, Host, Skip, check, equal

root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")


class Admin:
    def __init__(self, build, h):
        self.program = os.path.join(build, "host/admin/vgpu-admin")
        self.socket = os.path.join(h.run, "control.sock")

    def run(self, *words, code=0):
        p = subprocess.run([self.program, "--socket", self.socket, *words], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True)
        equal(p.returncode, code, f"exit status of {' '.join(words)} ({p.stderr.strip()})")
        return p.stdout if code == 0 else p.stderr


def test_vm_commands(build):
    with Host(build, warm=0) as h:
        a = Admin(build, h)
        out = a.run("vm", "add", "web1", "--vram", "8G", "--sessions=4", "--window", "512M", "--priority", "high",
                    "--peer-uid", "root")
        check("limit 8 GiB" in out and "web1.sock" in out, out)
        vm = json.loads(a.run("--json", "vm", "show", "web1"))
        equal((vm["vram_quota_bytes"], vm["sessions"], vm["window_bytes"], vm["priority"], vm["peer_uid"]),
              (8 << 30, 4, 512 * MIB, "high", 0), "settings")
        a.run("vm", "set", "web1", "--vram", "none", "--peer-uid", "none")
        vm = json.loads(a.run("vm", "show", "web1", "--json"))
        equal((vm["vram_quota_bytes"], vm["peer_uid"]), (None, None), "settings taken away")
        a.run("vm", "add", "me", "--kind", "local", "--uid", "root")
        lines = a.run("vm", "list").splitlines()
        equal([line.split()[0] for line in lines], ["NAME", "me", "web1"], "table")
        equal(len(json.loads(a.run("vm", "list", "--json"))), 2, "list as JSON")
        a.run("vm", "remove", "web1")
        check("no VM web1" in a.run("vm", "remove", "web1", code=1), "message for an unknown VM")
        check("must be 1 to 64" in a.run("vm", "set", "me", "--sessions", "99", code=1), "message with the limit")


def test_usage(build):
    with Host(build, warm=0) as h:
        a = Admin(build, h)
        for words in ((), ("nonsense",), ("vm",), ("vm", "nonsense"), ("vm", "add"), ("vm", "add", "a", "b"),
                      ("vm", "add", "a", "--nonsense", "1"), ("vm", "add", "a", "--vram"),
                      ("vm", "add", "a", "--vram", "8X"), ("vm", "add", "a", "--vram", "-1"),
                      ("vm", "add", "a", "--sessions", "x"), ("vm", "add", "a", "--uid", "no-such-user"),
                      ("vm", "add", "a", "--enabled", "maybe"), ("status", "x"), ("session", "end"),
                      ("session", "end", "x"), ("vm", "list", "x")):
            check(a.run(*words, code=2), f"a message for {words}")
        equal(a.run("vm", "list").splitlines()[1:], [], "nothing was added")


def test_tenants(build):
    with Host(build, warm=0) as h:
        a = Admin(build, h)
        a.run("tenant", "add", "physics", "--weight", "200", "--vram", "16G")
        a.run("tenant", "set", "physics", "--weight", "300")
        check(re.search(r"physics +300 +16 GiB", a.run("tenant", "list")), "table")
        a.run("tenant", "remove", "physics")
        check("default" in a.run("tenant", "remove", "default", code=1), "the default tenant stays")


def test_status_and_sessions(build):
    with Host(build) as h:
        a = Admin(build, h)
        check("none in use yet" in a.run("status") or "test executor" in a.run("status"), "GPU before the first session")
        h.add_local()
        link = h.local()
        link.hello()
        link.open_ok(0, 0)
        h.wait_warm()
        out = a.run("status")
        for part in ("jailer     connected", "test executor (software GPU)", "CUDA 12.4", "1 in use, 1 warm of 1",
                     "windows    1 GiB of", "me"):
            check(part in out, f"{part!r} in status:\n{out}")
        table = a.run("session", "list").splitlines()
        equal(len(table), 2, "session table")
        number = table[1].split()[0]
        a.run("session", "end", number)
        check("no session" in a.run("session", "end", "999", code=1), "unknown session")
        h.kill_jailer()
        from vgpu_host import wait_for
        wait_for(lambda: "NOT CONNECTED" in a.run("status"), "status without a jailer")


def test_no_mediator(build):
    with Host(build, warm=0) as h:
        a = Admin(build, h)
        h.kill_mediator()
        check("is it running?" in a.run("status", code=1), "message without a mediator")
        h.start_mediator()


def test_doctor(build):
    with Host(build) as h:
        h.wait_warm()
        a = Admin(build, h)

        def doctor(*names):
            p = subprocess.run([a.program, "--socket", a.socket, "--json", "doctor"], stdout=subprocess.PIPE, text=True)
            checks = {c["check"]: c for c in json.loads(p.stdout)}
            for name in ("kernel", "namespaces", "cgroups", "kvm", "qemu", "mediator") + names:
                check(name in checks, f"check {name}")
            for name, c in checks.items():
                check(c["verdict"] in ("ok", "warning", "bad"), f"verdict of {name}")
                check(c["verdict"] != "bad" or c["action"] or name == "mediator", f"{name}: what to do")
            return checks

        software = h.call("status")["gpu"]["software"]
        checks = doctor("jailer", "executor", "sandbox", *(() if software else ("driver", "gpus", "hmm")))
        equal(checks["mediator"]["verdict"], "ok", "mediator")
        check(not software or "driver" not in checks, "no word about NVIDIA's driver where it is not used")
        h.kill_mediator()
        equal(doctor("driver", "gpus", "hmm")["mediator"]["verdict"], "bad", "mediator that is not there")


def options_of(text):
    return set(re.findall(r"--[a-z][a-z-]+", text.replace("\\-", "-").replace("\\fR", "").replace("\\fP", "")))


def test_manual_pages(build):
    """Each option of --help is in the manual page, and the other way round."""
    for program, page in (("host/jailer/vgpu-jailer", "host/jailer/vgpu-jailer.8"),
                          ("host/mediator/vgpu-mediator", "host/mediator/vgpu-mediator.8"),
                          ("host/admin/vgpu-admin", "host/admin/vgpu-admin.1")):
        help_text = subprocess.run([os.path.join(build, program), "--help"], stdout=subprocess.PIPE, text=True,
                                   check=True).stdout
        with open(os.path.join(root, page)) as f:
            manual = f.read()
        there, here = options_of(help_text), options_of(manual)
        here -= {"--admin-uid"} if program.endswith("admin") else set()
        equal(sorted(here ^ there), [], f"options that {page} and --help do not share")
        for default in re.findall(r"\((/[^)]*|[0-9][^)]*)\)", help_text):
            check(default in manual.replace("\\-", "-"), f"{page} says the default {default}")
        if shutil.which("man"):
            p = subprocess.run(["man", "--warnings", "-l", "-E", "ascii", os.path.join(root, page)],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "MANPAGER": "cat", "MANWIDTH": "80"})
            equal((p.returncode, p.stderr), (0, ""), f"{page} is well-formed")


def test_completion(build):
    bash = shutil.which("bash")
    if not bash:
        raise Skip("no bash")
    script = """
        source "$1"
        complete_line() { COMP_WORDS=($1); COMP_CWORD=$2; COMPREPLY=(); _vgpu_admin; echo "${COMPREPLY[*]}"; }
        complete_line "vgpu-admin st" 1
        complete_line "vgpu-admin vm a" 2
        complete_line "vgpu-admin vm add web1 --vr" 4
        complete_line "vgpu-admin vm add web1 --kind l" 5
    """
    p = subprocess.run([bash, "-c", script, "x", os.path.join(root, "host/admin/vgpu-admin.bash")],
                       stdout=subprocess.PIPE, text=True, check=True)
    equal(p.stdout.splitlines(), ["status", "add", "--vram", "local"], "completions")
