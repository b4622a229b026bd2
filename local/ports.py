"""Which TCP ports of this machine are free."""

import secrets
import socket

_LASTING = range(10_000, 32_768)  # below those that systems hand out for short use
_given: set[int] = set()


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on `port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def free_port(host: str = "127.0.0.1") -> int:
    """A port nobody listens on at the moment, another one at each call.

    None of those that the system hands out for short use: a connection may have it by the time a server listens.
    """
    while True:
        port = secrets.choice(_LASTING)
        if port not in _given and is_free(port, host):
            _given.add(port)
            return port
