"""A model in the form that mteb (the Massive Text Embedding Benchmark) evaluates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from nearfar.column import ListColumn
from nearfar.contracts import Role
from nearfar.errors import InputError
from nearfar.model import Model
from nearfar.vectors.embed import Vectors, embed_column

ROLE_OF_PROMPT_TYPE: dict[str, Role] = {"query": "query", "document": "key"}


class MtebEncoder:
    """A text model in the form of mteb's `EncoderProtocol` (from mteb 2.0 on; the extra `mteb`).

    Where a task says that texts are queries or documents, the model's prompt for that role stands in front, and a model
    of two towers uses that role's tower; elsewhere (similarity, clustering, classification) there is no prompt. An
    empty text has a zero vector, so its similarity to every text is 0.

    Args:
        model: the model, or its folder.
        name: the name, owner/name, under which mteb keeps the results.

    Errors: `InputError`: mteb is not installed; a name of another form; a task without text.

    Example: `mteb.evaluate(MtebEncoder("runs/a/model"), mteb.get_tasks(["SciFact"]))`

    When not to use it: to evaluate on your own data, which `nf.evaluate` does, with intervals and baselines.
    """

    def __init__(self, model: Model | str | Path, name: str = "nearfar/model") -> None:
        try:
            import mteb  # noqa: F401 (so that a missing mteb is an error here)
        except ImportError as error:
            raise InputError("mteb is not installed; pip install 'nearfar[mteb]'") from error
        if name.count("/") != 1:
            raise InputError(f"MtebEncoder: name {name!r} is not of the form owner/name, which mteb asks for")
        self.model = model if isinstance(model, Model) else Model.load(model)
        self.name = name

    @cached_property
    def mteb_model_meta(self) -> Any:
        """What mteb records of the model; the model's fingerprint is the revision."""
        from mteb.models import ModelMeta

        meta = {
            "name": self.name,
            "revision": self.model.fingerprint,
            "embed_dim": self.model.dim,
            "framework": ["PyTorch"],
            "similarity_fn_name": "cosine",
            "open_weights": True,
        }
        return cast("Any", ModelMeta).create_empty(meta)

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any,
        hf_split: str,  # noqa: ARG002 (mteb passes it)
        hf_subset: str,  # noqa: ARG002
        prompt_type: Any = None,
        **_: Any,
    ) -> Vectors:
        """Return the vectors (n, d) of batches of texts, each batch {"text": [...], ...}."""
        texts: list[str] = []
        for batch in inputs:
            if "text" not in batch:
                name = task_metadata.name
                raise InputError(f"mteb: task {name} has no text ({', '.join(batch)}); take a task of text")
            texts.extend(batch["text"])
        kind = prompt_type.value if isinstance(prompt_type, Enum) else prompt_type
        role = None if kind is None else ROLE_OF_PROMPT_TYPE[str(kind)]
        return embed_column(self.model, ListColumn(str(task_metadata.name), texts), role, empty=True)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> npt.NDArray[np.float32]:
        """Return the cosines of all n vectors with all m, (n, m)."""
        a, b = (np.atleast_2d(np.asarray(x, np.float32)) for x in (embeddings1, embeddings2))
        cosines: npt.NDArray[np.float32] = a @ b.T
        return cosines

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> npt.NDArray[np.float32]:
        """Return the cosine of the i-th vector of one with the i-th of the other, (n,)."""
        a, b = (np.atleast_2d(np.asarray(x, np.float32)) for x in (embeddings1, embeddings2))
        cosines: npt.NDArray[np.float32] = (a * b).sum(1)
        return cosines
