"""The one exception that becomes an error reply, and the status words of metakeep's error table in use."""

INVALID_REQUEST = "INVALID_REQUEST"
INVALID_EMAIL = "INVALID_EMAIL"
TOO_MANY_USERS = "TOO_MANY_USERS_REQUESTED"
UNAUTHORIZED = "UNAUTHORIZED"
SOMETHING_WENT_WRONG = "SOMETHING_WENT_WRONG"


class Refusal(Exception):
    """`status` and `http_status` go into the reply; `str()` says why, for people only."""

    def __init__(self, status: str, http_status: int, reason: str, headers: dict[str, str] | None = None) -> None:
        """`headers` are added to the reply, such as Retry-After."""
        super().__init__(reason)
        self.status, self.http_status, self.headers = status, http_status, headers or {}
