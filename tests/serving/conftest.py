"""A project of functions on disk, and the gateway over a real socket in front of it."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import requests

from serving.__main__ import Server
from serving.app import create_app
from serving.gateway import Callee, in_process
from serving.isolated import Isolated, Isolation
from serving.pool import Policy
from tests.serving.calls import OBEDIENT, Add


@dataclass(frozen=True)
class Function:
    """As the list of functions gives it."""

    package: str
    name: str
    path: Path
    web: bool | str = "raw"
    timeout_ms: int = 30_000
    memory_mb: int = 128
    logs_kb: int = 16
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Project:
    """Functions written by a test, and their gateway."""

    folder: Path
    functions: list[Function]

    def add(self, name: str, code: str, *, package: str = "shop", **declared: Any) -> Path:
        """Write a function, declared so in project.yml; its folder."""
        path = self.folder / "packages" / package / name
        path.mkdir(parents=True, exist_ok=True)
        (path / "__main__.py").write_text(dedent(code))
        self.functions.append(Function(package, name, path, **declared))
        return path


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project."""
    return Project(tmp_path, [])


@pytest.fixture(scope="session")
def isolation() -> Iterator[Isolation]:
    """The isolated mode, with workers that do not stay for long."""
    with Isolation(policy=Policy(idle_seconds=2.0)) as running:
        yield running


@pytest.fixture(params=["in_process", "isolated"])
def run(request: pytest.FixtureRequest, isolation: Isolation) -> Callable[[Any], Callee]:
    """Where functions run: what holds here holds in both modes, unless a test names one."""
    return isolation if request.param == "isolated" else in_process


@pytest.fixture
def own() -> Iterator[Isolation]:
    """An isolated mode of the test's own."""
    with Isolation() as running:
        yield running


@pytest.fixture
def add(project: Project, own: Isolation) -> Add:
    """Write a function and have it run isolated."""

    def written(code: str = OBEDIENT, **declared: Any) -> Isolated:
        project.add(f"fn{len(project.functions)}", code, **declared)
        return own(project.functions[-1])

    return written


@contextmanager
def serving(project: Project, **options: Any) -> Iterator[str]:
    """Serve the project as it is, with these options of the gateway; the URL up to and with `/v1`."""
    server = Server(create_app(project.functions, **options), "127.0.0.1", 0, threads=4)
    thread = threading.Thread(target=server.run)
    thread.start()
    yield f"{server.url}/v1"
    server.end()
    thread.join(10)
    assert not thread.is_alive()


@pytest.fixture
def serve(project: Project, run: Callable[[Any], Callee]) -> Iterator[Callable[[], str]]:
    """Start the gateway of the project as it is; the URL up to and with `/v1`."""
    with ExitStack() as running:
        yield lambda: running.enter_context(serving(project, run=run))


@pytest.fixture
def http() -> Iterator[requests.Session]:
    """A client that keeps its connection."""
    with requests.Session() as session:
        yield session
