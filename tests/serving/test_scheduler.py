"""What has a schedule runs again and again, whatever one run does, until it is told to end."""

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from tests.local import programs
from tests.local.programs import eventually

PROJECT = """
packages:
  - name: ops
    functions:
      - name: work
        runtime: python:3.11
        web: false
        limits: {timeout: 300000, memory: 128, logs: 16}
        triggers:
          - {name: every-minute, sourceType: scheduler, sourceDetails: {cron: "* * * * *"}}
      - name: other
        runtime: python:3.11
        web: raw
        limits: {timeout: 300000, memory: 128, logs: 16}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one scheduled function, whose code the test writes, and one that is not."""
    (tmp_path / "project.yml").write_text(PROJECT)
    for name in ("work", "other"):
        (tmp_path / "packages" / "ops" / name).mkdir(parents=True)
        (tmp_path / "packages" / "ops" / name / "__main__.py").write_text("raise RuntimeError('never called')")
    return tmp_path


@pytest.fixture(params=[(), ("--isolated",)], ids=["in_process", "isolated"])
def schedule(project: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Write the scheduled function, and start the program; the same in both modes unless a test says otherwise."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str) -> subprocess.Popen[str]:
        (project / "packages" / "ops" / "work" / "__main__.py").write_text(dedent(code))
        started.append(programs.start("serving.scheduler", "--root", str(project), *request.param))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def announced(process: subprocess.Popen[str]) -> dict[str, list[str]]:
    """What it says when it is ready."""
    assert process.stdout is not None
    found: dict[str, list[str]] = json.loads(process.stdout.readline())
    return found


def test_a_run_that_fails_is_logged_and_the_next_one_follows(
    project: Path, schedule: Callable[[str], subprocess.Popen[str]]
) -> None:
    """The function gets an empty event and a context with its time limit; its failures end only one run."""
    seen = project / "seen"
    scheduler = schedule(
        f"""
        from pathlib import Path
        def main(event, context):
            assert event == {{}} and 0 < context.get_remaining_time_in_millis() <= 300000
            with Path({str(seen)!r}).open("a") as file:
                file.write("run\\n")
            raise ValueError("broken run")
        """,
    )
    assert announced(scheduler) == {"scheduled": ["ops/work"]}
    assert eventually(lambda: seen.exists() and len(seen.read_text().splitlines()) >= 2)
    scheduler.send_signal(signal.SIGTERM)
    _, err = scheduler.communicate(timeout=60)
    assert scheduler.returncode == 0
    assert "ValueError: broken run" in err
    assert "ops/work: this run failed" in err


def test_sigterm_ends_it_in_the_middle_of_a_run(
    project: Path, schedule: Callable[[str], subprocess.Popen[str]], request: pytest.FixtureRequest
) -> None:
    """At once; in process, what the run has to let go of is let go; isolated, it is killed as on the platform."""
    begun, tidied = project / "begun", project / "tidied"
    scheduler = schedule(
        f"""
        import time
        from pathlib import Path
        def main(event, context):
            try:
                Path({str(begun)!r}).touch()
                time.sleep(600)
            finally:
                Path({str(tidied)!r}).touch()
        """,
    )
    announced(scheduler)
    assert eventually(begun.exists)
    started = time.monotonic()
    scheduler.send_signal(signal.SIGTERM)
    _, err = scheduler.communicate(timeout=60)
    assert (scheduler.returncode, tidied.exists()) == (0, "in_process" in request.node.name)
    assert "this run failed" not in err
    assert time.monotonic() - started < 60
