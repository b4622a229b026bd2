"""How `./doit` starts: the task of a program of ours becomes that program, any other word goes to the task runner."""

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from doit.cmd_base import DodoTaskLoader
from doit.doit_cmd import DoitMain

Task = dict[str, Any]


def program(module: str, *fixed: str) -> Task:
    """The task that is `python -m module`, given the fixed words and then every word and option after the task's name.

    Asked for on the command line it replaces the task runner, so that process id, signals, output and exit code are the
    program's own. As a step of another task it is a child process, and the step fails as the program does.
    """
    command = ["-m", module, *fixed]
    return {
        "actions": [(_succeeds, [command])],
        "pos_arg": "words",
        "verbosity": 2,
        "meta": {"program": command},
    }


def _succeeds(command: Sequence[str], words: Sequence[str] | None) -> bool:
    return subprocess.run([sys.executable, *command, *(words or [])], check=False).returncode == 0


def _asked_for(name: str) -> Task | None:
    """The task of that name as dodo.py describes it, if there is one and it describes one task."""
    import dodo

    creator = getattr(dodo, f"task_{name}", None)
    task = creator() if creator else None
    return task if isinstance(task, dict) else None


def main(words: Sequence[str]) -> int:
    """Do what the command line asks for: become a program, or run tasks and return the runner's exit code."""
    task = _asked_for(words[0]) if words else None
    if task and "program" in task.get("meta", {}):
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, *task["meta"]["program"], *words[1:]])  # noqa: S606 - no shell wanted
    if task and "pos_arg" in task:
        words = [words[0], "--", *words[1:]]
    return int(DoitMain(DodoTaskLoader()).run(list(words)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
