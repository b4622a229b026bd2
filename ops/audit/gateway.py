"""What the gateway promises to whoever calls: TLS, headers, who may speak to it; in its configuration, and live."""

import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import requests

from ops.audit.findings import Finding, NotChecked
from ops.gateway import environment, generate
from ops.pipeline.environments import names

HSTS_SECONDS = 31_536_000  # a year, which is what browsers' preload lists ask for
_SECONDS = 10.0

# What a configuration has to say, and what its absence means. Each is looked for as a whole line.
_RULES = {
    "tls-min": (r"ssl-default-bind-options .*\bssl-min-ver TLSv1\.[23]\b.*", "callers may use TLS older than 1.2"),
    "tls-tickets": (
        r"ssl-default-bind-options .*\bno-tls-tickets\b.*",
        "TLS tickets outlive the key that they were made with",
    ),
    "tls-ciphers": (r"ssl-default-bind-ciphers ECDHE\S*", "ciphers without forward secrecy are not left out"),
    "tls-inside": (
        r"ssl-default-server-options .*\bssl-min-ver TLSv1\.[23]\b.*",
        "functions may be asked by TLS older than 1.2",
    ),
    "hsts": (r'http-after-response set-header Strict-Transport-Security "max-age=(?P<hsts>\d+).*', "no HSTS"),
    "nosniff": (
        r"http-after-response set-header X-Content-Type-Options nosniff",
        "answers may be read as another type",
    ),
    "frame": (r"http-after-response set-header X-Frame-Options DENY", "pages may be framed"),
    "referrer": (r"http-after-response set-header Referrer-Policy no-referrer", "addresses leak by the referrer"),
    "csp": (
        r"http-after-response set-header Content-Security-Policy .*default-src 'none'.*",
        "no content security policy",
    ),
    "server": (r"http-after-response del-header Server", "answers say what they were made by"),
    "guard-in": (r"http-request del-header X-Require-Whisk-Auth", "a caller may send the functions' secret along"),
    "guard-out": (r"http-request set-header X-Require-Whisk-Auth .*", "functions are not sent their secret"),
    "forwarded": (r"http-request set-header X-Forwarded-For .*", "a caller may say who it is"),
    "rate": (r"http-request return status 429 .*", "no limit of calls for one address"),
    "size": (r"http-request return status 413 .*", "no limit of a body's size"),
    "length": (
        r"http-request return status 413 .* if \{ req\.body_len gt 0 \} !\{ req\.hdr\(Content-Length\) -m found \}",
        "a body that does not say its length has no limit",
    ),
    "at-a-time": (
        r"http-request return status 429 .* if \{ sc_conn_cur\(0\) gt \d+ \}",
        "one address may hold every place",
    ),
    "uploads": (
        r"http-request return status 503 .* if \{ sc_conn_cur\(2\) gt \d+ \}",
        "slow bodies may hold every place",
    ),
    "wait": (r"http-request wait-for-body time \d+s", "a slow caller holds a function"),
}
_LOGGED = re.compile(r"log-format .*(?:capture\.req\.hdr|%hr|%HQ|%\{\+Q\}r|%r\b|req\.body)")
_ADMIN = re.compile(r"stats socket (?:ipv4@)?(?:\*|0\.0\.0\.0|::)?:\d")


def written() -> Iterator[Finding]:
    """The configuration as it would be written for each environment."""
    for name in names():
        text = generate.render(environment.load(name), name=name)[generate.CONFIG]
        yield from of_configuration(text, name)


def of_configuration(text: str, name: str) -> Iterator[Finding]:
    """What an HAProxy configuration lacks, or says too much of."""
    lines = [line.strip() for line in text.splitlines()]
    for key, (pattern, what) in _RULES.items():
        found = next((match for line in lines if (match := re.fullmatch(pattern, line))), None)
        if found is None:
            yield Finding(f"gateway:{name}:{key}", f"{name}: {what}")
        elif "hsts" in found.groupdict() and int(found["hsts"]) < HSTS_SECONDS:
            yield Finding(f"gateway:{name}:{key}", f"{name}: HSTS for less than a year")
    if any(_LOGGED.search(line) for line in lines):
        yield Finding(f"gateway:{name}:log", f"{name}: the log shows what callers send")
    if any(_ADMIN.match(line) for line in lines):
        yield Finding(f"gateway:{name}:admin", f"{name}: the runtime socket listens to everybody")


def live(url: str) -> Iterator[Finding]:
    """Headers and TLS of a gateway that runs. Raises NotChecked when it does not answer."""
    try:
        answer = requests.get(f"{url}/v1/ops/health", timeout=_SECONDS, allow_redirects=False)
    except requests.RequestException as error:
        raise NotChecked(f"{url} does not answer: {type(error).__name__}") from None
    yield from of_headers(answer.headers, url)
    parts = urlsplit(url)
    if parts.scheme != "https":
        yield Finding(f"gateway:{url}:tls", f"{url}: no TLS")
    elif takes_old_tls(str(parts.hostname), parts.port or 443):
        yield Finding(f"gateway:{url}:tls-min", f"{url}: takes TLS older than 1.2")


def of_headers(headers: Mapping[str, str], name: str) -> Iterator[Finding]:
    """What an answer's headers lack, or say too much of."""
    wanted = {
        "Strict-Transport-Security": rf"max-age=(?:{HSTS_SECONDS}|[4-9]\d{{7}}|\d{{9,}}).*",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Content-Security-Policy": ".*default-src 'none'.*",
        "Cache-Control": ".*no-store.*",
        "X-Request-Id": ".+",
    }
    for header, pattern in wanted.items():
        if not re.fullmatch(pattern, headers.get(header, "")):
            yield Finding(f"gateway:{name}:{header.lower()}", f"{name}: {header} is {headers.get(header) or 'missing'}")
    if "Server" in headers:
        yield Finding(f"gateway:{name}:server", f"{name}: says that it is {headers['Server']}")


def takes_old_tls(host: str, port: int) -> bool:
    """Whether a handshake with TLS 1.1 gets through."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    try:
        with socket.create_connection((host, port), _SECONDS) as line, context.wrap_socket(line, server_hostname=host):
            return True
    except OSError:
        return False
