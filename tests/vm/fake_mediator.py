# SPDX-License-Identifier: MIT
"""The host's side of protocol/link for tests of the guest driver and the vgpu-stub, without executors.

It answers as a mediator does, records every extent that it is given, clears extents before CLOSED and
RESET_DONE, and does what a test asks: hold answers back, refuse, end sessions. In place of an executor it
serves one call on each doorbell (struct probe of guest/drvtest.c).
"""

import mmap
import os
import select
import socket
import struct
import threading
import time

HEADER = struct.Struct('<IIII')
HELLO, OPEN, HEAP_ADD, CLOSE, RESET, RESUME, RESUMED = range(1, 8)
WELCOME, REFUSED, OPENED, HEAP_ADDED, ENDED, CLOSED, RESET_DONE, STATUS = range(16, 24)
HOST_INTERNAL = 0x5000a
MAGIC = 0x4b4e4c56
VERSION = 1 << 16
EXTENT = 2 << 20

# Offsets in the control area, see struct probe in guest/drvtest.c.
SESSION_MAGIC = 0x53535653
PROBE = 0x1000
PROBE_CALL = struct.Struct('<IIQQ')  # number, operation, heap offset, bytes
PROBE_ANSWER = 0x1040
OP_ECHO, OP_INVERT, OP_SILENT = 1, 2, 3


