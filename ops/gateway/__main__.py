"""`./doit gateway`: write HAProxy's configuration for an environment, have HAProxy check it, run it, reload it."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from ops.gateway import generate, runtime
from ops.gateway.environment import COLOURS, Environment, EnvironmentInvalid, load
from ops.gateway.generate import ConfigRefused
from ops.gateway.runtime import GatewayUnreachable


def main(arguments: list[str]) -> int:
    """Run one command; exit 0, or 1 with what is wrong."""
    parser = argparse.ArgumentParser(prog="./doit gateway", description=__doc__)
    parser.add_argument("command", choices=("generate", "check", "run", "reload"))
    parser.add_argument("environment", nargs="?", default="local", help="local, staging, production, or a file")
    parser.add_argument("--out", type=Path, help="generate: into this folder, not the environment's own")
    parser.add_argument("--active", choices=COLOURS, default="blue", help="who has all calls where no state is kept")
    options = parser.parse_args(arguments)
    try:
        environment = load(options.environment)
        command = {"generate": _generate, "check": _check, "run": _run, "reload": _reload}[options.command]
        command(environment, options)
    except (EnvironmentInvalid, ConfigRefused, GatewayUnreachable, OSError) as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 1
    return 0


def _generate(environment: Environment, options: argparse.Namespace) -> Path:
    """Write the files; the state that is kept there stays."""
    folder: Path = options.out or environment.gateway.folder
    generate.write(generate.render(environment, name=options.environment, active=options.active), folder)
    if not (folder / runtime.STATE).exists():
        (folder / runtime.STATE).write_text(runtime.NO_STATE, encoding="utf-8")
    print(f"wrote {folder / generate.CONFIG}", flush=True)
    return folder


def _check(environment: Environment, options: argparse.Namespace) -> None:
    """Have HAProxy read what would be written. Its certificate is another machine's: one without is checked."""
    with tempfile.TemporaryDirectory(prefix="gateway") as folder:
        gateway = environment.gateway.model_copy(update={"folder": Path(folder), "certificate": None})
        here = environment.model_copy(update={"gateway": gateway})
        generate.write(
            {**generate.render(here, name=options.environment), runtime.STATE: runtime.NO_STATE}, Path(folder)
        )
        generate.write_secrets({}, Path(folder))
        generate.check(Path(folder))
    print(f"gateway: HAProxy takes the configuration of {options.environment}")


def _run(environment: Environment, options: argparse.Namespace) -> None:
    """Become HAProxy."""
    secrets = {colour: environment.secret(colour) for colour in COLOURS}
    folder = _generate(environment, options)
    generate.write_secrets(secrets, folder)
    command = generate.command(folder)
    os.execvp(command[0], command)  # noqa: S606 - no shell wanted


def _reload(environment: Environment, options: argparse.Namespace) -> None:
    """Take a changed environment and changed secrets over; weights stay, and no call is lost."""
    folder = environment.gateway.folder
    runtime.runtime_of(environment).save(folder)
    secrets = {colour: environment.secret(colour) for colour in COLOURS}
    _generate(environment, options)
    generate.write_secrets(secrets, folder)
    generate.check(folder)
    runtime.reload(folder)
    print("gateway: new workers take the calls")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
