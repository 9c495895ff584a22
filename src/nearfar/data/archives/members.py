"""What an archive or a folder holds: its members, and which of their names are safe."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nearfar.errors import InputError

LINK = "is a link, and links are not followed; put the file itself there"
NOT_A_FILE = "is no regular file"
LARGEST_SURE = 4 << 30  # bytes that any archive may stand for
MOST_TIMES = 200  # times its own size that it may stand for beyond these; drawings compress to a fiftieth
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True)
class Member:
    """A member of an archive: its name, with "/" between folders, and its bytes, or why it has none."""

    name: str
    data: bytes = b""
    problem: str = ""


@dataclass(frozen=True)
class Wanted:
    """Which members are read: those of a name that `named` takes, of at most `largest` bytes.

    too_large: the problem of one with more.
    """

    named: Callable[[str], bool]
    largest: int
    too_large: Callable[[int], Exception]

    def __call__(self, name: str) -> bool:
        """Return whether a member is read, or told of: not what a system hides beside the files that it packs."""
        hidden = any(part == "__MACOSX" or (part.startswith(".") and part.strip(".")) for part in name.split("/"))
        return not hidden and self.named(name)

    def problem(self, size: int) -> str:
        """Return why a member of so many bytes is not read, or nothing."""
        return str(self.too_large(size)) if size > self.largest else ""


class Archive(Protocol):
    """A folder, a zip, a tar, or a saved data set, whose wanted members are read once in order."""

    path: Path
    any_order: bool  # members can be read again, in any order

    def files(self) -> list[Path]:
        """Return the files that decide what is read, in order, for a digest of them."""
        ...

    def names(self) -> list[str] | None:
        """Return the names of the wanted members, in order; None where only reading them all would tell."""
        ...

    def members(self) -> Iterator[Member]:
        """Yield the wanted members in order. Errors: `InputError` for an archive that is damaged or cut off."""
        ...

    def read(self, name: str) -> bytes:
        """Return the bytes of one of the names again. Errors: `InputError` where it is damaged or has a problem."""
        ...


def unsafe(name: str) -> str:
    """Return why a member's name must not be followed, or nothing."""
    if name.startswith(("/", "\\")) or _DRIVE.match(name):
        return "has an absolute path; pack it with a relative one"
    if ".." in name.replace("\\", "/").split("/"):
        return "has a path that leads out of the archive; pack it with a plain one"
    return ""


def plain(name: str) -> str:
    """Return a name with "/" between its parts and without empty ones: "./a//b.png" is "a/b.png"."""
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))


def stands_for_too_much(path: Path, size: int) -> InputError | None:
    """Return an error for an archive whose members have so many bytes that it was made to fill a disk."""
    own = path.stat().st_size
    if size <= max(LARGEST_SURE, MOST_TIMES * own):
        return None
    return InputError(
        f"{path}: stands for more than {size / 1e9:,.1f} GB, over {MOST_TIMES} times its {own / 1e6:,.1f} MB; if it "
        "should, unpack it and give the folder"
    )
