"""Built files are copied as the platform unpacks them, and what changes afterwards changes nothing."""

import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from ops.functions import ROOT
from serving.unpack import Store, building, unlisted


@pytest.fixture
def function(tmp_path: Path) -> Path:
    """The folder of a function."""
    folder = tmp_path / "packages/shop/fn"
    for name in ("__main__.py", "data/one", "data/deep/two", "build.sh", ".gitignore", ".git/x"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A folder that functions share."""
    folder = tmp_path / "lib/common"
    folder.mkdir(parents=True)
    (folder / "a.pyc").write_text("first")
    return folder


def test_without_a_list_everything_is_packed_that_the_deployer_packs(function: Path) -> None:
    """Its own build files are not."""
    assert sorted(unlisted(function)) == ["__main__.py", "data/deep/two", "data/one"]


def test_a_worker_has_files_of_its_own_and_shares_folders(function: Path, tmp_path: Path) -> None:
    """`__main__.py` becomes `main__.py`; the size is that of all files."""
    code = Store(tmp_path / "store").unpack(function, unlisted(function))
    for number in (1, 2):
        code.lay_out(tmp_path / f"worker{number}")
    names = {str(path.relative_to(tmp_path / "worker1")) for path in (tmp_path / "worker1").rglob("*")}
    assert names == {"main__.py", "data"}
    assert (tmp_path / "worker1/data/deep/two").read_text() == "data/deep/two"
    assert code.size == len("__main__.py" + "data/one" + "data/deep/two")
    (tmp_path / "worker1/main__.py").write_text("changed")
    (tmp_path / "worker1/data/one").write_text("changed")
    assert (tmp_path / "worker2/main__.py").read_text() == "__main__.py"
    assert (function / "data/one").read_text() == "data/one"


@pytest.mark.parametrize("can_link", [True, False])
def test_a_shared_folder_is_kept_once_and_as_it_was(
    function: Path, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_link: bool
) -> None:
    """Two functions that list it have one copy; a build that replaces it changes neither, linked or copied."""
    if not can_link:
        monkeypatch.setattr(os, "link", _refuse)
    store = Store(tmp_path / "store")
    files = {"__main__.py": function / "__main__.py", "common/a.pyc": library / "a.pyc"}
    one, two = store.unpack(function, files), store.unpack(tmp_path / "other", files)
    assert one.entries["common"] == two.entries["common"]
    (library / "a.pyc").unlink()
    (library / "a.pyc").write_text("second")
    assert (two.entries["common"] / "a.pyc").read_text() == "first"


def _refuse(*_: object, **__: object) -> None:
    raise OSError("cross-device link")


@pytest.mark.usefixtures("built")
def test_a_build_waits_for_its_readers(tmp_path: Path) -> None:
    """Several may read at once; lib/build.sh, whoever runs it, replaces nothing until the last has read."""
    (tmp_path / "lib/getsmart").mkdir(parents=True)
    (tmp_path / "lib/getsmart/fresh.py").touch()
    library = tmp_path / "lib/build/getsmart"
    for path in (ROOT / "lib").glob("[br]*.*"):  # build.sh, build.py, requirements
        shutil.copy(path, tmp_path / "lib")
    for stamp in (ROOT / "lib/build").glob("*/.locked"):  # no wheels here, and none are needed
        (tmp_path / "lib/build" / stamp.parent.name).mkdir(parents=True)
        shutil.copy(stamp, tmp_path / "lib/build" / stamp.parent.name)
    with building(tmp_path, shared=True):
        with building(tmp_path, shared=True):
            builder = subprocess.Popen([tmp_path / "lib/build.sh"])
        with pytest.raises(subprocess.TimeoutExpired):
            builder.wait(1.0)
        assert not library.exists()
    assert builder.wait(30) == 0
    assert [path.name for path in library.iterdir()] == ["fresh.pyc"]


def test_who_reads_waits_for_a_build(tmp_path: Path) -> None:
    """What is packed or unpacked is of one build."""
    read = threading.Event()

    def pack() -> None:
        with building(tmp_path, shared=True):
            read.set()

    with building(tmp_path):
        reader = threading.Thread(target=pack)
        reader.start()
        assert not read.wait(0.2)
    reader.join(5)
    assert read.is_set()
