# SPDX-License-Identifier: MIT
"""Clients that break the protocol: their link ends, nothing else does."""
import os
import random
import signal
import socket
import struct

from vgpu_host import (CLOSE, EXTENT, HEAP_ADD, HELLO, MIB, OPEN, RESET, WELCOME, Host, check, equal, open_fds, wait_for)


def neighbour(h):
    link = h.local()
    link.hello()
    link.open_ok(0, 0)
    return link


def still_works(link):
    equal(link.heap(0, still_works.n * EXTENT, (1 + still_works.n) * EXTENT, EXTENT).error, 0, "the neighbour's session")
    still_works.n += 1


def test_malformed(build):
    with Host(build) as h:
        h.add_local(sessions=64, window_bytes=256 * MIB)
        still_works.n = 0
        good = neighbour(h)
        junk = [b"", b"x", b"\0" * 15, struct.pack("<IIII", HELLO, 16, 0, 0), struct.pack("<IIII", 99, 16, 0, 0),
                struct.pack("<IIII", OPEN, 48, 0, 0) + bytes(32), struct.pack("<IIII", HELLO, 80, 0, 0) + bytes(64),
                b"\xff" * 80, b"\xff" * 1024, b"\xff" * 5000, os.urandom(80)]
        for packet in [p for p in junk if p]:
            link = h.local()
            link.send(packet)
            check(link.ended(), "link with a malformed first message")
        after = [(OPEN, 48, bytes(32), 0), (OPEN, 48, b"\xff" * 32, 2), (HEAP_ADD, 48, b"\xff" * 32, 0),
                 (CLOSE, 20, b"\0" * 4, 0), (HELLO, 80, bytes(64), 0), (RESET, 16, b"", 0), (77, 16, b"", 0)]
        for kind, size, body, fds in after:
            link = h.local()
            equal(link.hello().type, WELCOME, "HELLO")
            handles = [os.open("/dev/null", os.O_RDWR) for _ in range(fds)]
            link.send(struct.pack("<IIII", kind, size, 0, 0) + body, handles)
            for fd in handles:
                os.close(fd)
            check(link.ended(), f"link with malformed message {kind}")
        link = h.local()
        link.hello()
        link.epoch = 5
        link.simple(CLOSE, 0)
        check(link.ended(), "link with a message of another epoch")
        still_works(good)
        check(h.call("status")["counters"]["links_malformed"] >= 17, "counter")


def test_random_packets(build):
    with Host(build) as h:
        h.add_local(sessions=64, window_bytes=64 * MIB)
        still_works.n = 0
        good = neighbour(h)
        rng = random.Random(4)
        before = open_fds(h.mediator.pid)
        for _ in range(300):
            link = h.local()
            if rng.random() < 0.7:
                link.hello()
            for _ in range(rng.randrange(1, 5)):
                kind = rng.randrange(0, 26)
                size = rng.choice((16, 48, 80, 288, rng.randrange(0, 600)))
                body = bytes(rng.randrange(256) for _ in range(max(0, size - 16)))
                fds = [os.open("/dev/null", os.O_RDWR) for _ in range(rng.randrange(4))]
                try:
                    link.send(struct.pack("<IIII", kind, size, 0, rng.randrange(70)) + body, fds)
                except OSError:
                    pass
                for fd in fds:
                    os.close(fd)
            link.close()
        still_works(good)
        wait_for(lambda: h.call("status")["windows"]["bytes"] == 64 * MIB, "windows of ended links given back")
        wait_for(lambda: open_fds(h.mediator.pid) <= before + 2, "descriptors of the mediator given back")


def test_flood_without_reading(build):
    """Sends requests and never reads an answer: held back, and the others are served."""
    with Host(build) as h:
        h.add_local(sessions=8, window_bytes=64 * MIB)
        still_works.n = 0
        good = neighbour(h)
        bad = h.local()
        bad.hello()
        bad.sock.setblocking(False)
        sent = 0
        try:
            while sent < 100000:
                bad.simple(CLOSE, sent % 64)
                sent += 1
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            pass
        check(sent < 100000, "a client that does not read is held back")
        for _ in range(5):
            still_works(good)
        bad.close()


def test_flood_of_connections(build):
    with Host(build) as h:
        h.add_local(sessions=8, window_bytes=64 * MIB)
        still_works.n = 0
        good = neighbour(h)
        silent = []
        for _ in range(100):
            s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            s.connect(f"{h.run}/local/vgpu.sock")
            silent.append(s)
        still_works(good)
        wait_for(lambda: h.call("status")["counters"]["links_refused"] >= 84, "connections without HELLO refused")
        for s in silent:
            s.close()
        wait_for(lambda: try_hello(h), "a new link after the flood")


def try_hello(h):
    link = h.local()
    try:
        m = link.hello()
        return m is not None and m.type == WELCOME
    except OSError:
        return False
    finally:
        link.close()


def test_silent_client(build):
    """A connection without HELLO is closed by the mediator."""
    with Host(build) as h:
        check(h.local().ended(), "link without HELLO")


def slow_to_close():
    """A TCP socket whose last close waits for a peer that does not read."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    c = socket.socket()
    c.connect(listener.getsockname())
    peer, _ = listener.accept()
    listener.close()
    c.setblocking(False)
    try:
        while True:
            c.send(bytes(65536))
    except BlockingIOError:
        pass
    c.setblocking(True)
    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 1000))
    return c, peer


def send_and_close(h, sock, c, count):
    """Twice: the second packet is not read when the first has ended the connection. The mediator is
    stopped meanwhile, so that the last close is not ours."""
    h.mediator.send_signal(signal.SIGSTOP)
    for _ in range(2):
        socket.send_fds(sock, [b"junk\n"], [c.fileno()] * count)
    c.close()
    h.mediator.send_signal(signal.SIGCONT)


def test_descriptors_that_close_slowly(build):
    """The mediator waits for none of them, whoever sends them, however many, where they have no place."""
    with Host(build, warm=0) as h:
        peers = []
        before = open_fds(h.mediator.pid)
        for connect in (lambda: h.local().sock, lambda: h.control().sock):
            for count in (1, 9, 200):
                sock = connect()
                c, peer = slow_to_close()
                peers.append(peer)
                send_and_close(h, sock, c, count)
                h.call("status")
                sock.close()
        h.call("status")
        for peer in peers:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
        wait_for(lambda: open_fds(h.mediator.pid) <= before, "all descriptors closed")
        # and one that is still being closed does not keep the mediator from ending
        sock = h.local().sock
        c, peer = slow_to_close()
        send_and_close(h, sock, c, 1)
        h.call("status")
        h.kill_mediator(signal.SIGTERM)
        equal(h.mediator.returncode, 0, "exit status")
        peer.close()
