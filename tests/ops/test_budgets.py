"""What is deployed stays small and starts cheaply; each budget is broken on purpose once, and names what broke it."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from ops import budgets, functions, package
from ops.functions import ROOT, Function
from ops.package import Package
from serving.unpack import building

# Everything else only reads and writes the database: a function that needs more costs its callers a slower start.
OPEN = {"ops/openapi"}
WRITE = {
    "wallets/create",
    "tokens/mint",
    "tokens/transfer",
    "tokens/burn",
    "tokens/airdrop",
    "tokens/consent",
    "webhooks/metakeep",
    "ops/tick",
}

Edit = Callable[[str], str]


pytestmark = pytest.mark.timeout(300)  # all zips are made: a quarter of a minute where nothing else runs


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> list[Package]:
    """Every function, built and packed."""
    package.build()
    return package.pack_all(tmp_path_factory.mktemp("zips"))


@pytest.fixture
def balance(tmp_path: Path) -> Function:
    """wallets/balance in a project of its own that shares the library, to be broken."""
    (tmp_path / "lib").symlink_to(ROOT / "lib")
    original = next(one for one in functions.load() if one.route == "wallets/balance")
    copied = tmp_path / "packages/wallets/balance"
    shutil.copytree(original.path, copied)
    return replace(original, path=copied)


def packed(function: Function, edit: Edit = str, file: str = "__main__.py", stray: str = "") -> list[str]:
    """What is said about the function once that file of it was changed and packed."""
    root = function.path.parents[2]
    source = function.path / file
    source.write_text(edit(source.read_text()))
    (function.path / ".include").write_text(package.include_of(function, root) + stray)
    return package.problems([pack(function)], root)


def pack(function: Function) -> Package:
    """Packed while nobody builds: it is the library of every other test that it shares."""
    root = function.path.parents[2]
    with building(root, shared=True):
        return package.pack(function, root / "packed.zip")


def at_start(line: str, text: str) -> str:
    """`text`, a door, with a line before its import."""
    return text.replace("from getsmart.front", f"{line}\nfrom getsmart.front", 1)


def in_handler(line: str, text: str) -> str:
    """`text`, a handler, with a line before its first import."""
    return text.replace("from typing", f"{line}\nfrom typing", 1)


def test_every_function_is_within_its_budgets(packages: list[Package]) -> None:
    """Lists, zips, files and modules, with none left out; of a kind that is a decision and not an accident.

    A module that is new is only known as such when all that are old stand in the baseline.
    """
    assert [one.function.route for one in packages] == [one.route for one in functions.load()]
    assert package.problems(packages) == []
    kinds = {one.function.route: one.kind for one in packages}
    assert {route for route, kind in kinds.items() if kind == "open"} == OPEN
    assert {route for route, kind in kinds.items() if kind == "write"} == WRITE
    known = budgets.baseline()
    for one in packages:
        if one.function.web:
            assert package.loaded(one).ready - known["ready"] == set(), one.function.route
            assert package.loaded(one).called - known[one.kind] == set(), one.function.route


def test_a_copy_that_nobody_broke_is_within_its_budgets(balance: Function) -> None:
    """What the tests below change is the only thing wrong with it."""
    assert packed(balance) == []


@pytest.mark.parametrize("module", ["pymongo", "pydantic", "dataclasses", "email", "ssl"])
def test_an_import_that_a_refusal_does_not_need_is_named(balance: Function, module: str) -> None:
    """It would make every refusal pay for it."""
    found = packed(balance, partial(at_start, f"import {module}"))
    assert f"wallets/balance: loads {module} before its first call" in found


def test_a_service_imported_at_the_top_is_named_by_what_it_brings(balance: Function) -> None:
    """It would load the driver for a call that is refused for its form."""
    found = packed(balance, partial(at_start, "from getsmart.services import views"))
    assert "wallets/balance: loads bson before its first call" in found
    assert "wallets/balance: loads pydantic before its first call" in found


def test_many_small_imports_are_counted_and_named(balance: Function) -> None:
    """None is forbidden by itself; the new ones stand in the message."""
    many = "import cmd, colorsys, filecmp, fileinput, getopt, imghdr, mailcap, netrc, optparse, pdb, pprint, sched"
    (only,) = [line for line in packed(balance, partial(at_start, many)) if "once it is ready" in line]
    assert f"over {budgets.MOST_READY}; new are: " in only
    assert "colorsys" in only
    assert "pydantic" not in only


def test_an_import_in_the_handler_that_no_function_may_make_is_named(balance: Function) -> None:
    """What a call loads counts as well."""
    found = packed(balance, partial(in_handler, "import unittest.mock"), "handler.py")
    assert "wallets/balance: loads unittest, which no function may" in found


def test_a_read_that_reaches_the_provider_becomes_a_write_and_its_list_stale(balance: Function) -> None:
    """The list that is committed was that of a read."""
    root = balance.path.parents[2]
    before = (balance.path / ".include").read_text()
    source = balance.path / "handler.py"
    source.write_text(in_handler("import requests", source.read_text()))
    assert package.kind_of(balance, root) == "write"
    (balance.path / ".include").write_text(before)
    found = package.problems([pack(balance)], root)
    assert "wallets/balance: .include is stale; run ./doit package" in found


def test_a_stray_file_is_noticed(balance: Function) -> None:
    """Nothing is packed but what the imports ask for."""
    (balance.path / "notes.md").write_text("what nobody asked for")
    assert "wallets/balance: .include is stale; run ./doit package" in packed(balance, stray="notes.md\n")


def test_what_a_kind_has_no_use_for_is_named() -> None:
    """A folder of dependencies that is too large for its function."""
    site = "virtualenv/lib/python3.11/site-packages"
    names = [f"{site}/requests/__init__.pyc", f"{site}/pymongo/__init__.pyc", f"{site}/typing_extensions.pyc"]
    assert list(budgets.of_zip("read", names, 1)) == ["packs requests, which a function of kind read has no use for"]
    assert list(budgets.of_zip("open", names, 1)) == [
        "packs pymongo, which a function of kind open has no use for",
        "packs requests, which a function of kind open has no use for",
    ]


def test_too_many_bytes_or_files_are_named() -> None:
    """By how many there are and may be."""
    names = [f"{number}.pyc" for number in range(341)]
    assert list(budgets.of_zip("read", names, 5_000_001)) == [
        "zip of 5000001 bytes is over 5000000",
        "341 files are over 340",
    ]
