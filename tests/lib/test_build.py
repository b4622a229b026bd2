"""What the build makes lighter is known letter by letter: an upgrade that changes it ends the build."""

import importlib.util
import runpy
from pathlib import Path
from types import ModuleType

import pytest

from tests.support import ROOT


@pytest.fixture(scope="module")
def build() -> ModuleType:
    """lib/build.py, which is no part of the library."""
    spec = importlib.util.spec_from_file_location("build_of_lib", ROOT / "lib/build.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_module_is_made_lighter_and_keeps_its_names(build: ModuleType, tmp_path: Path) -> None:
    """The schemas of the locked pydantic are plain dictionaries then, and the functions that make them work."""
    name = "pydantic_core/core_schema.py"
    spec = importlib.util.find_spec("pydantic_core.core_schema")
    assert spec
    assert spec.origin
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(Path(spec.origin).read_text())
    build.lighten(tmp_path)
    before, after = runpy.run_path(spec.origin), runpy.run_path(str(tmp_path / name))
    assert before.keys() == after.keys()
    assert after["StringSchema"].__mro__[1:] == (after["TypedDict"], dict, object)
    assert after["str_schema"](min_length=1) == before["str_schema"](min_length=1) == {"type": "str", "min_length": 1}


def test_another_release_of_a_module_ends_the_build(build: ModuleType, tmp_path: Path) -> None:
    """Nobody guesses what is still needless; a kind that lacks the module has nothing to make lighter."""
    build.lighten(tmp_path)
    (tmp_path / "pydantic_core").mkdir()
    (tmp_path / "pydantic_core/core_schema.py").write_text("from typing import TypedDict\n")
    with pytest.raises(OSError, match=r"pydantic_core/core_schema\.py is not what lib/build\.py makes lighter"):
        build.lighten(tmp_path)
