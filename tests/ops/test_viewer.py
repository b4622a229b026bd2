"""The reference page's viewer is taken over from npm whole, and checked against it."""

import gzip
import json
import shutil
from pathlib import Path

import pytest

from ops import viewer
from ops.functions import ROOT


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with another version of the viewer installed."""
    source = tmp_path / viewer.NODE / "node_modules/swagger-ui-dist"
    source.mkdir(parents=True)
    (source / "package.json").write_text(json.dumps({"version": "9.9.9"}))
    for name in (viewer.SCRIPT, viewer.STYLE, *viewer.LICENCES):
        (source / name).write_text(f"content of {name}")
    (tmp_path / viewer.ASSETS).mkdir(parents=True)
    (tmp_path / viewer.ASSETS / "swagger-ui-1.0.0.css").write_text("old")
    (tmp_path / viewer.ASSETS / "page.css").write_text("ours")
    return tmp_path


def test_what_is_taken_over(tree: Path) -> None:
    """Script, style sheet and licences of that version; the old one goes, our own files stay."""
    assert len(viewer.problems(tree)) == 3
    viewer.write(tree)
    kept = {path.name for path in (tree / viewer.ASSETS).iterdir()}
    assert kept == {"swagger-ui-9.9.9.js.gz", "swagger-ui-9.9.9.css", "swagger-ui-licences.txt", "page.css"}
    script = gzip.decompress((tree / viewer.ASSETS / "swagger-ui-9.9.9.js.gz").read_bytes())
    assert script == f"content of {viewer.SCRIPT}".encode()
    assert viewer.problems(tree) == []


def test_a_changed_file_is_found(tree: Path) -> None:
    """Whoever edits the viewer by hand is told."""
    viewer.write(tree)
    (tree / viewer.ASSETS / "swagger-ui-9.9.9.css").write_text("other")
    (problem,) = viewer.problems(tree)
    assert "swagger-ui-9.9.9.css is not that of the locked version" in problem


def test_the_program(tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It installs, writes, and says what differs; --check only says."""
    installed: list[Path] = []
    monkeypatch.setattr(viewer, "install", lambda: installed.append(tree))
    monkeypatch.setattr(viewer, "write", lambda write=viewer.write: write(tree))
    monkeypatch.setattr(viewer, "problems", lambda problems=viewer.problems: problems(tree))
    assert viewer.main(["--check"]) == 1
    assert capsys.readouterr().err.count("viewer: ") == 3
    assert viewer.main([]) == 0
    assert viewer.main(["--check"]) == 0
    assert len(installed) == 3


def test_the_lock_names_no_registry() -> None:
    """It pins versions by hash, and says nothing of where they were fetched from."""
    text = (ROOT / viewer.NODE / "package-lock.json").read_text()
    assert "://" not in text
    packages = {name: entry for name, entry in json.loads(text)["packages"].items() if name}
    assert all(entry["integrity"].startswith("sha512-") for entry in packages.values())


@pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm")
def test_npm_installs_what_is_locked(tmp_path: Path) -> None:
    """From the lock, without running any script of the packages."""
    folder = tmp_path / viewer.NODE
    folder.mkdir(parents=True)
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copyfile(ROOT / viewer.NODE / name, folder / name)
    assert "ignore-scripts=true" in (folder / ".npmrc").read_text()
    viewer.install(tmp_path)
    viewer_folder = folder / "node_modules/swagger-ui-dist"
    assert (viewer_folder / viewer.SCRIPT).is_file()
