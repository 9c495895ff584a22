"""nearfar complete: a text goes on, or its blanks are filled, by a language model."""

from __future__ import annotations

from typing import Annotated

import typer

from nearfar.cli import Json, emit
from nearfar.cli._early import refuse_model
from nearfar.printable import show


def command(
    model: Annotated[str, typer.Argument(help="A language model's folder.")],
    text: Annotated[str, typer.Argument(help="What to go on from; for a masked model with [MASK] for each blank.")],
    tokens: Annotated[int, typer.Option(help="Tokens that a causal model writes at most.")] = 40,
    temperature: Annotated[float, typer.Option(help="Of a causal model's draws; 0: the likeliest token.")] = 0.0,
    top: Annotated[int, typer.Option(help="Tokens that are named for each blank.")] = 5,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    as_json: Json = False,
) -> None:
    """Complete a text with a language model.

    A masked model (the recipe masked_language, BERT) fills each [MASK] of the text and says how probable the best
    tokens are. A causal one (causal_language, GPT) writes on.
    """
    refuse_model(model)
    from nearfar.figures import number
    from nearfar.model import Model
    from nearfar.uses.complete import complete

    found = complete(Model.load(model), text, tokens=tokens, temperature=temperature, top=top, seed=seed)
    lines = found.text.split("\n")  # its own line breaks are printed as they are
    for i, blank in enumerate(found.blanks, 1):
        lines.append(f"{i}: " + ", ".join(f"{_visible(one.text)} {number(one.probability)}" for one in blank))
    emit({"model": model, **found.to_json()}, as_json, lambda: show(*lines))


def _visible(token: str) -> str:
    """Return a token as it is shown: in quotes, escaped, where nothing of it would be seen otherwise."""
    return token if token.strip() and token.isprintable() else repr(token)
