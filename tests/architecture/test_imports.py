"""Who may import whom, as docs/architecture.md draws it: doors, edge, services, machine, stores and provider, words."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

WORDS = (
    *("errors", "fields", "amounts", "models", "config", "log", "clock", "ids", "replies", "objects", "tokens"),
    *("paging", "tables", "warm", "hooks", "breaks", "calls", "trace", "jsontext"),
)
EDGE = ("web", "auth", "limits", "idempotency", "rows")

# Room -> the rooms it may import. A room is a module of lib/getsmart, a folder of it, or one of the groups above.
# The longest name that fits a module decides; a room may not import itself unless it says so.
ALLOWED = {
    "doors": {"front"},
    "doors.tick": {"services", "words"},
    "handlers": {"front", "edge", "services", "words"},
    "front": {"words", "stores.failures"},
    "edge": {"front", "edge", "words"},
    "auth": {"edge", "stores", "words"},
    "limits": {"edge", "stores", "words"},
    "idempotency": {"front", "words"},
    "services": {"machine", "stores", "mongo", "metakeep", "outbound", "chain", "words"},
    "services.views": {"stores", "mongo", "chain", "words"},
    "services.history": {"stores", "words"},
    "services.privacy": {"stores", "mongo", "words"},
    "services.batches": {"stores", "words"},
    "services.eventlog": {"stores", "words"},
    "machine": {"machine", "stores", "mongo", "metakeep", "outbound", "chain", "words"},
    "stores": {"mongo", "words"},
    "mongo": {"words"},
    "metakeep.protocol": {"words"},
    "metakeep.signing": {"words"},
    "metakeep.client": {"metakeep.protocol", "metakeep.signing", "metakeep.again", "words"},
    "metakeep.again": {"metakeep.protocol", "words"},
    "metakeep.webhook": {"metakeep.signing", "words"},
    "outbound.signing": {"words"},
    "outbound.targets": {"words"},
    "outbound.post": {"outbound.targets", "words"},
    "chain": {"words"},
    "words": {"words"},
}

# Who may import which package from outside, whatever it is for.
DATABASE = {"mongo", "stores", "machine", "services", "words"}
OUTSIDE = {
    "pydantic": {"handlers", "edge", "words"},
    "pydantic_core": {"handlers", "edge", "words"},
    "pymongo": DATABASE - {"words"},
    "bson": DATABASE,
    "requests": {"metakeep.client"},
    "urllib3": {"metakeep.client"},
    "tenacity": {"metakeep.again"},
    "cryptography": {"metakeep.signing"},
    "ulid": {"words"},
    "pymerkle": {"machine"},
}


def imported(source: str) -> Iterator[str]:
    """Every dotted name that the source imports, at the top or inside a function, as `module` or `module.name`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (f"{module}.{alias.name}" for alias in node.names)


def room(name: str) -> str:
    """The room of a dotted name inside getsmart: `getsmart.stores.wallets.find` is in `stores`."""
    inner = name.removeprefix("getsmart.")
    first = inner.split(".")[0]
    fitting = [key for key in ALLOWED if inner == key or inner.startswith(key + ".")]
    group = "edge" if first in EDGE else "words" if first in WORDS else first
    return max(fitting, key=len) if fitting else group


def may_import(importer: str, target: str) -> bool:
    """Whether a room may import a dotted name of getsmart."""
    allowed = ALLOWED[importer]
    inner = target.removeprefix("getsmart.")
    parents = {".".join(inner.split(".")[:depth]) for depth in range(1, inner.count(".") + 2)}
    group = {"edge"} if inner.split(".")[0] in EDGE else {"words"} if inner.split(".")[0] in WORDS else set()
    return bool(allowed & (parents | group))


def breaches(path: str, source: str) -> list[str]:
    """What a file of packages/ or lib/getsmart imports against the rule, a sentence each."""
    if path.startswith("packages/"):
        importer = "handlers" if path.endswith("/handler.py") else "doors.tick" if "/tick/" in path else "doors"
    else:
        importer = room("getsmart." + path.removeprefix("lib/getsmart/").removesuffix(".py").replace("/", "."))
    if importer not in ALLOWED and not path.endswith("__init__.py"):
        return [f"{path} is in no room that the rule knows"]
    found = []
    for name in imported(_without_type_checking(source)):  # what is imported for types alone is no arrow
        top = name.split(".")[0]
        if top == "getsmart":
            if importer in ALLOWED and not may_import(importer, name):
                found.append(f"{path} ({importer}) imports {name}")
        elif top not in sys.stdlib_module_names and importer not in OUTSIDE.get(top, set()) | _rooms_above(top):
            found.append(f"{path} ({importer}) imports {name}")
    return found


