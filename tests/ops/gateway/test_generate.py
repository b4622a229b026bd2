"""The configuration is made of what is declared, HAProxy takes it, and the commands say what they did."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ops.functions import load as functions
from ops.gateway import __main__ as command
from ops.gateway import generate, runtime
from ops.gateway.environment import Environment, EnvironmentInvalid, load
from tests.gateway import own_machine, require_haproxy
from tests.local import programs
from tests.ops.gateway.test_environment import NAMES


def placed(environment: Environment, folder: Path, **gateway: Any) -> Environment:
    """The same with its files in another folder."""
    changed = environment.gateway.model_copy(update={"folder": folder, "certificate": None, **gateway})
    return environment.model_copy(update={"gateway": changed})


@pytest.mark.parametrize("name", NAMES)
def test_haproxy_takes_every_environment(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Checked by HAProxy itself; no warning but for names that only an account has."""
    require_haproxy()
    assert command.main(["check", name]) == 0
    assert capsys.readouterr().out == f"gateway: HAProxy takes the configuration of {name}\n"


def test_the_routes_are_those_of_the_project() -> None:
    """Every function on the web with the methods of its door, and no other."""
    found = generate.routes()
    assert set(found) == {f"/v1/{function.route}" for function in functions() if function.web}
    assert found["/v1/webhooks/endpoints"] == ("GET", "POST", "PATCH", "DELETE")
    assert "/v1/ops/tick" not in found


@pytest.mark.parametrize(
    ("share", "namespaces", "weight"),
    [(100, 1, 240), (10, 1, 24), (90, 3, 72), (10, 3, 8), (1, 16, 1), (0, 3, 0), (100, 16, 15)],
)
def test_a_share_is_divided_among_namespaces(share: int, namespaces: int, weight: int) -> None:
    """Who has any share has at least 1, and HAProxy counts to 256."""
    assert generate.weight_of(share, namespaces) == weight


def test_no_secret_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The secret stands in one file, which is its owner's alone; all others name that file."""
    monkeypatch.setenv("WEB_SECURE", "a-secret-of-a-test-run")
    files = generate.render(placed(load("production"), tmp_path), name="production")
    assert "a-secret-of-a-test-run" not in "".join(files.values())
    assert "str(green),map_str(" in files[generate.CONFIG]
    generate.write_secrets({"green": "a-secret-of-a-test-run"}, tmp_path)
    assert (tmp_path / generate.GUARDS).read_text() == "green a-secret-of-a-test-run\n"
    assert (tmp_path / generate.GUARDS).stat().st_mode & 0o777 == 0o600


def test_namespaces_of_the_platform_are_reached_by_tls_that_is_checked(tmp_path: Path) -> None:
    """Their certificate is verified for their name, which is looked up again while HAProxy runs."""
    config = generate.render(placed(load("production"), tmp_path), name="production")[generate.CONFIG]
    lines = [line for line in config.splitlines() if "doserverless.co:443" in line]
    assert len(lines) == 12
    for line in lines:
        assert "ssl verify required ca-file @system-ca sni str(faas-fra1-example.doserverless.co) resolvers" in line
    assert "verify none" not in config


def test_a_certificate_is_served_with_modern_tls_only(tmp_path: Path) -> None:
    """HAProxy takes a certificate; the oldest version is 1.2."""
    require_haproxy()
    (tmp_path / "own.pem").write_bytes(self_signed())
    there = placed(own_machine(), tmp_path, certificate=tmp_path / "own.pem", bind="127.0.0.1:8443")
    files = generate.render(there, name="staging")
    generate.write({**files, runtime.STATE: runtime.NO_STATE}, tmp_path)
    generate.write_secrets({}, tmp_path)
    generate.check(tmp_path)
    assert "ssl-default-bind-options ssl-min-ver TLSv1.2" in files[generate.CONFIG]
    assert "alpn h2,http/1.1" in files[generate.CONFIG]


def self_signed() -> bytes:
    """A certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "api.example.com")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + private


def test_a_folder_too_deep_for_sockets_is_refused(tmp_path: Path) -> None:
    """A path of a socket is short; the message says so."""
    with pytest.raises(EnvironmentInvalid, match="too long a path"):
        generate.render(placed(load("local"), tmp_path / ("x" * 90)), name="local")


def test_what_haproxy_refuses_is_shown(tmp_path: Path) -> None:
    """In HAProxy's own words."""
    require_haproxy()
    (tmp_path / generate.CONFIG).write_text("nonsense\n")
    with pytest.raises(generate.ConfigRefused, match="unknown keyword 'nonsense'"):
        generate.check(tmp_path)


def test_generating_keeps_the_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights that were kept are not forgotten with a new configuration."""
    for _ in range(2):
        assert command.main(["generate", "local", "--out", str(tmp_path)]) == 0
        assert (tmp_path / "state").read_text() in {"1\n", "kept"}
        (tmp_path / "state").write_text("kept")
    assert (tmp_path / "state").read_text() == "kept"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["calls.lst", "haproxy.cfg", "routes.map", "state"]
    assert f"wrote {tmp_path}/haproxy.cfg" in capsys.readouterr().out


def test_what_cannot_be_done_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No environment, no gateway to reload."""
    assert command.main(["check", "moon"]) == 1
    there = load("local")
    folder = there.gateway.model_dump(mode="json") | {"folder": str(tmp_path)}
    place = tmp_path / "elsewhere.yml"
    place.write_text(json.dumps(json.loads(there.model_dump_json(exclude={"name"})) | {"gateway": folder}))
    assert command.main(["reload", str(place)]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "gateway: no environment moon; there are local, production, staging",
        f"gateway: the gateway's socket {tmp_path}/admin.sock: [Errno 2] No such file or directory",
    ]


def test_without_the_secret_the_gateway_does_not_run(tmp_path: Path) -> None:
    """It would let callers in whom no function answers."""
    words = [sys.executable, "-m", "ops.gateway", "run", "local", "--out", str(tmp_path)]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=50, cwd=generate.ROOT, env=programs.environment()
    )
    assert done.returncode == 1
    assert "WEB_SECURE for both, has to be 16 to 128" in done.stderr
