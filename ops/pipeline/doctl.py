"""doctl: the one that ./doit doctl put here, else that of PATH; to deploy to a namespace, and to change an app.

It runs without our environment: the env file alone decides what a function is given. No secret stands in what we print.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ops.functions import ROOT

INSTALLED = Path(".local/bin")  # where ./doit doctl puts it
TOKEN = "DIGITALOCEAN_ACCESS_TOKEN"  # noqa: S105 - a variable's name
# What doctl and the deployer need of a process: programs, its own files, its account, a proxy. ENCRYPTION_KEY, for one,
# would be taken for the deployer's own.
_KEPT = ("PATH", "HOME", "LANG", "XDG_CONFIG_HOME", TOKEN, "HTTPS_PROXY", "https_proxy", "TMPDIR")
_SECONDS = 1_800.0


class DoctlFailed(Exception):
    """doctl is not there, or ended with an error; the text is safe to print."""


def connect(namespace: str, access_key: str | None, token: str | None = None) -> None:
    """Make the namespace the one that is deployed to; without a key by the account's token. Raises DoctlFailed.

    `token` is the account's, where the process has none of its own; so everywhere below.
    """
    by_key = ["--access-key", access_key] if access_key else []
    run(["serverless", "connect", namespace, *by_key], secret=access_key, token=token)


def deploy(folder: Path, env_file: Path, token: str | None = None) -> str:
    """Deploy a staged folder; what doctl said. Its project.yml names the namespace, which guards against any other.

    Raises DoctlFailed when anything of it failed: what came before stays deployed.
    """
    return run(["serverless", "deploy", str(folder), "--env", str(env_file)], token=token)


def run(
    words: Sequence[str], *, secret: str | None = None, token: str | None = None, more: Mapping[str, str] | None = None
) -> str:
    """Run doctl, with `more` variables; all that it said. Raises DoctlFailed with the end of it, without the secret."""
    done = _done(words, {TOKEN: token} | dict(more or {}), stderr=subprocess.STDOUT)
    said = done.stdout.replace(secret, "***") if secret else done.stdout
    if done.returncode:
        last = "\n".join(said.strip().splitlines()[-20:])
        raise DoctlFailed(f"doctl {words[0]} {words[1]} ended with {done.returncode}:\n{last}")
    return said


def ask(words: Sequence[str], *, text: str = "", token: str | None = None) -> str:
    """Run doctl with the text as its input; what it answered on stdout, without remarks. Raises DoctlFailed."""
    done = _done(words, {TOKEN: token}, text=text, stderr=subprocess.PIPE)
    if done.returncode:
        raise DoctlFailed(f"doctl {words[0]} {words[1]}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _done(
    words: Sequence[str], more: Mapping[str, str | None], *, text: str = "", stderr: int
) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT / INSTALLED), os.environ.get("PATH", "")])
    program = shutil.which("doctl", path=path)
    if program is None:
        raise DoctlFailed("doctl is not installed: ./doit doctl")
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    given = {name: value for name, value in more.items() if value and not kept.get(name)}
    try:
        return subprocess.run(
            [program, *words],
            env={**kept, **given, "PATH": path},
            check=False,
            text=True,
            input=text,  # and no more: it never asks
            stdout=subprocess.PIPE,
            stderr=stderr,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DoctlFailed(f"doctl {words[0]} {words[1]}: {error}") from None