def _rooms_above(top: str) -> set[str]:
    """The special rooms inside an allowed one: what `services` may have, `services.views` may have too."""
    return {key for key in ALLOWED for allowed in OUTSIDE.get(top, set()) if key.startswith(allowed + ".")}


def sources(*folders: str) -> list[Path]:
    """Every Python file below these folders of the repository."""
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("path", sources("packages", "lib/getsmart"), ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_point_one_way(path: Path) -> None:
    """No file of packages/ or lib/ imports what its room may not."""
    assert breaches(str(path.relative_to(ROOT)), path.read_text()) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("packages/tokens/mint/handler.py", "from getsmart.stores import wallets"),
        ("packages/tokens/mint/__main__.py", "from getsmart.services import tokens"),
        ("packages/tokens/mint/__main__.py", "from getsmart.web import endpoint"),
        ("packages/tokens/mint/__main__.py", "import pydantic"),
        ("lib/getsmart/front.py", "from getsmart.auth import admit"),
        ("lib/getsmart/front.py", "import pydantic"),
        ("packages/tokens/mint/handler.py", "import getsmart.stores.wallets"),
        ("packages/tokens/mint/handler.py", "from getsmart import mongo"),
        ("packages/tokens/mint/handler.py", "def main():\n    from getsmart.metakeep import client"),
        ("packages/tokens/mint/handler.py", "from packages.tokens.burn.__main__ import main"),
        ("packages/tokens/mint/handler.py", "from ops.functions import load"),
        ("packages/tokens/mint/handler.py", "import pymongo"),
        ("packages/tokens/mint/handler.py", "from . import helper"),
        ("lib/getsmart/web.py", "from getsmart.stores import keys"),
        ("lib/getsmart/web.py", "from getsmart.services import tokens"),
        ("lib/getsmart/web.py", "import requests"),
        ("lib/getsmart/web.py", "if True:\n    from pymongo.errors import PyMongoError"),
        ("lib/getsmart/auth.py", "from getsmart.services import wallets"),
        ("lib/getsmart/limits.py", "from getsmart import mongo"),
        ("lib/getsmart/services/tokens.py", "from getsmart.web import Reply"),
        ("lib/getsmart/services/tokens.py", "from getsmart.services import wallets"),
        ("lib/getsmart/services/views.py", "from getsmart.metakeep import client"),
        ("lib/getsmart/services/views.py", "from getsmart.machine import settle"),
        ("lib/getsmart/services/views.py", "import requests"),
        ("lib/getsmart/machine/send.py", "from getsmart.services import tokens"),
        ("lib/getsmart/stores/wallets.py", "from getsmart.stores import ledger"),
        ("lib/getsmart/stores/wallets.py", "from getsmart.metakeep.client import call"),
        ("lib/getsmart/mongo.py", "from getsmart.stores import wallets"),
        ("lib/getsmart/metakeep/client.py", "from getsmart.metakeep import webhook"),
        ("lib/getsmart/metakeep/protocol.py", "from getsmart.metakeep import client"),
        ("lib/getsmart/metakeep/protocol.py", "import requests"),
        ("lib/getsmart/metakeep/signing.py", "from getsmart import mongo"),
        ("lib/getsmart/errors.py", "from getsmart.web import Reply"),
        ("lib/getsmart/models.py", "import pymongo"),
        ("lib/getsmart/amounts.py", "import numpy"),
        ("lib/getsmart/log.py", "from tests.builders import event"),
        ("lib/getsmart/surprise.py", "import os"),
        ("lib/getsmart/attic/old.py", "import os"),
    ],
)
def test_the_rule_bites(path: str, source: str) -> None:
    """Each kind of forbidden import is found, wherever in the file it hides."""
    assert len(breaches(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("packages/tokens/mint/__main__.py", "from getsmart.front import KEY, function"),
        ("packages/tokens/mint/handler.py", "from getsmart.services import tokens\nfrom getsmart.web import endpoint"),
        ("lib/getsmart/auth.py", "from getsmart.stores import keys"),
        ("lib/getsmart/services/views.py", "from getsmart import mongo\nfrom getsmart.stores import wallets"),
        ("lib/getsmart/metakeep/client.py", "import requests\nfrom getsmart.metakeep import signing"),
        ("lib/getsmart/stores/wallets.py", "import pymongo\nfrom getsmart.errors import NotFound"),
    ],
)
def test_the_rule_allows_what_it_should(path: str, source: str) -> None:
    """The arrows as drawn are no breach."""
    assert breaches(path, source) == []


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle, or nothing."""
    remaining = {name: set(targets) & set(graph) for name, targets in graph.items()}
    while leaves := {name for name, targets in remaining.items() if not targets}:
        remaining = {name: targets - leaves for name, targets in remaining.items() if name not in leaves}
    return sorted(remaining)


def test_no_module_of_the_library_imports_itself_in_a_circle() -> None:
    """Within a room too the arrows point one way; imports for types alone do not count."""
    names = {path: ".".join(path.relative_to(ROOT / "lib").with_suffix("").parts) for path in sources("lib/getsmart")}
    graph = {}
    for path, name in names.items():
        targets = set(imported(_without_type_checking(path.read_text())))
        graph[name] = {
            other for other in names.values() if any(f"{target}.".startswith(f"{other}.") for target in targets)
        }
    assert cycle(graph) == []


def _without_type_checking(source: str) -> str:
    tree = ast.parse(source)
    for_types = [node for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    return ast.unparse(ast.Module([node for node in tree.body if node not in for_types], []))


def test_a_circle_is_found() -> None:
    """Three modules in a ring are reported, a chain is not."""
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c", "d"]
    assert cycle({"a": {"b"}, "b": {"c"}, "c": set()}) == []


def test_the_edge_loads_neither_database_driver_nor_http_client() -> None:
    """Importing getsmart.web loads no pymongo, requests or cryptography, not even through something else."""
    assert loaded_by("import getsmart.web", "pymongo", "requests", "cryptography", "getsmart.auth") == []


def test_the_front_loads_nothing_from_outside() -> None:
    """Nor does it load what validates: a call that is refused for its form pays for none of it."""
    assert loaded_by("import getsmart.front", "pydantic", "dataclasses", "pymongo", "getsmart.web") == []


def test_what_is_loaded_is_seen() -> None:
    """The check above would notice: the provider's client does load requests."""
    assert loaded_by("import getsmart.metakeep.client", "requests") == ["requests"]


