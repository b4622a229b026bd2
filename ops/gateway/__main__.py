"""`./doit gateway`: write HAProxy's configuration for an environment, have HAProxy check it, run it here or as an app.

`create` makes the app of an environment that runs on App Platform; `reload` takes a changed environment and changed
secrets over, wherever the gateway runs.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from ops.gateway import app, generate, layout, runtime, start
from ops.gateway.environment import COLOURS, NAMES, Colour, Environment, EnvironmentInvalid, load, pick
from ops.gateway.generate import ConfigRefused
from ops.gateway.runtime import GatewayUnreachable
from ops.release.state import DatabaseUnreachable

_KNOWN = (EnvironmentInvalid, ConfigRefused, GatewayUnreachable, DatabaseUnreachable, OSError)


def main(arguments: list[str]) -> int:
    """Run one command; exit 0, or 1 with what is wrong."""
    parser = argparse.ArgumentParser(prog="./doit gateway", description=__doc__)
    commands = {"generate": _generate, "check": _check, "run": _run, "create": _create, "reload": _reload}
    parser.add_argument("command", choices=commands)
    parser.add_argument("environment", nargs="?", help=NAMES)
    parser.add_argument("--out", type=Path, help="generate: into this folder, not the environment's own")
    parser.add_argument(
        "--active",
        choices=COLOURS,
        help="who has all calls where no weights are kept; else the database is asked",
    )
    options = parser.parse_args(arguments)
    try:
        commands[options.command](load(pick(options.environment)), options)
    except _KNOWN as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 1
    return 0


def _generate(environment: Environment, options: argparse.Namespace) -> None:
    """Write the files; the state that is kept there stays."""
    folder = options.out or environment.gateway.folder
    named = generate.all_to(options.active) if options.active else None
    layout.lay_out(environment, folder, named or runtime.kept_shares(folder))


def _check(environment: Environment, _options: argparse.Namespace) -> None:
    """Have HAProxy read what would be written. Its certificate is another machine's: one without is checked."""
    with tempfile.TemporaryDirectory(prefix="gateway") as folder:
        gateway = environment.gateway.model_copy(update={"folder": Path(folder), "certificate": None})
        here = environment.model_copy(update={"gateway": gateway})
        generate.write({**generate.render(here, name=environment.name), runtime.STATE: runtime.NO_STATE}, Path(folder))
        generate.write_secrets({}, Path(folder))
        generate.check(Path(folder))
    print(f"gateway: HAProxy takes the configuration of {environment.name}")


def _run(environment: Environment, options: argparse.Namespace) -> None:
    """Become HAProxy. Weights that are kept count, unless they are old; a folder in memory loses them."""
    secrets = _secrets(environment)
    folder = options.out or environment.gateway.folder
    layout.lay_out(environment, folder, start.shares(environment, folder, options.active))
    generate.write_secrets(secrets, folder)
    command = generate.command(folder)
    os.execvp(command[0], command)  # noqa: S606 - no shell wanted


def _create(environment: Environment, options: argparse.Namespace) -> None:
    """Make the app."""
    if environment.gateway.runs != "app-platform":
        raise EnvironmentInvalid(f"the gateway of {environment.name} is no app: ./doit gateway run {environment.name}")
    print(f"making the app of {environment.name} from what is pushed: some minutes ...", flush=True)
    app_id, address = app.create(environment, _secrets(environment), options.active or start.active(environment))
    print(f"app_id: {app_id}    (for deploy/environments/{environment.name}.yml)")
    print(f"it answers at {address or 'the address that doctl apps list shows'}")


def _reload(environment: Environment, _options: argparse.Namespace) -> None:
    """Take a changed environment and changed secrets over; weights stay, and no call is lost."""
    if environment.gateway.runs == "app-platform":
        print(f"building the app of {environment.name} from what is pushed: some minutes ...", flush=True)
        app.App(environment).renew(_secrets(environment))
    else:
        folder = environment.gateway.folder
        runtime.runtime_of(environment).save(folder)
        secrets = _secrets(environment)
        layout.lay_out(environment, folder, runtime.kept_shares(folder))
        generate.write_secrets(secrets, folder)
        generate.check(folder)
        runtime.reload(folder)
    print("gateway: new workers take the calls")


def _secrets(environment: Environment) -> dict[Colour, str]:
    return {colour: environment.secret(colour) for colour in COLOURS}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
