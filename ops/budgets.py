"""What a function may cost before it does its work: the bytes and files of its zip, and the modules that it loads.

The limits are counts, the same on every machine, so that exceeding one is a failed check and not a matter of luck.
modules.json is what was loaded when they were set: it tells a module that is new from those that were always there
(`./doit package --set-baseline` writes it anew).
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["open", "read", "write"]

BASELINE = Path(__file__).with_name("modules.json")
MOST_ZIP_BYTES: dict[Kind, int] = {"open": 4_000_000, "read": 5_000_000, "write": 11_500_000}
MOST_FILES: dict[Kind, int] = {"open": 200, "read": 340, "write": 540}
MOST_READY = 95
MOST_CALLED: dict[Kind, int] = {"open": 192, "read": 362, "write": 480}  # the tick's, with reconciliation

# Packages that a kind of function has no use for: not packed, and so never loaded.
NOT_SHIPPED: dict[Kind, frozenset[str]] = {
    "open": frozenset({"pymongo", "bson", "requests", "urllib3", "certifi", "cryptography", "tenacity", "pymerkle"}),
    "read": frozenset({"requests", "urllib3", "certifi", "cryptography", "tenacity", "pymerkle"}),
    "write": frozenset(),
}
# ... and what no function may load: before its first call, because a refusal needs none of it; and never.
NOT_WHEN_READY = frozenset(
    {"pydantic", "pymongo", "bson", "requests", "urllib3", "cryptography", "tenacity"}
    | {"dataclasses", "inspect", "ssl", "asyncio", "email", "http", "logging", "threading", "getsmart.web"}
)
NEVER = frozenset({"pymongo.asynchronous.mongo_client", "OpenSSL", "dns", "unittest", "pip"})


@dataclass(frozen=True)
class Loaded:
    """The names of the modules in memory: with the function ready, and once a first call imported its handler."""

    ready: frozenset[str]
    called: frozenset[str]


def of_zip(kind: Kind, names: Sequence[str], size: int) -> Iterator[str]:
    """What is too much about the files of a zip of that many bytes, a line each."""
    if size > MOST_ZIP_BYTES[kind]:
        yield f"zip of {size} bytes is over {MOST_ZIP_BYTES[kind]}"
    if len(names) > MOST_FILES[kind]:
        yield f"{len(names)} files are over {MOST_FILES[kind]}"
    shipped = {name.partition("site-packages/")[2].partition("/")[0].removesuffix(".pyc") for name in names}
    for package in sorted(shipped & NOT_SHIPPED[kind]):
        yield f"packs {package}, which a function of kind {kind} has no use for"


def of_start(kind: Kind, loaded: Loaded) -> Iterator[str]:
    """What is too much about the modules of a function on the web, a line each that names them."""
    for module in _within(loaded.ready, NOT_WHEN_READY):
        yield f"loads {module} before its first call"
    yield from _count("ready", loaded.ready, MOST_READY, "ready")
    yield from of_call(kind, loaded)


def of_call(kind: Kind, loaded: Loaded) -> Iterator[str]:
    """The same, of what any function has loaded once it was called."""
    for module in _within(loaded.called, NEVER):
        yield f"loads {module}, which no function may"
    yield from _count("called", loaded.called, MOST_CALLED[kind], kind)


def _count(when: str, names: frozenset[str], most: int, known: str) -> Iterator[str]:
    if len(names) > most:
        new = ", ".join(sorted(names - baseline()[known])[:20]) or "none by name"
        yield f"{len(names)} modules are loaded once it is {when}, over {most}; new are: {new}"


def _within(loaded: frozenset[str], forbidden: frozenset[str]) -> list[str]:
    """The forbidden among the loaded; what is in a forbidden package counts as the package."""
    return sorted(one for one in forbidden if any(f"{name}.".startswith(f"{one}.") for name in loaded))


def baseline() -> dict[str, frozenset[str]]:
    """By `ready` and kind: what was loaded when the limits were set."""
    return {when: frozenset(names) for when, names in json.loads(BASELINE.read_text()).items()}


def set_baseline(found: Sequence[tuple[Kind, Loaded]]) -> None:
    """Write what these functions on the web load."""
    known = {"ready": frozenset[str]().union(*(loaded.ready for _, loaded in found))}
    for kind in MOST_CALLED:
        known[kind] = frozenset[str]().union(*(loaded.called for one, loaded in found if one == kind))
    BASELINE.write_text(json.dumps({when: sorted(names) for when, names in known.items()}, indent=0) + "\n")
