"""Ports for servers that start some seconds later."""

import socket

import pytest

from local import ports


def test_a_free_port_stays_free_until_a_server_takes_it() -> None:
    """Each once, and none that a connection is lent meanwhile: those begin at 32768 on Linux, and higher elsewhere."""
    found = [ports.free_port() for _ in range(100)]
    assert len(set(found)) == 100
    assert max(found) < 32_768
    for port in found[:3]:
        socket.create_server(("127.0.0.1", port)).close()


def test_a_port_that_is_taken_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is given a stranger's."""
    taken, free = ports.free_port(), ports.free_port()
    turns = iter((taken, free))
    monkeypatch.setattr(ports, "_given", set())
    monkeypatch.setattr(ports.secrets, "choice", lambda _: next(turns))
    with socket.create_server(("127.0.0.1", taken)):
        assert not ports.is_free(taken)
        assert ports.free_port() == free
