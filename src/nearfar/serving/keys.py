"""Keys: who may ask. A server knows their SHA-256 alone, so its file of keys opens nothing."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from starlette.types import ASGIApp, Receive, Scope, Send

from nearfar.errors import InputError
from nearfar.serving.errors import ApiError

VARIABLE = "NEARFAR_KEYS"  # of the environment: hashes with commas between
_HASH = re.compile(r"[0-9a-f]{64}")
# What is open without a key: whether it lives, and the description of the interface.
OPEN = frozenset({"/health", "/ready", "/openapi.json"})


class Keys:
    """The SHA-256 of each key, in hexadecimal digits. Errors: `InputError` for what is no such hash."""

    def __init__(self, hashes: Iterable[str], where: str = "keys") -> None:
        found = [each.strip().lower() for each in hashes]
        for number, each in enumerate(found, 1):
            if not _HASH.fullmatch(each):
                raise InputError(
                    f"{where}: key {number} is no SHA-256 in 64 hexadecimal digits; write one a line: "
                    "printf %s KEY | sha256sum"
                )
        self._hashes = [bytes.fromhex(each) for each in found]

    @classmethod
    def read(cls, path: Path | None, variable: str | None) -> Self:
        """Return the keys of a file, a hash a line, and of an environment variable's value.

        After a hash there may be a name; a line may be a comment (#). Errors: `InputError` for a file that cannot be
        read or names no key, and for what is no hash.
        """
        hashes = [] if variable is None else [each for each in variable.split(",") if each.strip()]
        checked = cls(hashes, VARIABLE)
        if path is None:
            return checked
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: the file of keys cannot be read ({error}); write a hash a line") from error
        of_file = [line.split()[0] for line in lines if line.strip() and not line.lstrip().startswith("#")]
        if not of_file:
            raise InputError(f"{path}: holds no key; write the SHA-256 of one a line")
        cls(of_file, str(path))
        return cls([*hashes, *of_file])

    def __len__(self) -> int:
        return len(self._hashes)

    def know(self, header: bytes) -> bool:
        """Return whether an Authorization header bears a known key; each takes as long as any other.

        The bytes are hashed as they come, so a key of any letters is known by its hash in the file.
        """
        scheme, _, key = header.partition(b" ")
        given = hashlib.sha256(key.strip()).digest()
        same = [hmac.compare_digest(given, known) for known in self._hashes]  # all of them, none is skipped
        return any(same) and scheme.lower() == b"bearer"


class RequireKey:
    """ASGI middleware: what bears no known key is answered with 401. open_paths: what needs none."""

    def __init__(self, app: ASGIApp, keys: Keys, open_paths: frozenset[str] = OPEN) -> None:
        self.app, self.keys, self.open_paths = app, keys, open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request with a key."""
        if scope["type"] == "http" and scope["path"] not in self.open_paths:
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not self.keys.know(given):
                refusal = ApiError(
                    401,
                    "no key, or an unknown one; send the header Authorization: Bearer KEY",
                    code="invalid_api_key",
                    headers={"WWW-Authenticate": "Bearer"},
                )
                await refusal.response()(scope, receive, send)
                return
        await self.app(scope, receive, send)
