"""Lay a gateway's files out in a folder; `python -m ops.gateway.layout ENVIRONMENT FOLDER` does it for the image."""

import sys
from collections.abc import Mapping
from pathlib import Path

from ops.gateway import generate, runtime
from ops.gateway.environment import Colour, Environment, EnvironmentInvalid, load


def lay_out(environment: Environment, folder: Path, shares: Mapping[Colour, int] | None = None) -> None:
    """Write the files for a gateway whose colours have these shares; the state that is kept there stays.

    Raises EnvironmentInvalid.
    """
    generate.write(generate.render(environment, name=environment.name, shares=shares), folder)
    if not (folder / runtime.STATE).exists():
        (folder / runtime.STATE).write_text(runtime.NO_STATE, encoding="utf-8")
    print(f"wrote {folder / generate.CONFIG}", flush=True)


def main(arguments: list[str]) -> int:
    """Exit 0, or 1 with what is wrong."""
    name, folder = arguments
    try:
        lay_out(load(name), Path(folder))
    except EnvironmentInvalid as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