class Session:
    """What the mediator knows of one session."""

    def __init__(self, sid, epoch, control, arena, pid, doorbell, interrupt):
        self.sid, self.epoch, self.control, self.arena, self.pid = sid, epoch, control, arena, pid
        self.doorbell, self.interrupt = doorbell, interrupt
        self.runs = []          # (heap offset, window offset, bytes)
        self.refused = []       # extents that its executor has seen and did not take
        self.rings = 0

    def extents(self):
        """Numbers of the window extents that the session has."""
        found = [self.control // EXTENT] + self.refused
        for _, window, size in self.runs:
            found += range(window // EXTENT, (window + size) // EXTENT)
        return found

    def close(self):
        for fd in (self.doorbell, self.interrupt):
            if fd is not None:
                os.close(fd)
        self.doorbell = self.interrupt = None


class FakeMediator:
    """Listens on `path` in a thread of its own. Attributes may be set at any time:

    hold         set of message types that are not answered until it is changed (release() answers them)
    refuse       {message type: (error, value, limit)}
    sessions     limit named in WELCOME
    """

    def __init__(self, path, sessions=64):
        self.path = path
        self.hold = set()
        self.refuse = {}
        self.session_limit = sessions
        self.live = {}          # sid -> Session
        self.window = None
        self.epoch = 0
        self.faults = []        # what the other side did wrong
        self.history = []       # (message type, sid)
        self.held = []
        self.changed = threading.Condition()
        self.link = None
        self.listener = None
        self.wake_read, self.wake_write = os.pipe()
        self.running = True
        self.listen()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    # ---- for tests ----

    def wait(self, condition, what, timeout=120):
        with self.changed:
            if not self.changed.wait_for(condition, timeout):
                raise AssertionError('%s did not come true; history %s, faults %s'
                                     % (what, self.history[-20:], self.faults))

    def release(self):
        """Answers what was held back."""
        with self.changed:
            self.hold = set()
            held, self.held = self.held, []
            for message in held:
                self._answer(*message)

    def end(self, sid, error):
        """Ends a session as the host does when its executor has died."""
        with self.changed:
            session = self.live[sid]
            self._send(ENDED, session.epoch, sid, error)

    def listen(self):
        if self.listener is None:
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            listener.bind(self.path)
            listener.listen(1)
            self.listener = listener
            os.write(self.wake_write, b'x')

    def vanish(self):
        """As if the mediator had died: its executors, the sessions, live on."""
        with self.changed:
            self.listener.close()
            self.listener = None
            os.unlink(self.path)
            self._drop_link()
            os.write(self.wake_write, b'x')

    def close(self):
        self.running = False
        os.write(self.wake_write, b'x')
        self.thread.join()
        with self.changed:
            if self.listener:
                self.vanish()
            self._drop_link()
            for session in self.live.values():
                session.close()
            if self.window:
                self.window.close()
        os.close(self.wake_read)
        os.close(self.wake_write)

    # ---- the thread ----

    def _run(self):
        while self.running:
            with self.changed:
                watched = {self.wake_read: None}
                if self.link:
                    watched[self.link.fileno()] = self._link_ready
                elif self.listener:
                    watched[self.listener.fileno()] = self._accept
                for session in self.live.values():
                    if session.doorbell is not None:
                        watched[session.doorbell] = session
            ready, _, _ = select.select(list(watched), [], [])
            with self.changed:
                for fd in ready:
                    todo = watched[fd]
                    if fd == self.wake_read:
                        os.read(fd, 4096)
                    elif isinstance(todo, Session):
                        self._doorbell(todo)
                    else:
                        todo()
                self.changed.notify_all()

    def _accept(self):
        if self.listener and not self.link:
            self.link, _ = self.listener.accept()

    def _drop_link(self):
        if self.link:
            self.link.close()
        self.link = None
        self.held = []

    def _fault(self, text):
        self.faults.append(text)
        self._drop_link()

    def _link_ready(self):
        if not self.link:
            return
        try:
            data, fds, _, _ = socket.recv_fds(self.link, 2048, 4)
        except OSError:
            data, fds = b'', []
        if not data:
            self._drop_link()
            return
        kind, size, epoch, sid = HEADER.unpack_from(data)
        if size != len(data):
            self._fault('message of type %d says %d bytes and has %d' % (kind, size, len(data)))
            return
        self.history.append((kind, sid))
        if kind == HELLO:
            self._hello(data, fds, epoch)
        elif kind in (OPEN, RESUME):
            self._open(kind, data, fds, epoch, sid)
        elif kind == HEAP_ADD:
            self._heap_add(data, epoch, sid)
        elif kind in (CLOSE, RESET):
            self._answer(kind, epoch, sid, 0, 0, 0)
        elif kind != RESUMED:
            self._fault('message of unknown type %d' % kind)

    def _hello(self, data, fds, epoch):
        magic, _, version, kind, _, resume, window_bytes = struct.unpack_from('<IIIIIIQ', data, 16)
        if magic != MAGIC or version >> 16 != 1 or kind != 1 or len(fds) != 1:
            self._fault('HELLO with magic %#x, version %#x, kind %d, %d descriptors' % (magic, version, kind, len(fds)))
            return
        if self.window:
            self.window.close()
        self.window = mmap.mmap(fds[0], window_bytes)
        os.close(fds[0])
        self.epoch = epoch
        if not resume:
            self._clear_all()
        self.link.send(HEADER.pack(WELCOME, 48, epoch, 0) +
                       struct.pack('<IIIIQQ', VERSION, 1, 0, self.session_limit, window_bytes, 0))

    def _open(self, kind, data, fds, epoch, sid):
        control, arena, _, pid = struct.unpack_from('<QIII', data, 16)
        if kind == RESUME:
            if sid not in self.live:
                self.live[sid] = Session(sid, epoch, control, arena, pid, None, None)
                self._send(ENDED, epoch, sid, 0x30002)
            return
        if len(fds) != 2 or sid in self.live:
            self._fault('OPEN of session %d with %d descriptors, live: %s' % (sid, len(fds), sorted(self.live)))
            return
        session = Session(sid, epoch, control, arena, pid, fds[0], fds[1])
        self._claim(sid, session.extents())
        self.live[sid] = session
        self._answer(OPEN, epoch, sid, 0, 0, 0)

    def _heap_add(self, data, epoch, sid):
        heap, window, size, flags = struct.unpack_from('<QQQI', data, 16)
        if sid not in self.live:
            self._fault('HEAP_ADD of session %d, which is not open' % sid)
            return
        if (heap, window, size) in self.live[sid].runs:
            # told at RESUME, or asked again because the answer was lost with the link
            if not flags & 1:
                self._send(HEAP_ADDED, epoch, sid, 0)
            return
        self._claim(sid, range(window // EXTENT, (window + size) // EXTENT))
        self._answer(HEAP_ADD, epoch, sid, heap, window, size)

    def _claim(self, sid, extents):
        """A driver must never give an extent to two sessions, nor one that is not clear."""
        for other in self.live.values():
            both = set(extents) & set(other.extents())
            if both:
                self.faults.append('session %d was given extents %s of session %d' % (sid, sorted(both), other.sid))
        for extent in extents:
            if self.window[extent * EXTENT:(extent + 1) * EXTENT].strip(b'\0'):
                self.faults.append('extent %d was not clear when session %d got it' % (extent, sid))

    def _answer(self, kind, epoch, sid, heap, window, size):
        if kind in self.hold:
            self.held.append((kind, epoch, sid, heap, window, size))
            return
        error, value, limit = self.refuse.get(kind, (0, 0, 0))
        if kind == OPEN:
            session = self.live[sid]
            if error:
                self._forget(sid)
            else:
                struct.pack_into('<IIII', self.window, session.control, SESSION_MAGIC, VERSION, 1, session.arena)
            self._send(OPENED, epoch, sid, error, value, limit)
        elif kind == HEAP_ADD:
            if not error:
                self.live[sid].runs.append((heap, window, size))
            elif error >> 16 != 5 or error == HOST_INTERNAL:
                self.live[sid].refused += range(window // EXTENT, (window + size) // EXTENT)
            self._send(HEAP_ADDED, epoch, sid, error, value, limit)
        elif kind == CLOSE:
            if not error and sid in self.live:
                self._forget(sid)
            self._send(CLOSED, epoch, sid, error, value, limit)
        elif kind == RESET:
            self.epoch = epoch
            self._clear_all()
            self._send(RESET_DONE, epoch, 0, 0)

    def _forget(self, sid):
        session = self.live.pop(sid)
        for extent in session.extents():
            self.window[extent * EXTENT:(extent + 1) * EXTENT] = bytes(EXTENT)
        session.close()

    def _clear_all(self):
        for sid in list(self.live):
            self._forget(sid)

    def _send(self, kind, epoch, sid, error, value=0, limit=0):
        if not self.link:
            return
        try:
            self.link.send(HEADER.pack(kind, 288, epoch, sid) + struct.pack('<IIII', error, value, limit, 0) + bytes(256))
        except OSError:
            self._drop_link()   # QEMU has ended

    # ---- in place of an executor ----

    def _doorbell(self, session):
        if session.doorbell is None:
            return
        try:
            os.read(session.doorbell, 8)
        except BlockingIOError:
            return
        session.rings += 1
        number, operation, offset, size = PROBE_CALL.unpack_from(self.window, session.control + PROBE)
        if operation == OP_SILENT:
            return
        if operation == OP_INVERT:
            self._invert(session, offset, size)
        struct.pack_into('<I', self.window, session.control + PROBE_ANSWER, number)
        os.write(session.interrupt, struct.pack('<Q', 1))

    def _invert(self, session, offset, size):
        for heap, window, bytes_ in session.runs:
            start, end = max(offset, heap), min(offset + size, heap + bytes_)
            if start < end:
                at = window + start - heap
                piece = self.window[at:at + end - start]
                self.window[at:at + end - start] = piece.translate(INVERTED)


INVERTED = bytes(255 - n for n in range(256))


def until(condition, what, timeout=120):
    """Polls a condition that nobody signals."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise AssertionError('%s did not come true' % what)
        time.sleep(0.1)
