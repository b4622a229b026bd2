"""Isolated, a function lives as on the platform: its own process and environment, warm, frozen, limited, replaced."""

import json
import os
import re
import select
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ops.functions import Function
from serving import isolated, worker
from serving.answer import BAD_MESSAGE, PROCESSING, PlatformError
from serving.isolated import WAIT_SECONDS, Isolation, NotBuilt
from serving.pool import Policy
from tests.local.programs import alive, eventually
from tests.serving.calls import OBEDIENT, PID, Add, call, idle, refused, waiting_for
from tests.serving.conftest import Project

FORWARDING = {"LOG_DESTINATIONS": "${LOG_DESTINATIONS}"}

# --- where a function finds itself --------------------------------------------------------------------------------


def test_the_environment_is_what_is_declared_and_what_the_platform_gives(project: Project) -> None:
    """Values put in, and literals; nothing of the gateway's own; what is empty or lacks a value is absent."""
    given = {"MINE": "1", "EMPTY": "", "OTHERS": "secret", "PYTHONPATH": "/x", "HOST": "db"}
    declared = {name: f"${{{name}}}" for name in ("MINE", "EMPTY", "MISSING")}
    declared |= {"LITERAL": "7", "MIXED": "mongodb://${HOST}/", "HALF": "${MINE}${MISSING}", "NONE": ""}
    code = "import os\nseen = dict(os.environ)\ndef main():\n    return {'seen': seen, 'now': dict(os.environ)}"
    project.add("env", code, environment=declared)
    with Isolation(given) as isolation:
        function = isolation(project.functions[0])
        context = function.context()
        first = function.call({}, context)
        second = call(function)
    names = {name for name in first["seen"] if not name.startswith("__OW_")} - {"LC_CTYPE"}  # the interpreter's own
    assert names == {"MINE", "LITERAL", "MIXED", "PATH", "HOME", "TMPDIR"}
    assert [first["seen"][name] for name in ("MINE", "LITERAL", "MIXED")] == ["1", "7", "mongodb://db/"]
    assert {name[5:]: value for name, value in first["seen"].items() if name.startswith("__OW_")} == {
        "API_HOST": context.api_host,
        "NAMESPACE": context.namespace,
        "ACTION_NAME": context.function_name,
        "ACTION_VERSION": context.function_version,
        "ACTIVATION_ID": context.activation_id,
        "TRANSACTION_ID": context.request_id,
        "DEADLINE": str(context.deadline),
        "WAIT_FOR_ACK": "true",
        "PROXY_VERSION": "1.0",
    }
    assert second["now"]["__OW_ACTIVATION_ID"] != context.activation_id
    assert int(second["now"]["__OW_DEADLINE"]) >= context.deadline


def test_the_interpreter_is_bare_and_the_folder_comes_last(add: Add) -> None:
    """No package of the gateway's environment; module `main__` in the working directory, which can be written to."""
    function = add(
        """
        import os, sys, tempfile
        def main():
            open("written", "w").close()
            with tempfile.NamedTemporaryFile() as file:
                temporary = file.name
            return {"path": sys.path, "name": __name__, "file": __file__, "cwd": os.getcwd(), "temporary": temporary,
                    "home": os.path.expanduser("~"), "files": sorted(os.listdir())}
        """
    )
    seen = call(function)
    assert not any("site-packages" in entry for entry in seen["path"])
    assert seen["path"][-1] == seen["cwd"]
    assert (seen["name"], seen["file"]) == ("main__", f"{seen['cwd']}/main__.py")
    assert seen["files"] == ["__pycache__", "main__.py", "written"]
    assert seen["temporary"].startswith(seen["home"])
    assert Path(seen["home"]).parent == Path(seen["cwd"]).parent


