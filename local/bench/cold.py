"""Cold start: from the spawn of a bare interpreter to a function that is ready, under the isolated mode's launcher.

Two things are the measure: L, a function that does nothing, and M, one that imports pymongo from the same folder of
dependencies as a read, without our settings at a start. What a first call imports counts as the start of a read and a
write, since no caller gets anything before it. The naive package is the same function as pip installs it, with bytecode
that counts as stale, as after the platform's unpacking: everything is compiled again at each start.
"""

import compileall
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, Self, cast

from local.bench.measure import Row, Samples, Section, Timer, best_of, compared, interleaved
from ops import functions, package
from ops.functions import ROOT

_LAUNCHER = ROOT / "serving/launcher.py"
_SITE = "virtualenv/lib/python3.11/site-packages"
_PATH_ONLY = f"import sys\nsys.path.insert(0, __file__.removesuffix('bin/activate_this.py') + '{_SITE[11:]}')\n"
_EMPTY = "def main(event, context):\n    return {}\n"
_REFUSED: Mapping[str, dict[str, Any]] = {
    "method": {"method": "PUT", "headers": {}},
    "JSON": {"method": "POST", "headers": {"content-type": "application/json"}, "body": "{"},
    "key": {"method": "POST", "headers": {"content-type": "application/json"}, "body": "{}"},
}
_TOKEN = "Bearer gsk_test_" + "0" * 26 + "_" + "0" * 64  # the form of a key, and nobody's


class Bed:
    """Folders with functions in them, as the platform unpacks them."""

    def __init__(self, folder: Path) -> None:
        """Builds what functions share; the folders are made within `folder`."""
        package.build()
        self._folder = folder
        self._functions = {one.route: one for one in functions.load()}
        self._kinds: dict[str, Path] = {}

    def empty(self) -> Path:
        """L."""
        return self._write("empty", _EMPTY)

    def driver(self) -> Path:
        """M."""
        folder = self._write("driver", f"import pymongo\n\n\n{_EMPTY}")
        shutil.copytree(self.packed("wallets/balance") / "virtualenv", folder / "virtualenv")
        (folder / "virtualenv/bin/activate_this.py").write_text(_PATH_ONLY)
        return folder

    def packed(self, route: str) -> Path:
        """The function as it is deployed."""
        return self._unpacked(route, "packed")

    def called(self, route: str) -> Path:
        """The function, its handler imported as in its first call."""
        folder = self._unpacked(route, "called")
        _import_handler(folder)
        return folder

    def naive(self, route: str) -> Path:
        """The same from the sources of everything that is in the lock, as pip has it, and nothing compiled."""
        folder = self._unpacked(route, "naive")
        for name in ("virtualenv", "getsmart"):
            shutil.rmtree(folder / name)
        pip = [sys.executable, "-m", "pip", "install", "-qq", "--no-input", "--disable-pip-version-check"]
        lock = ["--require-hashes", "-r", str(ROOT / "lib/requirements.txt"), "--target", str(folder / _SITE)]
        subprocess.run([*pip, "--no-compile", *lock], check=True)
        shutil.copytree(ROOT / "lib/getsmart", folder / "getsmart", ignore=shutil.ignore_patterns("__pycache__"))
        activate = folder / "virtualenv/bin/activate_this.py"
        activate.parent.mkdir(exist_ok=True)
        activate.write_text(_PATH_ONLY)
        _leave_stale_bytecode(folder)
        _import_handler(folder)
        return folder

    def _unpacked(self, route: str, how: str) -> Path:
        folder = self._folder / f"{how}-{route.replace('/', '-')}"
        if not folder.exists():
            archive = self._folder / "packed.zip"
            package.pack(self._functions[route], archive)
            with zipfile.ZipFile(archive) as zipped:
                zipped.extractall(folder)
            (folder / "__main__.py").rename(folder / "main__.py")
        return folder

    def _write(self, name: str, source: str) -> Path:
        folder = self._folder / name
        folder.mkdir()
        (folder / "main__.py").write_text(source)
        return folder


def _import_handler(folder: Path) -> None:
    entry = folder / "main__.py"
    entry.write_text(entry.read_text() + "main.contracts()\n")


