"""nearfar embed: texts or pictures to vectors in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from nearfar.cli import Json, emit
from nearfar.cli._early import refuse_data, refuse_model, reserve
from nearfar.cli._table_settings import Delimiter, TableOverrides, further_texts, reading
from nearfar.errors import InputError
from nearfar.printable import show

if TYPE_CHECKING:
    from nearfar.column import Column
    from nearfar.contracts import Role


def command(
    model: Annotated[str, typer.Argument(help="A model's folder.")],
    texts: Annotated[
        str, typer.Argument(metavar="INPUT", help="As of search: a table, a .txt file (a text a line), pictures, ...")
    ],
    overrides: TableOverrides = None,
    *,
    out: Annotated[Path, typer.Option(help="A .npy file (n, d), or a .parquet file with ids and vectors.")],
    column: Annotated[str | None, typer.Option(help="The table's column of texts.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of data with several; train, where there is one.")] = None,
    delimiter: Delimiter = None,
    role: Annotated[str | None, typer.Option(help="query or key: puts the model's prompt in front.")] = None,
    dim: Annotated[int | None, typer.Option(help="Keep this many coordinates, the first ones.")] = None,
    precision: Annotated[str, typer.Option(help="float32, int8, uint8, binary or ubinary.")] = "float32",
    calibration: Annotated[str | None, typer.Option(help="For int8: texts like those to come, or .ranges.npy.")] = None,
    as_json: Json = False,
) -> None:
    """Write the vectors of texts, or of pictures, into a file.

    Unit vectors, float32, in the order of the input. Bytes (int8, uint8) need a calibration; its ranges are kept as
    OUT.ranges.npy, for texts to come that are to be compared with these. Texts to calibrate on are read as INPUT is,
    where they have its format, and by settings of their own: calibration.column=text calibration.delimiter=';'.
    """
    if out.suffix not in (".npy", ".parquet"):
        raise InputError(f"{out}: unknown kind of file; write to a name that ends in .npy or .parquet")
    refuse_model(model)
    further = None if calibration is None else "calibration"
    read = reading(overrides, delimiter=delimiter, pairs=False, further=further)
    refuse_data(texts, delimited="delimiter" in read.data)
    reserve(out)
    from nearfar.abilities import tower_of
    from nearfar.column import column_kind
    from nearfar.evaluation import sources
    from nearfar.index.vector_files import VectorFormat, write_vectors
    from nearfar.model import Model
    from nearfar.sides import ROLES, role_reading
    from nearfar.text.truncated import truncated_texts
    from nearfar.vectors.quantize import Ranges

    if role is not None and role not in ROLES:
        raise InputError(f"--role {role}: no such role; known: {', '.join(ROLES)}")
    ids, found = sources.texts(texts, column, read, split=split)
    loaded = Model.load(model)
    role = role or role_reading(loaded.encoder, column_kind(found))
    cut = truncated_texts(tower_of(loaded.encoder, role), found)
    ranges: Column | Ranges | None = None
    if calibration is not None:
        if calibration.endswith(".npy"):
            ranges = Ranges.load(Path(calibration))
        else:
            given: Any = {"beside": texts, "read": read, "likely": column}
            ranges = further_texts(calibration, "calibration", overrides, **given)
    form = VectorFormat.of(loaded, cast("Role", role), dim, precision, ranges)
    write_vectors(out, ids, found, form)
    facts = {"out": str(out), "rows": len(ids), "dim": form.dim, "precision": form.precision}
    if form.ranges is not None:
        facts["ranges"] = str(form.keep(out))
    suffix = "" if form.precision == "float32" else f" as {form.precision}"
    facts["fingerprint"] = loaded.fingerprint
    facts |= {} if cut is None else {"truncated": cut.count}
    lines = [f"{len(ids):,} vectors of {form.dim} dimensions{suffix} in {out}"]
    if cut is not None and (line := cut.line("input")):
        lines.append(line)
    emit(facts, as_json, lambda: show(*lines))
