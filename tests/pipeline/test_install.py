"""doctl is installed only as the bytes that were pinned; tools only where they are missing."""

import hashlib
import http.server
import io
import os
import platform
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.pipeline import doctl, install, tools

# As the real one: without a token it fetches its plugin only where it is told that an image is made.
PROGRAM = b"""#!/bin/sh
[ -n "${DOCKER_SANDBOX_INSTALL+x}" ] || { echo "Error: access token is required." >&2; exit 1; }
echo Downloading...done
"""


@pytest.fixture(autouse=True)
def pinned_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on the machine that the archive is for."""
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")


@pytest.fixture
def archive() -> bytes:
    """An archive with a program called doctl."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as files:
        entry = tarfile.TarInfo("doctl")
        entry.size = len(PROGRAM)
        files.addfile(entry, io.BytesIO(PROGRAM))
    return made.getvalue()


@pytest.fixture
def address(archive: bytes) -> Iterator[str]:
    """Where it is to be had."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(archive)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/{{0}}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_pinned_bytes_are_installed(
    address: str, archive: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The program is there and runs; then it fetches its serverless plugin, for which no token is needed."""
    monkeypatch.setattr(install, "ROOT", tmp_path)
    monkeypatch.setattr(doctl, "ROOT", tmp_path)
    digest = hashlib.sha256(archive).hexdigest()
    monkeypatch.setattr(install.install, "__defaults__", (address, digest))
    monkeypatch.delenv(doctl.TOKEN, raising=False)
    assert install.main([]) == 0
    assert capsys.readouterr().out == f"installed .local/bin/doctl {install.VERSION}\nDownloading...done\n"


def test_other_bytes_are_refused(address: str, tmp_path: Path) -> None:
    """An archive with another digest than the pinned one is not unpacked."""
    with pytest.raises(install.InstallFailed, match="not the pinned"):
        install.install(tmp_path, address)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "arm64"), ("Linux", "aarch64"), ("Windows", "AMD64")])
def test_another_machine_is_refused(
    system: str, machine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The pinned program would not start there: nothing is downloaded, and it is said what to do."""
    monkeypatch.setattr(install, "ROOT", tmp_path)
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert install.main([]) == 1
    said = capsys.readouterr().err
    assert f"is for Linux on amd64, here is {system} on {machine}: install doctl" in said
    assert list(tmp_path.iterdir()) == []


def test_an_address_that_does_not_answer(tmp_path: Path) -> None:
    """One clear line, whatever the reason."""
    with pytest.raises(install.InstallFailed, match="cannot be downloaded"):
        install.install(tmp_path, "http://127.0.0.1:9/{0}")


def test_tools_are_installed_where_they_are_missing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """apt-get is asked for the missing packages only, and not at all when none is."""
    apt = tmp_path / "apt-get"
    apt.write_text('#!/bin/sh\necho "apt-get $*"\n')
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(tools, "PACKAGES", {"apt-get": "apt", "no-such-program": "absent"})
    assert tools.main([]) == 0
    assert capfd.readouterr().out.splitlines() == [
        "to be installed: absent",
        "apt-get update -qq",
        "apt-get install -y -qq --no-install-recommends absent",
    ]
    monkeypatch.setattr(tools, "PACKAGES", {"apt-get": "apt"})
    assert tools.main([]) == 0
    assert capfd.readouterr().out == "to be installed: nothing\n"


def test_tools_are_installed_by_sudo_where_one_is_not_root(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Only apt-get runs as root, so that .venv stays the caller's; without sudo it is said, and nothing is tried."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(tools, "PACKAGES", {"no-such-program": "absent"})
    assert tools.main([]) == 1
    assert "only root may install packages, and there is no sudo" in capfd.readouterr().err
    sudo = tmp_path / "sudo"
    sudo.write_text('#!/bin/sh\necho "as root: $*"\n')
    sudo.chmod(0o755)
    assert tools.main([]) == 0
    assert capfd.readouterr().out.splitlines()[1:] == [
        "as root: apt-get update -qq",
        "as root: apt-get install -y -qq --no-install-recommends absent",
    ]
