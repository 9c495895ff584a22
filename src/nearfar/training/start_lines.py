"""What parts say of their choices when a run begins, a line each."""

from __future__ import annotations

from nearfar.abilities import augmented_views, picture_size, said_by, towers_of
from nearfar.contracts import Encoder, Positives
from nearfar.sides import side_of


def start_lines(encoder: Encoder, positives: Positives) -> list[str]:
    """Return the lines of an encoder, or its two, and of the augmentations: the same of several views is one line."""
    lines = [line for part in (encoder, *towers_of(encoder).values()) for line in said_by(part)]
    views: dict[str, list[str]] = {}
    for view, streamed in augmented_views(positives).items():
        for line in said_by(streamed.augmentation, picture_size(side_of(encoder, positives, view))):
            views.setdefault(line, []).append(view)
    return [*dict.fromkeys(lines), *(f"augmentation of {', '.join(names)}: {line}" for line, names in views.items())]
