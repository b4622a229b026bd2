"""Who types a command: what is left behind for whoever asks later who it was."""

import getpass
import os
import socket


def who() -> str:
    """A person (or whoever started the pipeline's run) and the machine: `ada@laptop`."""
    return f"{os.environ.get('GITHUB_ACTOR') or _user()}@{socket.gethostname()}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return str(os.getuid())
