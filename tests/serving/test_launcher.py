"""The launcher speaks the platform's action loop: ready, then a line a call, and it dies where the platform's dies."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from serving import launcher
from serving.worker import LAUNCHER

READY = '{"ok": true}\n'
ECHO = "def main(event):\n    return event\n"


class Program:
    """The launcher as a process of its own, in a function's folder."""

    def __init__(self, folder: Path, script: Path = LAUNCHER) -> None:
        read, write = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(write)],
            cwd=folder,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[write],
            text=True,
        )
        os.close(write)
        self.results = os.fdopen(read)

    def call(self, **call: Any) -> Any:
        """Send a call; its result."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps(call) + "\n")
        self.process.stdin.flush()
        return json.loads(self.results.readline() or "null")

    def end(self) -> tuple[int, str, str]:
        """No more calls: exit status and what it printed."""
        out, err = self.process.communicate(timeout=20)
        self.results.close()
        return self.process.returncode, out, err


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Write a function and start it."""
    programs: list[Program] = []

    def start(code: str, script: Path = LAUNCHER) -> Program:
        (tmp_path / "main__.py").write_text(dedent(code))
        programs.append(Program(tmp_path, script))
        return programs[-1]

    yield start
    for program in programs:
        program.process.kill()
        program.end()


def test_it_says_when_it_is_ready_and_answers_line_by_line(run: Callable[..., Program]) -> None:
    """Ready after the import; the event is `value`, the rest is in the environment, new with each call; exit 0."""
    program = run(
        """
        import os
        print("imported")
        def main(event, context):
            print("called")
            return {"event": event, "id": os.environ["__OW_ACTIVATION_ID"], "name": context.function_name}
        """
    )
    assert program.results.readline() == READY
    first = program.call(value={"a": "Zoë"}, activation_id="1", action_name="/n/p/f")
    assert first == {"event": {"a": "Zoë"}, "id": "1", "name": "/n/p/f"}
    assert program.call(value={}, activation_id=2)["id"] == "2"
    assert program.end() == (0, "imported\ncalled\ncalled\n", "")


def test_an_exception_is_an_error_result_and_the_process_stays(run: Callable[..., Program]) -> None:
    """Its text for the platform, its traceback on stderr."""
    program = run("def main(event):\n    raise ValueError(event['why'])")
    program.results.readline()
    assert [program.call(value={"why": why}) for why in ("a", "b")] == [{"error": "a"}, {"error": "b"}]
    status, _, err = program.end()
    assert (status, err.count("ValueError: ")) == (0, 2)


@pytest.mark.parametrize(
    "code", ["raise SystemExit(0)", "import no_such_module", "def main(:", "def other(): ...", "1 / 0"]
)
def test_what_cannot_be_loaded_is_never_ready(run: Callable[..., Program], code: str) -> None:
    """Exit 1, the reason and the platform's sentence on stderr."""
    program = run(code)
    assert program.results.readline() == ""
    status, _, err = program.end()
    assert status == 1
    assert err.startswith("Traceback")
    assert err.endswith("The function did not initialize properly.\n")


def test_what_json_cannot_hold_ends_the_process(run: Callable[..., Program]) -> None:
    """No result, and a failed exit."""
    program = run("def main(event):\n    return {'body': b'bytes'}")
    program.results.readline()
    assert program.call(value={}) is None
    assert program.end()[0] == 1


def test_results_are_on_descriptor_3_and_no_child_has_it(run: Callable[..., Program]) -> None:
    """As on the platform: a function that writes there spoils its own answer; its children cannot."""
    program = run(
        """
        import os, subprocess, sys
        def main():
            os.write(3, b'"spoilt"\\n')
            code = "import os; os.fstat(3)"
            return {"child": subprocess.run([sys.executable, "-c", code], close_fds=False, stderr=-3).returncode}
        """
    )
    program.results.readline()
    assert program.call() == "spoilt"
    assert json.loads(program.results.readline()) == {"child": 1}