def test_with_log_destinations_it_starts_as_a_script(project: Project) -> None:
    """The second start path: the function's folder is before the standard library."""
    project.add("fn", "import sys, os\ndef main():\n    return {'first': sys.path[0] == os.getcwd()}")
    plain = project.functions[0]
    forwarding = replace(plain, environment=FORWARDING)
    with Isolation({"LOG_DESTINATIONS": "[]"}) as isolation:
        assert [call(isolation(one))["first"] for one in (plain, forwarding)] == [False, True]


def test_on_the_second_start_path_requirements_without_a_virtualenv_are_refused(
    project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    """The platform would run pip there: the function does not start and says why."""
    folder = project.add("fn", PID, environment=FORWARDING)
    (folder / "requirements.txt").write_text("requests\n")
    with Isolation({"LOG_DESTINATIONS": "[]"}) as isolation:
        assert refused(isolation(project.functions[0])) == (400, PROCESSING)
    assert "the platform would run pip over the network here" in capfd.readouterr().err


# --- limits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("do", "text"),
    [
        ("time.sleep(30)", "The function exceeded its time limits of 300 milliseconds."),
        ("while True: pass", "The function exceeded its time limits of 300 milliseconds."),
        ("while True: print()", "The function exceeded its time limits of 300 milliseconds."),
        ("x = bytearray(200_000_000); time.sleep(30)", "The function exhausted its memory and was aborted."),
        ("x = bytearray(200_000_000)", "The function exhausted its memory and was aborted."),
        ("os._exit(0)", "The function did not produce a valid response and exited unexpectedly."),
        ("sys.exit(1)", "The function did not produce a valid response and exited unexpectedly."),
        ("os.kill(os.getpid(), 11)", "The function did not produce a valid response and exited unexpectedly."),
        ("event['give'] = {'when': object()}", "The function did not produce a valid response"),
        ("event['give'] = {'n': float('nan')}", "The function did not return a dictionary."),
        ("os.write(3, b'garbage\\n')", "The function did not return a dictionary."),
        ("os.write(3, b'[' * 100_000 + b'\\n')", "The function did not return a dictionary."),
        ("os.close(0); os.close(1); os.close(2); os._exit(1)", "The function did not produce a valid response"),
    ],
)
def test_a_broken_call_loses_its_worker_and_the_next_one_works(
    add: Add, capfd: pytest.CaptureFixture[str], do: str, text: str
) -> None:
    """The platform's answer for the caller, the platform's reason for the developer, a new process for the next."""
    function = add()
    usual = function.timeout_ms
    pid = call(function)["pid"]
    function.timeout_ms = 300 if "time limits" in text else usual
    assert refused(function, do=do) == (400, PROCESSING)
    assert text in capfd.readouterr().err
    assert not alive(pid)
    function.timeout_ms = usual
    assert call(function)["pid"] != pid


def test_a_function_that_closed_its_side_is_replaced(add: Add) -> None:
    """The call after that cannot be handed over, unless the process is seen to be gone already; the one after works."""
    function = add()
    pid = call(function, do="os.close(0)")["pid"]
    try:
        met = ("by another", call(function)["pid"] != pid)
    except PlatformError as refusal:
        met = (refusal.text, refusal.status == 400)
    assert met in ((PROCESSING, True), ("by another", True))
    assert call(function)["pid"] != pid


def test_an_exception_and_too_long_a_result_keep_their_worker(add: Add, capfd: pytest.CaptureFixture[str]) -> None:
    """An application error is no harm to the process, and neither is a result of more than 1 MB."""
    function = add()
    pid = call(function)["pid"]
    assert call(function, do="raise ValueError('why')") == {"error": "why"}
    assert "ValueError: why" in capfd.readouterr().err
    assert refused(function, do="event['give'] = {'x': 'y' * 1_048_576}") == (400, BAD_MESSAGE)
    assert "exceeded the allowed length: 10485" in capfd.readouterr().err
    assert call(function)["pid"] == pid


