"""A function has started: from here on garbage is collected again, and what the start made is left out of it."""

import gc


def ready() -> None:
    """Turn the collector on, if the start turned it off (lib/build.py); what is there now lives for ever anyway."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
