"""Data sets of the `datasets` library: from the hub, from a folder it saved, or handed over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from nearfar.data._place import Source, whole
from nearfar.data._reader import first_line
from nearfar.data._store import quiet
from nearfar.errors import InputError


def from_hub(name: str, config: str | None) -> dict[str, Source]:
    """Return the splits of a data set on the hub, downloaded by the library; its code is never run."""
    try:
        with quiet() as datasets:
            # Before 4.0 a data set could bring its own code, and asked at the terminal whether to run it.
            safe = {"trust_remote_code": False} if int(datasets.__version__.split(".")[0]) < 4 else {}
            data = datasets.load_dataset(name, config, **safe)
    except Exception as error:  # whatever the network, the hub and the data set's own files can raise
        raise InputError(
            f"{name}: is no file or folder here, and no Hugging Face data set could be loaded by that name "
            f"({first_line(error)}); check the path, or the name and the connection"
        ) from error
    return from_dataset(name, data)


def from_saved(path: Path) -> dict[str, Source]:
    """Return the splits of a folder that `save_to_disk` wrote."""
    try:
        with quiet() as datasets:
            return from_dataset(str(path), datasets.load_from_disk(str(path)))
    except (OSError, ValueError, TypeError, KeyError, pa.ArrowException) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: the saved data set is damaged ({first_line(error)}); save it again") from error


def from_dataset(where: str, data: Any) -> dict[str, Source]:
    """Return the splits of a `Dataset` or `DatasetDict`; a data set alone is its training rows."""
    with quiet() as datasets:
        if isinstance(data, datasets.DatasetDict):
            return {str(name): source for name in data for source in from_dataset(where, data[name]).values()}
        if not isinstance(data, datasets.Dataset):
            raise InputError(
                f"{where}: a {type(data).__name__} is no table; give a path, a list of dictionaries or a "
                "datasets.Dataset (a streamed one must be downloaded first)"
            )
        if data._indices is not None:  # shuffled or selected rows: written out once, so that slices stay slices
            data = data.flatten_indices()
        return {"train": whole(where, data.data.table)}
