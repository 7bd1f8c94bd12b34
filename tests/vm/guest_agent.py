# SPDX-License-Identifier: MIT
"""The host's end of agent.h: runs commands in a guest through a virtio-serial port."""

import collections
import os
import select
import socket
import struct
import threading
import time

HEADER = struct.Struct('<4sB3xII')
MAGIC = b'VgA\x01'

Result = collections.namedtuple('Result', 'rc out err')


class GuestError(Exception):
    """A command in a guest failed, or the guest is gone."""


class Command:
    """A command running in the guest. `out` and `err` grow while it runs."""

    def __init__(self, agent, number, text):
        self.agent, self.number, self.text = agent, number, text
        self.out = b''
        self.err = b''
        self.rc = None      # exit status; 128 + signal number when a signal ended it
        self.gone = None    # why no exit status will ever come

    def done(self):
        return self.rc is not None or self.gone is not None

    def wait(self, timeout=None):
        """Returns Result; raises GuestError when the guest is gone or the time is up."""
        if not self.agent.wait_for(self.done, timeout):
            raise GuestError('"%s" has not ended after %s s; its output so far: %s%s'
                             % (self.text, timeout, self.out.decode(errors='replace'),
                                self.err.decode(errors='replace')))
        if self.gone:
            raise GuestError('"%s" was cut off: %s' % (self.text, self.gone))
        return Result(self.rc, self.out.decode(errors='replace'), self.err.decode(errors='replace'))

    def wait_output(self, text, timeout=120):
        """Waits until the command has printed text."""
        want = text.encode()
        seen = lambda: want in self.out or want in self.err  # noqa: E731
        if not self.agent.wait_for(lambda: seen() or self.done(), timeout) or not seen():
            raise GuestError('"%s" did not print "%s"; it printed: %s%s'
                             % (self.text, text, self.out.decode(errors='replace'),
                                self.err.decode(errors='replace')))

    def kill(self, signal=9):
        """Sends a signal to the command's whole process group."""
        self.agent.send('K', self.number, struct.pack('<I', signal))

    def write(self, data):
        """Gives the command input; b'' ends it."""
        self.agent.send('I', self.number, data)


class Agent:
    def __init__(self, path):
        self.path = path
        self.changed = threading.Condition()
        self.commands = {}
        self.ready = None       # kernel release, once the guest has answered
        self.nonce = None
        self.closed = False
        self.last_number = 0
        self.socket = None

    def connect(self):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(self.path)
        with self.changed:
            self.socket = sock
            self.closed = False
        threading.Thread(target=self._read, args=(sock,), daemon=True).start()

    def close(self, why='the guest is gone'):
        with self.changed:
            self.closed = True
        if self.socket:
            try:
                self.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            self.socket.close()
        self._drop(why)

    def _drop(self, why):
        with self.changed:
            for command in self.commands.values():
                command.gone = why
            self.commands.clear()
            self.changed.notify_all()

    def wait_for(self, condition, timeout):
        with self.changed:
            return self.changed.wait_for(condition, timeout)

    def send(self, kind, number, data=b''):
        with self.changed:
            closed = self.closed
        if closed:
            raise GuestError('the guest is gone')
        try:
            self.socket.sendall(HEADER.pack(MAGIC, ord(kind), number, len(data)) + data)
        except OSError as error:
            raise GuestError('the guest is gone: %s' % error)

    def forget(self, why):
        """To be called when the guest is reset: nothing that it said before counts any more."""
        with self.changed:
            self.ready = None
            self.nonce = os.urandom(8).hex()
        self._drop(why)

    def join(self, timeout, alive):
        """Waits until the guest's agent answers; alive() raises when there's no use in waiting."""
        if self.nonce is None:
            self.forget('not started')
        end = time.monotonic() + timeout
        while not self.wait_for(lambda: self.ready, 0.25):
            alive()
            if time.monotonic() > end:
                raise GuestError('the guest has not answered within %d s' % timeout)
            try:
                # QEMU may close the connection when it resets its virtio-serial device.
                if self.closed:
                    self.connect()
                # A guest that does not read fills the connection: then there is nothing to send.
                if select.select([], [self.socket], [], 0)[1]:
                    self.send('H', 0, self.nonce.encode())
            except (OSError, GuestError):
                continue

    def start(self, text):
        with self.changed:
            if not self.ready:
                raise GuestError('"%s" can\'t run: the guest is not up' % text)
            self.last_number += 1
            command = Command(self, self.last_number, text)
            self.commands[command.number] = command
        self.send('R', command.number, text.encode())
        return command

    def power(self, how):
        self.send('P', 0, how.encode())

    # ---- the reading thread ----

    def _read(self, sock):
        buffer = b''
        while True:
            try:
                data = sock.recv(1 << 16)
            except OSError:
                data = b''
            if not data:
                break
            buffer = self._frames(buffer + data)
        with self.changed:
            if sock is not self.socket:
                return
            self.closed = True
        self._drop('the connection to the guest was closed')

    def _frames(self, buffer):
        while True:
            start = buffer.find(MAGIC)
            if start < 0:
                return buffer[-3:]
            buffer = buffer[start:]
            if len(buffer) < HEADER.size:
                return buffer
            _, kind, number, length = HEADER.unpack_from(buffer)
            end = HEADER.size + length
            # A guest that was reset in the middle of a frame starts anew with a READY inside it.
            again = buffer.find(MAGIC + b'h', 1)
            if length > 1 << 20 or 0 < again < end:
                buffer = buffer[again if again > 0 else 1:]
                continue
            if len(buffer) < end:
                return buffer
            self._frame(chr(kind), number, buffer[HEADER.size:end])
            buffer = buffer[end:]

    def _frame(self, kind, number, data):
        with self.changed:
            if kind == 'h':
                nonce, _, release = data.decode(errors='replace').partition(' ')
                if nonce == self.nonce:
                    self.ready = release
            command = self.commands.get(number)
            if command and kind == 'o':
                command.out += data
            elif command and kind == 'e':
                command.err += data
            elif command and kind == 'x' and len(data) == 4:
                status, = struct.unpack('<I', data)
                command.rc = status >> 8 if status & 0x7f == 0 else 128 + (status & 0x7f)
                del self.commands[number]
            self.changed.notify_all()
