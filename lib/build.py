"""Build what functions share into build/: one dependency folder a kind of function, and the library, as bytecode.

    build/<kind>/virtualenv/bin/activate_this.py     what the platform's launcher executes before anything else
    build/<kind>/virtualenv/lib/...                  the locked wheels of that kind, stripped
    build/getsmart/                                  the library

Wheels are for linux x86-64 and Python 3.11. Everything is sourceless, unchecked bytecode: the platform unpacks without
file times, so ordinary bytecode would count as stale and be compiled again on every cold start. Standard library only:
a remote build has nothing else. Exit 1 with one line when it fails; what was built before stays usable until then.
"""

import compileall
import fcntl
import hashlib
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent
BUILD = ROOT / "build"
# What a function reaches decides its kind: no database (`open`), the database (`read`), the provider or the chain too.
KINDS = {"open": "requirements-open.txt", "read": "requirements-read.txt", "write": "requirements.txt"}
SITE = Path("lib/python3.11/site-packages")
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux2014_x86_64")

# Left out, and why: nothing of it is imported by a function.
UNUSED_FOLDERS = (
    "bin",  # console scripts
    "cffi",  # its compiler side; the compiled backend stays
    "pycparser",  # needed by cffi's compiler side only
    "dns",  # mongodb+srv only, which docs/deploy.md advises against: it costs a DNS round trip at each cold start
    "gridfs",
    "pydantic/v1",
    "pydantic/mypy.py",
    "pydantic/_hypothesis_plugin.py",
)
UNUSED_SUFFIXES = (".pyi", ".c", ".h", ".pyx", ".pxd", ".typed", ".txt", ".md", ".rst")

# What a module does at its import that no function needs: the file, the text in it, and what stands there instead.
LIGHTER = (
    (  # some eighty dictionaries with types, which only type checkers read: a twentieth of a start
        "pydantic_core/core_schema.py",
        "    from typing_extensions import TypedDict\n",
        "    class TypedDict(dict):\n        def __init_subclass__(cls, total=True):\n            pass\n",
    ),
)

ACTIVATE = '''\
"""The platform's launcher executes this before the function is imported: the path, and what makes a start cheap."""

import gc
import importlib
import os
import sys
import types

_here = os.path.dirname(os.path.abspath(__file__))
_site = os.path.join(os.path.dirname(_here), "lib", "python3.11", "site-packages")
sys.path.insert(0, _site)
# Imports make much that lives for ever and little that dies: the first call turns it on again (getsmart/warm.py).
gc.disable()
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
# pymongo prefers pyOpenSSL when it finds it; the standard library's TLS is lighter, and one is enough.
sys.modules.setdefault("pymongo.pyopenssl_context", None)


class _Later(types.ModuleType):
    """Stands for a module until something of it is used; these names can be taken from it without loading it.

    What derives from one of `bases` can be defined, not made; an attribute of one of `objects` loads it.
    """

    def __init__(self, name, *callables, bases=(), objects=()):
        super().__init__(name)
        for one in objects:
            setattr(self, one, type(one, (), {"__getattr__": self._attribute_of(one)})())
        for one in bases:
            setattr(self, one, type(one, (), {"__init__": self._refuse(one)}))
        for one in callables:
            setattr(self, one, self._caller(one))
        if name not in sys.modules:
            sys.modules[name] = self
            parent, _, child = name.rpartition(".")
            if parent in sys.modules:
                setattr(sys.modules[parent], child, self)

    def _caller(self, name):
        return lambda *given, **named: getattr(self._module(), name)(*given, **named)

    def _refuse(self, base):
        def __init__(_, *given, **named):
            raise RuntimeError(f"{self.__name__}.{base} is left out of what is deployed: lib/build.py")

        return __init__

    def _attribute_of(self, name):
        return lambda _, attribute: getattr(getattr(self._module(), name), attribute)

    def _module(self):
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return importlib.import_module(self.__name__)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._module(), name)


# Imported by others, and used by none of them unless for a version, a plugin, a JSON schema, an asynchronous client,
# OIDC, an encoding that nobody named, a time zone, a proxy, an archive, a host that is not ASCII, a key in OpenSSH's
# form, the source of a function, or the name of a month.
_Later("importlib.metadata", "entry_points", "requires", "version")
_schemas = ("GenerateJsonSchema", "JsonSchemaMode", "JsonSchemaValue", "PydanticJsonSchemaWarning")
_Later("pydantic.json_schema", "model_json_schema", bases=_schemas).DEFAULT_REF_TEMPLATE = "#/$defs/{model}"
_Later("pymongo.asynchronous.mongo_client", "AsyncMongoClient")
_Later("pymongo.asynchronous.helpers", "_getaddrinfo")
_callbacks = ("_OIDCAzureCallback", "_OIDCGCPCallback", "_OIDCK8SCallback", "_OIDCTestCallback", "OIDCCallback")
_Later("pymongo.auth_oidc_shared", "_get_authenticator", bases=(*_callbacks, "_OIDCProperties"))
_Later("pymongo.synchronous.auth_oidc", "_authenticate_oidc", bases=("_OIDCAuthenticator",))
_Later("charset_normalizer", "detect").__version__ = "3.4.0"  # requests asks for it, and guesses no encoding for us
_Later("certifi").where = lambda: os.path.join(_site, "certifi", "cacert.pem")  # the real one unpacks a resource
_proxies = ("getproxies", "getproxies_environment", "proxy_bypass", "proxy_bypass_environment")
_Later("urllib.request", *_proxies, "parse_http_list")
_Later("zipfile")
_Later("mimetypes")
_Later("difflib", "get_close_matches")
_Later("http.cookies", bases=("Morsel",))
_Later("fractions", bases=("Fraction",))
_Later("tempfile")
_Later("locale")
_Later("tokenize")
_Later("ast", bases=("NodeVisitor",))
_Later("idna")
_Later("zoneinfo", bases=("ZoneInfo", "ZoneInfoNotFoundError"))
_Later("cryptography.hazmat.backends.openssl.backend", objects=("backend",))
_certificates = ("SSHCertificate", "SSHCertificateBuilder", "SSHCertificateType")
_keys = ("SSHCertPrivateKeyTypes", "SSHCertPublicKeyTypes", "SSHPrivateKeyTypes", "SSHPublicKeyTypes")
_loaders = ("load_ssh_private_key", "load_ssh_public_identity", "load_ssh_public_key", "ssh_key_fingerprint")
_Later("cryptography.hazmat.primitives.serialization.ssh", *_loaders, bases=(*_certificates, *_keys))
_transport = ("AbstractEventLoop", "BaseTransport", "BufferedProtocol", "Future", "Transport")
_Later("asyncio", "wait_for", bases=(*_transport, "events", "exceptions"))
'''


