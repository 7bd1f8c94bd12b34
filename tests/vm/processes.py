# SPDX-License-Identifier: MIT
"""Processes and a temporary folder that vanish with the test that started them."""

import atexit
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)
_live = []


class ProcessError(Exception):
    pass


def _with_parent():
    """In a new child: die when the test dies, however it dies."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.setsid()


class Process:
    """A started program; its output goes to a log file."""

    def __init__(self, name, argv, log, env=None, cwd=None, pass_fds=()):
        self.name, self.argv, self.log = name, list(argv), log
        with open(log, 'ab') as out:
            try:
                self.popen = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                              preexec_fn=_with_parent, cwd=cwd, pass_fds=pass_fds,
                                              env=dict(os.environ, **(env or {})))
            except OSError as error:
                raise ProcessError('%s can\'t be started: %s' % (name, error))
        self.pid = self.popen.pid

    def alive(self):
        return self.popen.poll() is None

    def output(self):
        with open(self.log, errors='replace') as f:
            return f.read()

    def kill(self, sig=signal.SIGKILL):
        """Sends a signal to this process alone (not to its children)."""
        if self.alive():
            os.kill(self.pid, sig)

    def stop(self):
        self.kill(signal.SIGSTOP)

    def cont(self):
        self.kill(signal.SIGCONT)

    def wait(self, timeout=120):
        """Returns the exit status, negative for a signal."""
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ProcessError('%s (process %d) has not ended within %s s; its output: %s'
                               % (self.name, self.pid, timeout, self.output()[-2000:]))

    def end(self, grace=20):
        """Asks it to end, and makes it end when it does not. Returns the exit status."""
        if self.alive():
            self.cont()
            self.kill(signal.SIGTERM)
            try:
                self.popen.wait(grace)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.popen.wait()


class Workplace:
    """A temporary folder and the processes started in it; ends both. Usable in a with statement."""

    def __init__(self, name):
        self.name = name
        # Short, since Unix socket paths have room for 107 characters.
        self.dir = tempfile.mkdtemp(prefix='vgpu-%s-' % name[:12], dir='/tmp')
        self.processes = []
        _live.append(self)

    def path(self, name):
        return os.path.join(self.dir, name)

    def start(self, name, argv, ready=None, timeout=60, env=None, cwd=None, pass_fds=()):
        """Starts a program. `ready` is a path that appears, or a function that returns true, when it is up."""
        process = Process(name, argv, self.path(name + '.log'), env, cwd, pass_fds)
        self.processes.append(process)
        if ready is not None:
            condition = ready if callable(ready) else lambda: os.path.exists(ready)
            end = time.monotonic() + timeout
            while not condition():
                if not process.alive():
                    raise ProcessError('%s ended with status %d while it started; its output: %s'
                                       % (name, process.wait(), process.output()[-2000:]))
                if time.monotonic() > end:
                    raise ProcessError('%s was not ready within %d s; its output: %s'
                                       % (name, timeout, process.output()[-2000:]))
                time.sleep(0.02)
        return process

    def close(self):
        """Ends the processes, the last started first, and removes the folder."""
        if self in _live:
            _live.remove(self)
        for process in reversed(self.processes):
            process.end()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


@atexit.register
def _close_all():
    for workplace in list(_live):
        workplace.close()


def become_subreaper():
    """From now on orphans become children of this process, so that leftovers() sees them."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants(pid=None):
    """(pid, ppid, command name) of all descendants that are not zombies."""
    pid = pid or os.getpid()
    table = {}
    for name in os.listdir('/proc'):
        if not name.isdigit():
            continue
        try:
            with open('/proc/%s/stat' % name) as f:
                head, _, tail = f.read().rpartition(')')
        except OSError:
            continue
        fields = tail.split()
        table[int(name)] = (int(fields[1]), head.partition('(')[2], fields[0])
    found, todo = [], [pid]
    while todo:
        parent = todo.pop()
        for child, (ppid, command, state) in table.items():
            if ppid == parent:
                todo.append(child)
                if state != 'Z':
                    found.append((child, ppid, command))
    return found
