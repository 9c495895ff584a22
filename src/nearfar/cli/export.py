"""nearfar export: a model for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nearfar.cli import Json, emit
from nearfar.cli._early import refuse_model, reserve
from nearfar.printable import show


def command(
    model: Annotated[str, typer.Argument(help="A model's folder.")],
    onnx: Annotated[Path, typer.Option(help="The folder to write model.onnx and what goes with it into.")],
    as_json: Json = False,
) -> None:
    """Write a model of texts or pictures as an ONNX graph.

    ONNX Runtime runs it without torch: from token ids and their mask, or from pixels, to unit vectors. What it
    gives is compared with the model before it is kept.
    """
    refuse_model(model)
    reserve(onnx)
    from nearfar.model import Model

    loaded = Model.load(model)
    folder = loaded.export_onnx(onnx)
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    size = sum((folder / file).stat().st_size for file in files)
    facts = {"out": str(folder), "files": files, "bytes": size, "dim": loaded.dim, "fingerprint": loaded.fingerprint}
    line = f"{', '.join(files)} in {folder}, {size / 1e6:,.1f} MB, {loaded.dim} dimensions"
    emit(facts, as_json, lambda: show(line))
