"""The migration files: their numbers, their phases, and what a new one begins as.

An *expand* migration adds: code of the version before goes on working. A *contract* migration takes away what only
older code needs; it comes with the first code that can do without, so that code whose number is at least its own can.
"""

import ast
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from mongomig.config.loader import load_config
from mongomig.config.models import LoadedConfig
from mongomig.errors import ScriptError
from mongomig.migrations.graph import build_graph
from mongomig.migrations.revision import render_revision, slugify
from mongomig.migrations.script import Script

Phase = Literal["expand", "contract"]
EXPAND: Phase = "expand"
CONTRACT: Phase = "contract"
PHASES: tuple[Phase, ...] = (EXPAND, CONTRACT)

ROOT = Path(__file__).resolve().parents[2]
UNPHASED = 7
"""Up to here no file declares a phase, and all of them expand. Code that says no number was made for this one."""
CODE = Path("lib/getsmart/stores/controls.py")
_NUMBER = re.compile(r"^SCHEMA = \d+$", re.MULTILINE)


def settings(uri: str, database: str, root: Path = ROOT) -> LoadedConfig:
    """mongomig.yaml with that database in it. Raises ConfigError."""
    env: Mapping[str, str] = {"MONGODB_URI": uri, "MONGODB_DATABASE": database}
    return load_config(root / "mongomig.yaml", env=env)


def number(revision: str) -> int:
    """A revision's number, by which code says what it was made for."""
    return int(revision)


def phase(script: Script) -> Phase:
    """What the file declares; the file is read, not run. Raises ScriptError for one that declares nothing."""
    for node in ast.parse(script.path.read_bytes()).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["phase"]:
            for known in PHASES:
                if isinstance(node.value, ast.Constant) and node.value.value == known:
                    return known
            break
    else:
        if number(script.revision) <= UNPHASED:
            return EXPAND
    raise ScriptError(f'{script.path.name}: has to declare phase = "expand" or phase = "contract"')


def new(message: str, phase: Phase = EXPAND, root: Path = ROOT) -> Path:
    """Write an empty migration with the next number, and that number into the code; returns the file's path."""
    versions = root / "migrations" / "versions"
    last = max(build_graph(versions).scripts)
    revision = f"{number(last) + 1:04d}"
    path = versions / f"{revision}_{slugify(message)}.py"
    text = render_revision(
        rev_id=revision, message=message, down_revision=last, snapshot_hash=None, created=datetime.now(UTC)
    )
    path.write_text(text.replace("\nreversible = True\n", f'\nreversible = True\nphase = "{phase}"\n'))
    code = root / CODE
    code.write_text(_NUMBER.sub(f"SCHEMA = {number(revision)}", code.read_text()))
    return path
