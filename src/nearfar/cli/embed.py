"""nearfar embed: texts to vectors in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from nearfar.cli._output import Json, emit

if TYPE_CHECKING:
    from nearfar.model import Role


def command(
    model: Annotated[str, typer.Argument(help="A model's folder.")],
    texts: Annotated[str, typer.Argument(metavar="INPUT", help="A .txt file (a text a line), a table, a BEIR folder.")],
    out: Annotated[Path, typer.Option(help="A .npy file (n, d), or a .parquet file with ids and vectors.")],
    column: Annotated[str | None, typer.Option(help="The table's column of texts.")] = None,
    role: Annotated[str | None, typer.Option(help="query or key: puts the model's prompt in front.")] = None,
    as_json: Json = False,
) -> None:
    """Write the vectors of texts into a file.

    Unit vectors, float32, in the order of the input.
    """
    from nearfar.cli import _sources, _vectors
    from nearfar.errors import InputError
    from nearfar.model import ROLES, Model

    if out.suffix not in (".npy", ".parquet"):
        raise InputError(f"{out}: unknown kind of file; write to a name that ends in .npy or .parquet")
    if role is not None and role not in ROLES:
        raise InputError(f"--role {role}: no such role; known: {', '.join(ROLES)}")
    loaded = Model.load(model)
    ids, found = _sources.texts(texts, column)
    _vectors.write(out, ids, found, loaded, cast("Role", role))
    facts = {"out": str(out), "rows": len(ids), "dim": loaded.dim, "fingerprint": loaded.fingerprint}
    emit(facts, as_json, lambda: print(f"{len(ids):,} vectors of {loaded.dim} dimensions in {out}"))
