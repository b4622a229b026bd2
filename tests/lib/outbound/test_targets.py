"""Where a delivery may go: the forms of a URL, and the addresses behind a name, one by one."""

import pytest

from getsmart.outbound.targets import Target, TargetRefused, is_allowed, parse

# Every way to write this machine, its network and the metadata services that a parser or a resolver may understand.
FORBIDDEN_HOSTS = (
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "0",
    "0.0.0.0",  # noqa: S104 - nothing binds
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0x7f.0.0.1",
    "017700000001",
    "0177.0.0.1",
    "127.0.0.01",
    "127.0.0.0x1",
    "1.0x",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "169.254.170.2",
    "2852039166",
    "100.64.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "255.255.255.255",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "[2001::1]",
    "[2001:db8::1]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[fe80::1%25eth0]",
    "[fec0::1]",
    "[ff02::1]",
    "[0:0:0:0:0:ffff:a9fe:a9fe]",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "api.localhost",
    "localhost.localdomain",
    "db.internal",
    "metadata.google.internal",
    "printer.local",
    "router.lan",
    "router.home.arpa",
    "metadata",
    "example.com.",
    "exa_mple..com",
    "-example.com",
    "127.0.0.1.",
    "\u2460\u2461\u2466.0.0.1",
    "127\u30020\u30020\u30021",
    "ex%61mple.com",
    "example.com%00.internal",
)
REFUSED_URLS = (
    "",
    "https://",
    "https:///path",
    "https:example.com",
    "//example.com",
    "http://example.com",
    "HTTP://example.com",
    "ftp://example.com",
    "file:///etc/passwd",
    "gopher://example.com",
    "https://example.com:80",
    "https://example.com:22",
    "https://example.com:0",
    "https://example.com:65536",
    "https://example.com:99999999999",
    "https://example.com:-1",
    "https://example.com:x",
    "https://user@example.com",
    "https://user:word@example.com",  # pragma: allowlist secret
    "https://example.com@127.0.0.1",
    "https://example.com\\@127.0.0.1",
    "https://example.com#@127.0.0.1",
    "https://example.com/#part",
    "https://exam ple.com",
    "https://example.com/a b",
    "https://example.com/\r\nHost: other",
    "https://example.com/\tx",
    "https://example.com/\u00e9",
    "https://[::1",
    "https://[example.com]",
    "https://" + "a" * 64 + ".com",
    "https://" + "a." * 130 + "com",
    "https://example.com/" + "a" * 2_000,
)


@pytest.mark.parametrize("host", FORBIDDEN_HOSTS)
def test_a_forbidden_host_is_refused_as_it_is_written(host: str) -> None:
    """On both ports, before any name is looked up."""
    for url in (f"https://{host}/hook", f"https://{host}:8443/hook"):
        with pytest.raises(TargetRefused):
            parse(url, may_be_private=False)


@pytest.mark.parametrize("url", REFUSED_URLS)
def test_a_url_that_is_none_of_ours_is_refused(url: str) -> None:
    """Other schemes, ports, users, fragments, signs, lengths."""
    with pytest.raises(TargetRefused):
        parse(url, may_be_private=False)


def test_what_is_understood() -> None:
    """Host, port and path as they go over the wire; a path is never empty."""
    assert parse("https://hooks.example.com", may_be_private=False) == Target("https", "hooks.example.com", 443, "/")
    full = parse("https://HOOKS.example.com:8443/a/b?c=d&e", may_be_private=False)
    assert full == Target("https", "hooks.example.com", 8443, "/a/b?c=d&e")
    assert full.is_tls
    assert parse("https://8.8.8.8/", may_be_private=False).host == "8.8.8.8"
    assert parse("https://[2606:4700::1111]/", may_be_private=False).host == "2606:4700::1111"
    assert parse("https://xn--bcher-kva.example/", may_be_private=False).port == 443


@pytest.mark.parametrize(
    "url", ["http://localhost:8080/x", "http://127.0.0.1:9", "https://10.0.0.1", "http://[::1]:80/"]
)
def test_test_mode_may_call_this_machine(url: str) -> None:
    """And its network, by http, on any port."""
    assert parse(url, may_be_private=True).port in (8080, 9, 443, 80)


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/", "http://[fd00:ec2::254]/", "http://2130706433/", "http://0/", "http://[::]/"]
)
def test_test_mode_may_not_call_everything(url: str) -> None:
    """Metadata services, and numbers that only some would read as an address."""
    with pytest.raises(TargetRefused):
        parse(url, may_be_private=True)


@pytest.mark.parametrize(
    ("address", "is_public"),
    [
        ("8.8.8.8", True),
        ("172.15.255.255", True),
        ("172.32.0.0", True),
        ("100.63.255.255", True),
        ("100.128.0.0", True),
        ("2606:4700::1111", True),
        ("2a00:1450:4001::1", True),
        ("10.255.255.255", False),
        ("::ffff:8.8.8.8", False),
        ("64:ff9b::808:808", False),
        ("2002:808:808::1", False),
        ("2606:4700::1111%eth0", False),
        ("fe80::1%1", False),
        ("not an address", False),
        ("", False),
    ],
)
def test_addresses_behind_names(address: str, is_public: bool) -> None:
    """What a resolver answered, on both sides of each border."""
    assert is_allowed(address, may_be_private=False) is is_public
