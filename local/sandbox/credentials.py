"""The secrets of a sandbox: made at random on the first start and kept in its database."""

import base64
import secrets
import uuid
from dataclasses import asdict, dataclass

from getsmart.metakeep.signing import SigningKey
from local.sandbox.store import Store

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass(frozen=True)
class Credentials:
    """The app's id and its two key pairs, which both work; the webhook sender's; the seed (hex) of all addresses."""

    app_id: str
    api_key: str
    api_secret: str
    next_api_key: str
    next_api_secret: str
    webhook_sender_key: str
    webhook_sender_secret: str
    webhook_secret: str
    seed: str

    @property
    def api_keys(self) -> tuple[str, str]:
        """The keys that a call may be signed with."""
        return self.api_key, self.next_api_key


def random_secret() -> str:
    """A fresh P-256 private key in MetaKeep's form: base64url of 32 bytes, without padding."""
    scalar = secrets.randbelow(_P256_ORDER - 1) + 1
    return base64.urlsafe_b64encode(scalar.to_bytes(32, "big")).decode().rstrip("=")


def random_webhook_secret() -> str:
    """A fresh secret of Standard Webhooks: `whsec_` and base64 of 32 bytes."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


def _next_pair() -> dict[str, str]:
    secret = random_secret()
    return {"next_api_key": SigningKey.from_secret(secret).public_key, "next_api_secret": secret}


def load(store: Store) -> Credentials:
    """Read the credentials, making them first in a new database; call it inside a transaction."""
    known = store.setting("credentials")
    if known is None:
        api, sender = random_secret(), random_secret()
        known = asdict(
            Credentials(
                app_id=str(uuid.uuid4()),
                api_key=SigningKey.from_secret(api).public_key,
                api_secret=api,
                **_next_pair(),
                webhook_sender_key=SigningKey.from_secret(sender).public_key,
                webhook_sender_secret=sender,
                webhook_secret=random_webhook_secret(),
                seed=secrets.token_hex(32),
            )
        )
        store.set_setting("credentials", known)
    elif "next_api_key" not in known:  # made before there was one
        known = {"webhook_secret": random_webhook_secret(), **known, **_next_pair()}
        store.set_setting("credentials", known)
    return Credentials(**known)