def main() -> int:
    """Build every kind whose lock changed, and the library."""
    if sys.version_info[:2] != (3, 11):
        sys.stderr.write("build.py: needs Python 3.11\n")
        return 1
    try:
        with alone(BUILD):
            for kind, lock in KINDS.items():
                build_kind(BUILD / kind, ROOT / lock)
            build_library(ROOT / "getsmart", BUILD / "getsmart")
    except (OSError, subprocess.CalledProcessError, py_compile.PyCompileError) as error:
        sys.stderr.write(f"build.py: {error}\n")
        return 1
    return 0


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait for whoever reads or changes the folder; serving/unpack.py takes the same lock."""
    folder.mkdir(exist_ok=True)
    with (folder / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build_kind(target: Path, lock: Path) -> None:
    """The dependency folder of one kind; nothing is done when lock and this file are as they were."""
    wanted = hashlib.sha256(lock.read_bytes() + Path(__file__).read_bytes()).hexdigest()
    stamp = target / ".locked"
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    with fresh(target) as scratch:
        site = scratch / "virtualenv" / SITE
        install(lock, site)
        strip(site)
        lighten(site)
        to_bytecode(site)
        activate = scratch / "virtualenv/bin/activate_this.py"
        activate.parent.mkdir()
        activate.write_text(ACTIVATE)
        (scratch / ".locked").write_text(wanted)


def build_library(source: Path, target: Path) -> None:
    """The library, always anew: it takes a moment only."""
    with fresh(target) as scratch:
        shutil.copytree(source, scratch, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        to_bytecode(scratch)


class fresh:  # noqa: N801 - reads as a verb's object: with fresh(target)
    """A scratch folder that takes the target's place when everything went well."""

    def __init__(self, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        self.target = target
        self.scratch = Path(tempfile.mkdtemp(dir=target.parent))

    def __enter__(self) -> Path:
        """The scratch folder, empty."""
        self.scratch.chmod(0o755)
        return self.scratch

    def __exit__(self, kind: object, *_: object) -> None:
        """Put it in place, or throw it away."""
        if kind is None:
            shutil.rmtree(self.target, ignore_errors=True)
            self.scratch.rename(self.target)
        else:
            shutil.rmtree(self.scratch, ignore_errors=True)


def install(lock: Path, site: Path) -> None:
    """The locked wheels for the platform, by hash; source distributions are refused."""
    platforms = [option for name in PLATFORMS for option in ("--platform", name)]
    wheels = ["--python-version", "3.11", "--implementation", "cp", "--only-binary", ":all:", *platforms]
    pip = [sys.executable, "-m", "pip", "install", "-qq", "--no-input", "--disable-pip-version-check", "--no-compile"]
    command = [*pip, "--no-deps", "--require-hashes", "-r", str(lock), "--target", str(site), *wheels]
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PIP_TARGET"}}
    subprocess.run(command, check=True, env=environment)


def strip(site: Path) -> None:
    """Remove what no function imports."""
    unused = [*site.glob("*.dist-info"), *site.rglob("tests"), *(site / name for name in UNUSED_FOLDERS)]
    unused += [path for path in site.rglob("*") if path.is_file() and path.suffix in UNUSED_SUFFIXES]
    for path in unused:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def lighten(site: Path) -> None:
    """Put into modules what LIGHTER says. Raises OSError when one is not what it was: look at what is new in it."""
    for name, old, new in LIGHTER:
        path = site / name
        if path.is_file():
            before, found, after = path.read_text().partition(old)
            if not found:
                raise OSError(f"{name} is not what lib/build.py makes lighter")
            path.write_text(before + new + after)


def to_bytecode(folder: Path) -> None:
    """Replace every source by unchecked bytecode beside it, so that nothing is ever compiled on the platform."""
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    done = compileall.compile_dir(
        folder, quiet=2, force=True, legacy=True, invalidation_mode=mode, stripdir=str(folder)
    )
    if not done:
        raise OSError(f"{folder.name} cannot be compiled")
    for source in folder.rglob("*.py"):
        source.unlink()
    for cache in [*folder.rglob("__pycache__")]:
        shutil.rmtree(cache)


if __name__ == "__main__":
    sys.exit(main())