def test_a_result_of_1_mb_to_the_byte_passes(add: Add) -> None:
    """1,048,576 bytes of JSON, and not one more."""
    function = add("def main(event):\n    return {'x': 'y' * event['n']}")
    most = 1_048_576 - len('{"x": ""}')
    assert len(call(function, n=most)["x"]) == most
    assert refused(function, n=most + 1) == (400, BAD_MESSAGE)


def test_a_start_has_a_time_limit_of_its_own(
    add: Add, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """10 s at least, even when the function may run for less."""
    slow = add("import time\ntime.sleep(2.2)\ndef main():\n    return {'well': 1}", timeout_ms=2_000)
    assert call(slow) == {"well": 1}
    monkeypatch.setattr(isolated, "_INIT_MS", 100)
    stuck = add("import time\ntime.sleep(30)", timeout_ms=100)
    assert refused(stuck) == (400, PROCESSING)
    assert "its time limits of 100 milliseconds during initialization." in capfd.readouterr().err


@pytest.mark.parametrize(
    "code", ["import os\nos.write(3, b'{}\\n')", "import os\nos.write(3, b'garbage\\n')", "import os\nos._exit(0)"]
)
def test_what_does_not_start_as_it_should_is_tried_again_from_cold(
    add: Add, tmp_path: Path, code: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """On every call."""
    counter = tmp_path / "starts"
    function = add(f"open({str(counter)!r}, 'a').write('x')\n{code}")
    assert [refused(function) for _ in range(2)] == [(400, PROCESSING)] * 2
    assert counter.read_text() == "xx"
    assert "did not initialize" in capfd.readouterr().err


def test_memory_of_the_unpacked_code_counts(add: Add, project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    """It lies in memory on the platform."""
    (project.folder / "packages" / "shop" / "fn0").mkdir(parents=True)
    with (project.folder / "packages" / "shop" / "fn0" / "data").open("wb") as data:
        data.truncate(130 * 1_048_576)
    assert refused(add()) == (400, PROCESSING)
    assert "exhausted its memory" in capfd.readouterr().err


def test_what_is_printed_is_passed_on_by_line_and_cut_at_the_limit(add: Add, capfd: pytest.CaptureFixture[str]) -> None:
    """Both streams share the limit of one call; the notice stands once; the next call has the whole limit again."""
    function = add(logs_kb=1)
    call(function, do="print('a\\nb', end=''); print('wrong', file=sys.stderr)")
    assert capfd.readouterr() == ("a\nb\n", "wrong\n")
    call(function, do="print('x' * 600); print('y' * 600, file=sys.stderr)\nfor _ in range(20): print('z' * 50_000)")
    out, err = capfd.readouterr()
    notice = "Logs were truncated because the total bytes size exceeds the limit of 1024 bytes.\n"
    assert err.count(notice) == 1
    assert 1_020 <= len(out) + len(err.replace(notice, "")) <= 1_024 + 2  # a line that was cut gets its end
    call(function, do="print('again')")
    assert capfd.readouterr() == ("again\n", "")


def test_a_long_call_does_not_block_on_what_it_prints(add: Add, capfd: pytest.CaptureFixture[str]) -> None:
    """1 MB of logs and more is read while the function runs."""
    function = add(logs_kb=256)
    call(function, do="sys.stdout.write('no\\n' * 400_000)")
    assert capfd.readouterr().out.count("no\n") == 256 * 1024 // 3


def test_a_function_that_does_not_read_its_call_is_out_of_time(project: Project) -> None:
    """1 MB does not fit into a pipe; the gateway does not wait for ever to get rid of it."""
    project.add("fn", OBEDIENT)
    with Isolation(policy=Policy(freeze_seconds=60.0)) as isolation:
        function = isolation(project.functions[0])
        usual = function.timeout_ms
        os.kill(call(function)["pid"], signal.SIGSTOP)
        function.timeout_ms = 200
        assert refused(function, pad="x" * 1_000_000) == (400, PROCESSING)
        function.timeout_ms = usual
        assert call(function, pad="x" * 1_000_000)["pid"]


def test_what_was_done_in_time_counts_however_late_we_look(add: Add, own: Isolation) -> None:
    """The gateway may have been held up itself; what has not come by then is not waited for."""
    function = add()
    call(function)
    worker = own.pool.take(function.plan, {}, time.monotonic() + 30)
    worker.send(b'{"value": {"give": {"well": 1}}}')
    assert eventually(lambda: bool(select.select([worker._results], [], [], 0)[0]))
    line = worker.receive(time.monotonic() - 1)
    assert line is not None
    assert json.loads(line)["well"] == 1
    assert worker.receive(time.monotonic()) is None
    own.pool.give(function.plan, worker)


# --- waiting ------------------------------------------------------------------------------------------------------


def test_after_30_s_the_caller_is_sent_away_and_the_function_goes_on(project: Project, tmp_path: Path) -> None:
    """202; its worker serves again when it is done, and what it printed is there."""
    project.add("fn", OBEDIENT)
    may_end, done = tmp_path / "may_end", tmp_path / "done"
    do = f"{waiting_for(may_end)}\nopen({str(done)!r}, 'w')"
    with Isolation() as isolation:
        function = isolation(project.functions[0])
        pid = call(function)["pid"]
        isolation.wait_seconds = 0.5
        assert refused(function, do=do) == (202, "Response not yet ready.")
        isolation.wait_seconds = WAIT_SECONDS
        assert not done.exists()
        may_end.touch()
        assert eventually(done.exists)
        assert eventually(lambda: len(idle(function)) == 1)
        assert call(function)["pid"] == pid


def test_a_start_can_outlast_the_callers_patience_too(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    """The call is made all the same; what goes wrong then is only in the log."""
    project.add("fn", "import time\ntime.sleep(0.3)\ndef main():\n    raise SystemExit")
    with Isolation(wait_seconds=0.1) as isolation:
        function = isolation(project.functions[0])
        assert refused(function) == (202, "Response not yet ready.")
        said = ""

        def has_said() -> bool:
            nonlocal said
            said += capfd.readouterr().err
            return "exited unexpectedly" in said

        assert eventually(has_said)


# --- odds and ends ------------------------------------------------------------------------------------------------


def test_a_function_that_lists_what_is_not_built_is_named(project: Project, own: Isolation) -> None:
    """With what to do."""
    folder = project.add("fn", PID)
    (folder / ".include").write_text("__main__.py\n../../../lib/build/nothing\n")
    declared = Function("shop", "fn", folder, "python:3.11", "raw", 1_000, 128, 16, (), None)
    with pytest.raises(NotBuilt, match=re.escape("shop/fn: ../../../lib/build/nothing is not there")):
        own(declared)


def test_memory_of_a_process_that_is_gone_is_none() -> None:
    """Its end is noticed elsewhere."""
    assert worker.anonymous_bytes(2**22 + 1) == 0
    assert worker.anonymous_bytes(os.getpid()) > 1_000_000


def test_a_line_that_is_no_json_is_not_what_was_wanted() -> None:
    """However deep."""
    assert worker.is_json(b'{"ok": true}', {"ok": True})
    assert not worker.is_json(b"[" * 100_000, {})
    assert not worker.is_json(json.dumps({"ok": False}).encode(), {"ok": True})


def test_functions_run_on_the_python_they_are_built_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ours when it is 3.11, else one on PATH; without any, one clear line."""
    assert isolated._interpreter() == (
        sys.executable if sys.version_info[:2] == (3, 11) else shutil.which("python3.11")
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotBuilt, match="that is what functions are built for"):
        isolated._interpreter((3, 12))
    (tmp_path / "python3.11").symlink_to(sys.executable)
    assert isolated._interpreter((3, 12)) == str(tmp_path / "python3.11")
