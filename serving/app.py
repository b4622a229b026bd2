"""The WSGI application: functions-framework around the gateway, for waitress here and gunicorn in a container.

`gunicorn 'serving.app:create_app()'` makes one in each worker, after the fork.
"""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import functions_framework
from flask import Flask

from ops.functions import ROOT, load
from serving.gateway import Function, Gateway
from serving.main import GATEWAY, PATH

_SOURCE = Path(__file__).with_name("main.py")


class _OnePath:
    """Middleware that keeps the path for the gateway and lets the framework see only its catch-all."""

    def __init__(self, wsgi: Any) -> None:
        self._wsgi = wsgi

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        environ[PATH] = path.encode("latin-1").decode("utf-8", "replace")
        environ["PATH_INFO"] = "/"
        answer: Iterable[bytes] = self._wsgi(environ, start_response)
        return answer


def create_app(functions: Iterable[Function] | None = None, **options: Any) -> Flask:
    """The application for these functions; without any for those of the project's own project.yml.

    Options are those of Gateway. SERVING_JSON_AS_BASE64=on passes JSON bodies as base64, as the platform may do;
    WEB_SECURE is the secret of a gateway in front.
    """
    if functions is None:
        add_library(ROOT)
        functions = load(ROOT)
    app: Flask = functions_framework.create_app(  # type: ignore[no-untyped-call]
        target="handle", source=str(_SOURCE)
    )
    json_as_base64 = os.environ.get("SERVING_JSON_AS_BASE64", "off") == "on"
    options = {"json_as_base64": json_as_base64, "web_secure": os.environ.get("WEB_SECURE"), **options}
    app.extensions[GATEWAY] = Gateway(functions, **options)
    app.wsgi_app = _OnePath(app.wsgi_app)  # type: ignore[method-assign]
    return app


def add_library(root: Path) -> None:
    """Put the project's shared library on the import path, where every built function has it."""
    library = str(root / "lib")
    if library not in sys.path:
        sys.path.append(library)
