"""Who does not know the password gets nothing, and no bytes on the port stop an executor."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import ssl
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gridcompute.softgrid import Worker, trust, wire
from gridcompute.softgrid.certificate import fingerprint, make_certificate
from gridcompute.softgrid.errors import SoftgridError
from gridcompute.softgrid.trust import Identity, Refused

from .conftest import call, launch, poll


def works(grid):
    return call(grid, lambda: 5, "workers", timeout=10) == [5]


@pytest.fixture
def grid(make_grid):
    grid = make_grid(password="right horse")
    launch(grid, "worker")
    return grid


@pytest.fixture
def make_worker():
    made = []

    def make(**kwargs):
        worker = Worker(address="127.0.0.1", port=25500, **kwargs)
        made.append(worker)
        return worker

    yield make
    for worker in made:
        worker.disconnect(kill=False)


def test_an_executor_made_by_hand_joins_with_the_password_and_works(grid, make_worker):
    worker = make_worker(name="Hand")
    worker.connect_to_grid("127.0.0.1", grid.port, "right horse")
    poll(lambda: worker.gridUniqueName in grid.workers)
    assert worker.gridPath == [grid.gridUniqueName, worker.gridUniqueName]
    assert call(grid, lambda e: e.name, worker.gridUniqueName, first=True) == ["Hand"]
    with pytest.raises(SoftgridError, match="already"):
        worker.connect_to_grid("127.0.0.1", grid.port, "right horse")
    worker.disconnect(kill=False)
    poll(lambda: worker.gridUniqueName not in grid.workers)


def test_a_wrong_password_is_refused_and_told_upgrid_once_in_a_while(grid, make_worker, capsys):
    for _ in range(3):
        with pytest.raises(SoftgridError, match="password is wrong"):
            make_worker().connect_to_grid("127.0.0.1", grid.port, "wrong")
    poll(lambda: "refused" in capsys.readouterr().out)
    assert works(grid) and len(grid.workers) == 1


def test_a_machine_in_between_gains_nothing(grid):
    """It shows its own certificate and passes on every word: the proof is bound to the certificate that was seen."""
    own = Identity("whatever")
    listener = socket.create_server(("127.0.0.1", 0))
    outcome = []

    def stand_between():
        client, _ = listener.accept()
        client.settimeout(10)
        client.recv(len(trust._MAGIC))
        inner = trust.Channel(client, own.context, server_side=True)
        inner.handshake()
        server = socket.create_connection(("127.0.0.1", grid.port), timeout=10)
        server.sendall(trust._MAGIC)
        outer = trust.Channel(server, trust.client_context(), server_side=False)
        outer.handshake()
        inner.send_value(outer.receive_value(4096))
        outer.send_value(inner.receive_value(4096))
        outcome.append(outer.receive_value(4096))
        inner.send_value(outcome[0])
        client.close()
        server.close()

    thread = threading.Thread(target=stand_between)
    thread.start()
    with (
        socket.create_connection(listener.getsockname(), timeout=10) as sock,
        pytest.raises(Refused, match="password is wrong"),
    ):
        trust.call(sock, "password", lambda salt: trust.stretch("right horse", salt), None)
    thread.join()
    listener.close()
    assert "refused" in outcome[0]


def test_another_certificate_than_the_pinned_one_is_hung_up_on(grid):
    with (
        socket.create_connection(("127.0.0.1", grid.port), timeout=10) as sock,
        pytest.raises(Refused, match="not the one"),
    ):
        trust.call(sock, "password", b"x" * 32, "0" * 64)


def test_a_server_that_does_not_know_the_password_is_not_believed():
    identity = Identity("another password")
    listener = socket.create_server(("127.0.0.1", 0))

    def pretend():
        client, _ = listener.accept()
        client.settimeout(10)
        client.recv(len(trust._MAGIC))
        channel = trust.Channel(client, identity.context, server_side=True)
        channel.handshake()
        channel.send_value({"salt": "00", "number": "00"})
        channel.receive_value(4096)
        channel.send_value({"proof": "0" * 64})
        client.close()

    thread = threading.Thread(target=pretend)
    thread.start()
    with (
        socket.create_connection(listener.getsockname(), timeout=10) as sock,
        pytest.raises(Refused, match="does not know the password"),
    ):
        trust.call(sock, "password", lambda salt: trust.stretch("right", salt), None)
    thread.join()
    listener.close()


def test_the_certificate_is_one_that_openssl_reads():
    certificate, _ = make_certificate("a name")
    der = ssl.PEM_cert_to_DER_cert(certificate)
    assert len(fingerprint(der)) == 64
    assert make_certificate()[0] != certificate


def _poke(port, data, hurry=False):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2) as sock:
        sock.sendall(data)
        if not hurry:
            sock.settimeout(0.05)
            sock.recv(100)


def test_garbage_half_messages_and_floods_never_stop_an_executor(grid):
    chance = random.Random(5)
    ports = [grid.port, int(grid.workers[0].rpartition(":")[2])]
    for port in ports:
        for data in (
            b"",
            b"GET / HTTP/1.1\r\n\r\n",
            trust._MAGIC,
            trust._MAGIC[:4],
            trust._MAGIC + b"\x16\x03\x01\xff\xff",
        ):
            _poke(port, data)
        for _ in range(60):
            _poke(port, trust._MAGIC * chance.randrange(2) + chance.randbytes(chance.randrange(600)), hurry=True)
        with (
            contextlib.suppress(Refused, OSError, ssl.SSLError),
            socket.create_connection(("127.0.0.1", port), timeout=5) as sock,
        ):
            sock.sendall(trust._MAGIC)
            channel = trust.Channel(sock, trust.client_context(), server_side=False)
            channel.handshake()
            channel.receive_value(4096)
            channel.tls.write(b"\xff\xff\xff\xff" + b"{" * 5000)  # a long greeting
            channel._push()
            channel.receive_value(4096)
    silent = [socket.create_connection(("127.0.0.1", grid.port), timeout=5) for _ in range(80)]
    try:
        assert works(grid)
        launch(grid, "worker")  # a true one is let in beside eighty silent ones
        assert len(grid.workers) == 2
    finally:
        for sock in silent:
            sock.close()
    assert works(grid) is False  # two workers answer now
    assert call(grid, lambda: 5, "workers", timeout=10) == [5, 5]


def test_garbage_from_a_neighbour_that_was_let_in_costs_only_its_own_connection(grid, make_worker):
    worker = make_worker()
    worker.connect_to_grid("127.0.0.1", grid.port, "right horse")
    poll(lambda: len(grid.workers) == 2)
    link = worker._node.up
    with link._lock:
        link._channel.tls.write(wire.HEAD.pack(wire.FIRST, 1, 0, 0, 2**31, link._outbox.number + 1, 0))
        link._flush(bulk=False)
        link._channel.sock.sendall(link._channel.outgoing.read())
    time.sleep(0.3)
    assert call(grid, lambda: 5, grid.workers[0]) == [5]


def test_nothing_is_unpickled_before_the_proof(grid, tmp_path):
    """A pickle that would leave a mark, sent as each part of a greeting."""
    mark = tmp_path / "mark"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(mark),)

    import pickle

    evil = pickle.dumps(Evil())
    for prefix in (b"", trust._MAGIC):
        _poke(grid.port, prefix + evil)
    with socket.create_connection(("127.0.0.1", grid.port), timeout=5) as sock:
        sock.sendall(trust._MAGIC)
        channel = trust.Channel(sock, trust.client_context(), server_side=False)
        channel.handshake()
        channel.receive_value(4096)
        channel.tls.write(len(evil).to_bytes(4, "big") + evil)
        channel._push()
        with pytest.raises((ConnectionError, OSError, ssl.SSLError)):
            channel.receive_value(4096)
    assert not mark.exists()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400))
def test_any_bytes_are_a_frame_or_a_wire_error(data):
    with contextlib.suppress(wire.WireError):
        opening = wire.unpack_opening(data)
        wire.inline_segments(data, opening)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text()), st.lists(st.binary(max_size=50), max_size=5))
def test_a_packed_message_is_read_as_it_was(header, segments):
    payload = wire.pack_opening(header, segments, inline=True)
    opening = wire.unpack_opening(payload)
    assert opening.header == header
    assert [bytes(part) for part in wire.inline_segments(payload, opening)] == segments


def test_a_message_above_the_limit_is_refused_before_memory_is_set_aside(grid, monkeypatch):
    monkeypatch.setattr(wire, "MESSAGE_LIMIT", 1_000_000)
    (status,) = call(grid, lambda: b"x" * 2_000_000, grid.workers[0])
    assert not status and "1000000 are allowed" in status.error
    assert works(grid)


def test_an_empty_password_is_refused_and_none_is_a_random_one(make_grid):
    with pytest.raises(ValueError, match="empty"):
        make_grid(password="")
    assert len(make_grid(password=None).password) > 20


def test_of_many_who_join_at_once_only_as_many_as_the_rules_allow_come_in(make_grid, make_worker):
    grid = make_grid(password="right horse", rules={"machine_maximum_number_of_workers": 2})
    workers = [make_worker() for _ in range(5)]
    outcomes = []

    def join(worker):
        try:
            worker.connect_to_grid("127.0.0.1", grid.port, "right horse")
            outcomes.append("in")
        except SoftgridError as exc:
            outcomes.append(str(exc))

    threads = [threading.Thread(target=join, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("in") == 2 and len([words for words in outcomes if "allow 2 workers" in words]) == 3
    poll(lambda: len(grid.workers) == 2 and not grid._admitted)


def test_a_message_that_cannot_be_understood_costs_no_other_one(grid, make_worker):
    """Both arrive in one piece; the first has no sender."""
    worker = make_worker()
    worker.connect_to_grid("127.0.0.1", grid.port, "right horse")
    poll(lambda: len(grid.workers) == 2)
    link = worker._node.up
    with link._lock:
        link.send_packed(wire.pack_opening({"k": "x"}, [], inline=True), flush=False)
        assert worker._node.up is link
    answer = worker._ask(grid.gridUniqueName, "$python", timeout=5)
    assert answer.error is None