def _leave_stale_bytecode(folder: Path) -> None:
    """Bytecode whose sources have another time, as when a zip was unpacked without file times."""
    compileall.compile_dir(folder, quiet=2, force=True)
    for source in folder.rglob("*.py"):
        os.utime(source, (1, 1))


class Started:
    """A process that runs one function; ended on leaving."""

    def __init__(self, folder: Path, environment: Mapping[str, str] = MappingProxyType({})) -> None:
        """Returns when the function is ready. Raises RuntimeError when it does not start."""
        results, theirs = os.pipe()
        # Nothing is written beside the code, as on a platform where that is gone with the container.
        command = [sys.executable, "-I", "-S", "-B", str(_LAUNCHER), str(theirs)]
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs],
            bufsize=0,
        )
        os.close(theirs)
        self._results = os.fdopen(results, "rb")
        self._calls = cast("BinaryIO", self._process.stdin)
        if json.loads(self._results.readline() or b"{}") != {"ok": True}:
            self.__exit__()
            raise RuntimeError(f"{folder.name} does not start")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def call(self, http: Mapping[str, Any]) -> dict[str, Any]:
        """Make one call and wait for its result."""
        value = {"http": {"path": "", "queryString": "", "body": "", "isBase64Encoded": False, **http}}
        self._calls.write(json.dumps({"value": value}).encode() + b"\n")
        answer: dict[str, Any] = json.loads(self._results.readline())
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._results.close()
        self._calls.close()


def ready(folder: Path) -> Timer:
    """Spawn to ready."""

    def start() -> float:
        began = time.perf_counter()
        with Started(folder):
            return time.perf_counter() - began

    return start


def refused(folder: Path, http: Mapping[str, Any], status: int) -> Timer:
    """Spawn to the reply to a first call that is refused. Raises RuntimeError for another reply."""

    def start() -> float:
        began = time.perf_counter()
        with Started(folder) as function:
            reply = function.call(http)
            taken = time.perf_counter() - began
        if reply["statusCode"] != status:
            raise RuntimeError(f"{folder.name} answered {reply['statusCode']}, not {status}")
        return taken

    return start


def run(folder: Path, rounds: int, progress: Callable[[], object]) -> Section:
    """Measure everything in turn, `rounds` times."""
    bed = Bed(folder)
    mint = bed.packed("tokens/mint")
    bad_json = {**_REFUSED["JSON"], "headers": {**_REFUSED["JSON"]["headers"], "authorization": _TOKEN}}
    timers = {
        "L: empty function": ready(bed.empty()),
        "mint, ready to refuse": ready(mint),
        "mint, bad method refused": refused(mint, _REFUSED["method"], 405),
        "mint, bad JSON refused": refused(mint, bad_json, 400),
        "mint, no key refused": refused(mint, _REFUSED["key"], 401),
        "balance, ready for all": ready(bed.called("wallets/balance")),
        "M: import pymongo": ready(bed.driver()),
        "mint, ready for all": ready(bed.called("tokens/mint")),
    }
    timers = {name: best_of(3, timer) for name, timer in timers.items()}
    timers["balance, naive"] = ready(bed.naive("wallets/balance"))
    timers["mint, naive"] = ready(bed.naive("tokens/mint"))
    samples = interleaved(timers, rounds, progress)
    return Section("Cold start", rows(samples), samples)


def rows(samples: Samples) -> list[Row]:
    """What is told of the samples."""
    empty, driver = samples["L: empty function"], samples["M: import pymongo"]
    read, write = samples["balance, ready for all"], samples["mint, ready for all"]
    refusals = ("mint, bad method refused", "mint, bad JSON refused", "mint, no key refused")
    return [
        compared("empty function (L)", empty, empty, "x L"),
        compared("import pymongo (M)", driver, empty, "x L"),
        compared("ready to refuse", samples["mint, ready to refuse"], empty, "x L", (2.6, 1.3)),
        *(compared(name.partition(", ")[2], samples[name], empty, "x L") for name in refusals),
        compared("read ready", read, driver, "x M", (1.30, 0.95)),
        compared("write ready", write, driver, "x M", (1.65, 1.15)),
        compared("read over naive package", read, samples["balance, naive"], "x naive", (0.35, 0.20)),
        compared("write over naive package", write, samples["mint, naive"], "x naive", (0.35, 0.20)),
    ]