@pytest.mark.parametrize(
    ("code", "result"),
    [
        ("def main(): return {'given': 0}", {"given": 0}),
        ("def main(event): return event", {"a": 1}),
        ("def main(event, context): return {'left': context.get_remaining_time_in_millis() > 900}", {"left": True}),
        ("def main(event, context, more=3): return {'more': more}", {"more": 3}),
        ("def main(*args): return {'given': len(args)}", {"given": 0}),
        ("def main(): return None", {}),
        ("def main(): return 0", {}),
        ("def main(): return []", {}),
        ("def main(): return [1]", [1]),
    ],
)
def test_main_is_called_by_its_argument_count_and_falsy_results_are_empty(
    monkeypatch: pytest.MonkeyPatch, code: str, result: Any
) -> None:
    """As the platform's launcher counts and answers."""
    for name in ("DEADLINE", "ACTIVATION_ID"):
        monkeypatch.setenv(f"__OW_{name}", "0")  # so that they are as before afterwards
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102
    call = {"value": {"a": 1}, "deadline": int(time.time() * 1000) + 1_000, "activation_id": "x"}
    line = launcher.answer(names["main"], json.dumps(call).encode())
    assert (json.loads(line), line[-1:]) == (result, b"\n")


def test_the_context_has_the_documented_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the environment; without it empty, and no time left."""
    documented = {
        "function_name": "ACTION_NAME",
        "function_version": "ACTION_VERSION",
        "activation_id": "ACTIVATION_ID",
        "request_id": "TRANSACTION_ID",
        "api_host": "API_HOST",
        "api_key": "API_KEY",  # pragma: allowlist secret
        "namespace": "NAMESPACE",
    }
    empty = launcher.Context()
    assert [getattr(empty, name) for name in documented] == [""] * 7
    assert (empty.deadline, empty.get_remaining_time_in_millis()) == (0, 0)
    for variable in documented.values():
        monkeypatch.setenv(f"__OW_{variable}", variable)
    assert {name: getattr(launcher.Context(), name) for name in documented} == documented


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An unpacked function in the working directory; import path and modules are as before afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "main__", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "main__.py").write_text(ECHO)
    return tmp_path


@pytest.mark.parametrize("place", ["bin", "Scripts"])
def test_a_virtualenv_is_activated_by_its_own_script(folder: Path, place: str) -> None:
    """What the script puts first is first; the function's own folder is last."""
    script = folder / "virtualenv" / place / "activate_this.py"
    script.parent.mkdir(parents=True)
    script.write_text("import sys\nsys.path.insert(0, __file__)\n")
    main = launcher.load(str(folder), "/elsewhere")
    assert (main({}), main.__module__) == ({}, "main__")
    assert (sys.path[0], sys.path[-1]) == (str(script), str(folder))
    sys.modules.pop("main__")


def test_a_virtualenv_without_its_script_cannot_start(folder: Path) -> None:
    """Whatever else is in it."""
    (folder / "virtualenv").mkdir()
    with pytest.raises(FileNotFoundError, match="activate_this"):
        launcher.load(str(folder), "/elsewhere")


def test_requirements_without_a_virtualenv_are_refused_on_the_second_path(folder: Path) -> None:
    """There the platform would run pip at each cold start; on the first path the file means nothing."""
    (folder / "requirements.txt").write_text("requests\n")
    with pytest.raises(RuntimeError, match="pack a virtualenv"):
        launcher.load(str(folder), str(folder))
    assert str(folder) not in sys.path
    assert launcher.load(str(folder), "/elsewhere")({}) == {}
    sys.modules.pop("main__")


def test_started_from_the_functions_folder_that_folder_comes_first(run: Callable[..., Program], tmp_path: Path) -> None:
    """The second start path: even a standard module is the function's own; and the folder is there once."""
    script = tmp_path / "exec__.py"
    script.write_bytes(LAUNCHER.read_bytes())
    (tmp_path / "colorsys.py").write_text("mine = True")
    program = run(
        """
        import colorsys, os, sys
        def main():
            return {"mine": hasattr(colorsys, "mine"), "times": sys.path.count(os.getcwd()), "first": sys.path[0]}
        """,
        script,
    )
    program.results.readline()
    assert program.call() == {"mine": True, "times": 1, "first": str(tmp_path)}
