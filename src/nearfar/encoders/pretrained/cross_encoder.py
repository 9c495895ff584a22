"""A cross-encoder as the scorer of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.column import Ids
from nearfar.encoders.pretrained.backbone import quiet
from nearfar.encoders.pretrained.folder import refuse_code
from nearfar.encoders.pretrained.numbers import check_numbers
from nearfar.encoders.pretrained.shards import shapes_of
from nearfar.errors import InputError
from nearfar.storage.model_files import read_settings
from nearfar.text.tokenizer import library_errors


class CrossEncoder:
    """Scores pairs with a cross-encoder of sentence-transformers from a local folder; higher is more relevant.

    Pairs of many queries go through in one call, which sorts them by length. Only safetensors are read, and no code
    that comes with the model is run.

    Errors: `InputError`: no such folder, a model that brings its own code, gives several scores a pair or cannot be
    read; sentence-transformers is missing.

    When not to use it: on many pairs without a GPU. A small cross-encoder scores some hundred of them a second; mining
    has `range_max` of each query, a search as many as it reranks.
    """

    def __init__(self, folder: str | Path, batch_size: int = 64) -> None:
        self.folder, self.batch_size = Path(folder), batch_size
        _check(self.folder)
        try:
            from sentence_transformers import CrossEncoder as SentenceTransformersCrossEncoder
        except ImportError as error:
            raise InputError("a cross-encoder needs sentence-transformers: pip install 'nearfar[rescore]'") from error
        with library_errors(f"{folder}: not readable as a cross-encoder", "copy the model folder again"), quiet():
            self._model: Any = SentenceTransformersCrossEncoder(
                str(folder), local_files_only=True, model_kwargs={"use_safetensors": True}
            )
        if self._model.num_labels != 1:
            raise InputError(f"{folder}: gives {self._model.num_labels} scores a pair; one is needed, of relevance")

    def __call__(self, queries: list[str], texts: list[str]) -> npt.NDArray[np.float32]:
        """Return the scores (e,) of the i-th query with the i-th text."""
        if not queries:
            return np.empty(0, np.float32)
        predicted = self._model.predict(list(zip(queries, texts)), batch_size=self.batch_size, show_progress_bar=False)
        scores = np.asarray(predicted, np.float32).reshape(-1)
        if not np.isfinite(scores).all():
            row = int(np.flatnonzero(~np.isfinite(scores))[0])
            raise InputError(f"{self.folder}: scores {queries[row][:40]!r} with {texts[row][:40]!r} as {scores[row]}")
        return scores

    def lengths(self, texts: Sequence[str]) -> Ids:
        """Return the texts' tokens (n,), with the special ones that each text has alone."""
        ids = self._model.tokenizer(list(texts), verbose=False)["input_ids"]
        return np.fromiter(map(len, ids), np.int64, len(ids))


def _check(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: no folder of a cross-encoder, config.json is missing; give a local folder")
    refuse_code(folder)
    # By its index transformers would follow any name, to a pickle, too; and build whatever the config says.
    check_numbers(folder / "config.json", read_settings(folder / "config.json"), shapes_of(folder))
