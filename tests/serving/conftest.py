"""A project of functions on disk, and the gateway over a real socket in front of it."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest
import requests

from serving.__main__ import Server
from serving.app import create_app


@dataclass(frozen=True)
class Function:
    """As the list of functions gives it."""

    package: str
    name: str
    path: Path
    web: bool | str = "raw"
    timeout_ms: int = 3_000


@dataclass
class Project:
    """Functions written by a test, and their gateway."""

    folder: Path
    functions: list[Function]

    def add(self, name: str, code: str, *, package: str = "shop", web: bool | str = "raw") -> None:
        """Write a function."""
        path = self.folder / "packages" / package / name
        path.mkdir(parents=True, exist_ok=True)
        (path / "__main__.py").write_text(dedent(code))
        self.functions.append(Function(package, name, path, web))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project."""
    return Project(tmp_path, [])


@pytest.fixture
def serve(project: Project) -> Iterator[Callable[[], str]]:
    """Start the gateway of the project as it is; the URL up to and with `/v1`."""
    running: list[tuple[Server, threading.Thread]] = []

    def start() -> str:
        server = Server(create_app(project.functions), "127.0.0.1", 0, threads=4)
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server, thread))
        return f"{server.url}/v1"

    yield start
    for server, thread in running:
        server.end()
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def http() -> Iterator[requests.Session]:
    """A client that keeps its connection."""
    with requests.Session() as session:
        yield session
