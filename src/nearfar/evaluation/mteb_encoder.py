"""A model as mteb (the Massive Text Embedding Benchmark) asks for one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from nearfar.column import ListColumn
from nearfar.errors import InputError
from nearfar.model import Model
from nearfar.vectors.embed import Vectors, embed_column

ROLES: dict[str, Literal["query", "key"]] = {"query": "query", "document": "key"}  # mteb's prompt type -> our role


class MtebEncoder:
    """A model of text in the form of mteb's `EncoderProtocol` (from mteb 2.0 on; the extra `mteb`).

    Where a task says that texts are queries or documents, the model's prompt for that role stands in front, and of two
    towers that role's is asked; elsewhere (similarity, clustering, classification) there is no prompt. A text without
    anything in it has the vector zero, and so is similar to nothing.

    Args:
        model: the model, or its folder.
        name: under which mteb keeps its results, owner/name.

    Errors: `InputError` where mteb is not installed, for a task without text.

    Example: `mteb.evaluate(MtebEncoder("runs/a/model"), mteb.get_tasks(["SciFact"]))`

    When not to use it: to judge on data of one's own, which `nf.evaluate` does, with intervals and baselines.
    """

    def __init__(self, model: Model | str | Path, name: str = "nearfar/model") -> None:
        try:
            import mteb  # noqa: F401 (asked for here, so that it is missed here)
        except ImportError as error:
            raise InputError("mteb is not installed; pip install 'nearfar[mteb]'") from error
        if name.count("/") != 1:
            raise InputError(f"MtebEncoder: name {name!r} is not of the form owner/name, which mteb asks for")
        self.model = model if isinstance(model, Model) else Model.load(model)
        self.name = name

    @cached_property
    def mteb_model_meta(self) -> Any:
        """What mteb writes of the model: its fingerprint is the revision."""
        from mteb.models import ModelMeta

        known = {
            "name": self.name,
            "revision": self.model.fingerprint,
            "embed_dim": self.model.dim,
            "framework": ["PyTorch"],
            "similarity_fn_name": "cosine",
            "open_weights": True,
        }
        return cast("Any", ModelMeta).create_empty(known)

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any,
        hf_split: str,  # noqa: ARG002 (mteb hands it over)
        hf_subset: str,  # noqa: ARG002
        prompt_type: Any = None,
        **_: Any,
    ) -> Vectors:
        """Return the vectors (n, d) of batches of texts: {"text": [...], ...}."""
        texts: list[str] = []
        for batch in inputs:
            if "text" not in batch:
                name = task_metadata.name
                raise InputError(f"mteb: task {name} has no text ({', '.join(batch)}); take a task of text")
            texts.extend(batch["text"])
        role = None if prompt_type is None else ROLES[str(getattr(prompt_type, "value", prompt_type))]
        return embed_column(self.model, ListColumn(str(task_metadata.name), texts), role, empty=True)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> npt.NDArray[np.float32]:
        """Return the cosine of all with all, (n, m)."""
        a, b = (np.atleast_2d(np.asarray(x, np.float32)) for x in (embeddings1, embeddings2))
        cosines: npt.NDArray[np.float32] = a @ b.T
        return cosines

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> npt.NDArray[np.float32]:
        """Return the cosine of each with its own, (n,)."""
        a, b = (np.atleast_2d(np.asarray(x, np.float32)) for x in (embeddings1, embeddings2))
        cosines: npt.NDArray[np.float32] = (a * b).sum(1)
        return cosines
