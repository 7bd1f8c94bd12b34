# SPDX-License-Identifier: MIT
"""A client of QEMU's machine protocol."""

import json
import socket
import threading


class QmpError(Exception):
    """QEMU refused a command; str() is its sentence."""


class Qmp:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(path)
        self.changed = threading.Condition()
        self.calling = threading.Lock()
        self.answers = []
        self.events = []
        self.closed = False
        threading.Thread(target=self._read, daemon=True).start()
        self('qmp_capabilities')

    def _read(self):
        try:
            for line in self.socket.makefile('r', encoding='utf-8'):
                message = json.loads(line)
                with self.changed:
                    if 'event' in message:
                        self.events.append(message)
                    elif 'QMP' not in message:
                        self.answers.append(message)
                    self.changed.notify_all()
        except (OSError, ValueError):
            pass
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    def __call__(self, command, timeout=120, **arguments):
        """Runs a command; underscores in argument names stand for dashes."""
        arguments = {k.replace('_', '-'): v for k, v in arguments.items()}
        with self.calling:
            text = json.dumps({'execute': command, 'arguments': arguments})
            try:
                self.socket.sendall(text.encode() + b'\n')
            except OSError as error:
                raise QmpError('%s: QEMU is gone: %s' % (command, error))
            with self.changed:
                if not self.changed.wait_for(lambda: self.answers or self.closed, timeout):
                    raise QmpError('%s: QEMU has not answered within %d s' % (command, timeout))
                if not self.answers:
                    raise QmpError('%s: QEMU is gone' % command)
                answer = self.answers.pop(0)
        if 'error' in answer:
            raise QmpError('%s: %s' % (command, answer['error']['desc']))
        return answer['return']

    def forget_events(self):
        with self.changed:
            self.events.clear()

    def wait_event(self, name, timeout=120, **data):
        """Waits for an event with these data, which may have come already; returns all of its data."""
        def find():
            for event in self.events:
                got = event.get('data', {})
                if event['event'] == name and all(got.get(k) == v for k, v in data.items()):
                    return event
            return None

        with self.changed:
            self.changed.wait_for(lambda: find() or self.closed, timeout)
            event = find()
            if not event:
                raise QmpError('the event %s did not come within %d s' % (name, timeout))
            self.events.remove(event)
            return event.get('data', {})

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()