def loaded_by(statement: str, *modules: str) -> list[str]:
    """Those of the modules that a fresh interpreter has loaded after the statement."""
    code = f"import sys\n{statement}\nprint(*(name for name in {modules!r} if name in sys.modules))"
    finished = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT / "lib")}, capture_output=True, text=True, check=True
    )
    return finished.stdout.split()


@pytest.mark.parametrize("path", sources("migrations/versions"), ids=lambda path: path.name)
def test_migrations_stand_alone(path: Path) -> None:
    """A migration imports nothing of ours: it has to do the same in a year's time."""
    ours = {"getsmart", "packages", "serving", "local", "ops", "tests"}
    assert [name for name in imported(path.read_text()) if name.split(".")[0] in ours or name.startswith(".")] == []


READING = {"get", "list", "balance", "statement", "export", "erase", "info", "transactions"}
READING_DOORS = [path for path in sources("packages") if path.parent.name in READING and path.name == "handler.py"]


@pytest.mark.parametrize("path", READING_DOORS, ids=lambda path: str(path.parent.relative_to(ROOT / "packages")))
def test_reading_doors_load_no_provider_client(path: Path) -> None:
    """A function that only reads loads neither the provider's client nor requests nor the signing: it starts fast."""
    # Not asked of cryptography itself: pymongo loads it wherever it finds it installed.
    statement = f"import runpy; runpy.run_path({str(path)!r})"
    assert loaded_by(statement, "requests", "getsmart.metakeep.client", "getsmart.metakeep.signing") == []
