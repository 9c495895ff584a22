"""Model: an encoder with its prompts and its sphere; load, save, embed."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import normalize

from nearfar import registry
from nearfar.contracts import Encoder, side
from nearfar.encoders.pretrained.folder import is_pretrained, refuse_code
from nearfar.errors import InputError, nearest
from nearfar.storage.card import card
from nearfar.storage.fingerprint import fingerprint
from nearfar.storage.folders import folder_aside, made, standing, write_text
from nearfar.vectors.quantize import BYTES, Precision, Ranges, quantize, shorten

Role = Literal["query", "key"] | None
Calibration = Sequence[Any] | npt.NDArray[Any] | Ranges | None
FORMAT = 1
ROLES = {"query": "query", "key": "document"}  # our role -> sentence-transformers' prompt name


class Model:
    """An embedding space that can be used: raw things to unit vectors.

    Args:
        encoder: a prepared encoder; the model uses it as it is, without a copy.
        prompts: text put in front, by role ("query", "key"); the encoder's own.
        notes: what `nearfar.json` and the model card tell: recipe, data, metrics.

    Example:
        >>> import nearfar as nf
        >>> encoder = nf.encoders.Static(dim=16, vocabulary=300)
        >>> encoder.prepare([nf.column.ListColumn("text", ["pull near", "push far"])])
        >>> nf.Model(encoder).embed(["near"]).shape
        (1, 16)
    """

    def __init__(
        self, encoder: Encoder, prompts: Mapping[str, str] | None = None, notes: Mapping[str, Any] | None = None
    ) -> None:
        self.encoder = encoder
        own = getattr(encoder, "prompts", {})  # those that it was trained with, or came with
        self.prompts = dict.fromkeys(ROLES, "") | _checked_prompts(own if prompts is None else prompts)
        self.notes = dict(notes or {})
        self.bf16 = False  # whether vectors are computed in bfloat16: faster where the machine is, to about 1e-2
        self.folder: Path | None = None  # where it was loaded from, its name in comparisons

    @property
    def dim(self) -> int:
        """The dimension of the vectors."""
        return self.encoder.dim

    @cached_property
    def fingerprint(self) -> str:
        """What makes two embedding spaces the same one: weights, tokenizer, prompts, normalisation, lengths, as hash.

        It is computed once: a model whose weights are trained further needs a new `Model`.
        """
        return fingerprint("space 1", sorted(self.prompts.items()), self.dim, "unit", *self.encoder.identity())

    def embed(
        self,
        cells: Sequence[Any],
        role: Role = None,
        *,
        batch_size: int = 4096,
        first: int = 0,
        dim: int | None = None,
        precision: Precision = "float32",
        calibration: Calibration = None,
    ) -> npt.NDArray[Any]:
        """Return unit vectors of raw things, (n, dim) float32, in order.

        role: whose prompt, and whose tower where there are two; None is no prompt, and the keys' tower.
        first: added to row numbers in errors, where `cells` are a slice of something longer.
        dim: only so many coordinates, the first ones, back on the sphere. precision: in fewer bits (`quantize`), for
        bytes with the ranges of `calibration`: raw things like those to come, their vectors (c, dim), or `Ranges`.

        Errors: `InputError` naming the row of an empty text, of something that is no text, or of a text of which the
        encoder knows no token; an unknown role; a dim above the model's; bytes without a calibration.
        """
        if isinstance(cells, str):
            raise InputError("embed takes a list of texts, not one text; write embed([text])")
        if role is not None and role not in ROLES:
            raise InputError(f"embed: no role {role!r}; known: query, key, or None for no prompt")
        if batch_size < 1:
            raise InputError(f"embed: batch_size must be at least 1, it is {batch_size}")
        dim = self.dim if dim is None else dim
        if not 1 <= dim <= self.dim:
            raise InputError(f"embed: dim {dim} is not of this model's vectors, which have {self.dim}; give 1 to that")
        ranges = self._ranges(calibration, role, dim) if precision in BYTES else None
        like = quantize(np.empty((0, dim), np.float32), precision, ranges)  # what is wrong shows before the work
        vectors = np.empty((len(cells), like.shape[1]), like.dtype)
        module = cast("torch.nn.Module", self.encoder)
        training = module.training
        if training:  # else nothing is switched, so that several threads may embed at once
            module.eval()
        try:
            for start in range(0, len(cells), batch_size):
                part = shorten(self._unit(cells[start : start + batch_size], role, first + start), dim, first + start)
                vectors[start : start + batch_size] = quantize(part, precision, ranges)
        finally:
            if training:
                module.train()
        return vectors

    def _ranges(self, calibration: Calibration, role: Role, dim: int) -> Ranges | None:
        """Return the ranges of the first coordinates, of whatever the calibration is."""
        if calibration is None or isinstance(calibration, Ranges):
            return calibration
        if isinstance(calibration, np.ndarray):
            return Ranges.of(calibration)
        return Ranges.of(self.embed(calibration, role, dim=dim))

    @torch.inference_mode()
    def _unit(self, cells: Sequence[Any], role: Role, first: int) -> npt.NDArray[np.float32]:
        prompt = "" if role is None else self.prompts[role]
        reads = side(self.encoder, role)
        kind = getattr(reads, "takes", object)
        texts = [_checked(cell, kind, first + i, prompt) for i, cell in enumerate(cells)]
        parameter = next(cast("torch.nn.Module", self.encoder).parameters(), None)  # none, where it is not ready
        where = torch.device("cpu") if parameter is None else parameter.device
        with torch.autocast(where.type, torch.bfloat16, enabled=self.bf16 or torch.is_autocast_enabled(where.type)):
            raw = self.encoder(reads.inputs(texts).to(where)).float()  # (b, d); `frozen_projection` encodes in `inputs`
        length = raw.norm(dim=1)
        lost = ~((length > 1e-12) & length.isfinite())  # (b,) zero, as of no token at all, or not a number
        if bool(lost.any()):
            row = int(lost.nonzero()[0])
            raise InputError(
                f"embed: row {first + row + 1} has no place in the space ({str(cells[row])[:40]!r}): the encoder knows "
                "no part of it; leave it out"
            )
        vectors: npt.NDArray[np.float32] = normalize(raw, dim=1).cpu().numpy()  # (b, d)
        return vectors

    def save(self, folder: str | Path) -> Path:
        """Write the model folder, which loads in sentence-transformers, too: aside, then in the place of an older one.

        Errors: `InputError` for a place that cannot be a folder, or holds something else than a model; `RunError` for
        one that cannot be written (disk full). The older model is there until the new one is whole.
        """
        folder = Path(folder)
        made(folder.parent)
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder}: a file stands where the model's folder is to be; choose another place")
        if folder.is_dir() and any(folder.iterdir()) and not (folder / "nearfar.json").is_file():
            raise InputError(
                f"{folder}: holds other things than a model, which saving would delete; choose another place"
            )
        with folder_aside(folder) as aside:
            self._write(aside)
        return folder

    def _write(self, folder: Path) -> None:
        modules = self.encoder.save(folder)
        modules.append({"type": "sentence_transformers.models.Normalize", "path": "normalize"})
        (folder / "normalize").mkdir()
        sentence_transformers = {
            "model_type": "SentenceTransformer",
            "prompts": {theirs: self.prompts[ours] for ours, theirs in ROLES.items()},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        }
        rows = [{"idx": i, "name": str(i), "path": "", **module} for i, module in enumerate(modules)]
        for name, content in (("modules", rows), ("config_sentence_transformers", sentence_transformers)):
            (folder / f"{name}.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
        self.describe(folder)

    def describe(self, folder: Path) -> None:
        """Write what is told of the model beside its weights: nearfar.json and the model card, from `notes`."""
        space = {
            "format": FORMAT,
            "fingerprint": self.fingerprint,
            "encoder": {"name": registry.name_of(type(self.encoder)), **self.encoder.settings()},
            "prompts": self.prompts,
        }
        known = {**space, **self.notes, **space}  # in this order, and no note takes the place of what loading needs
        write_text(folder / "nearfar.json", json.dumps(known, indent=2, ensure_ascii=False, default=str) + "\n")
        towers = hasattr(self.encoder, "side")
        write_text(folder / "README.md", card(self.dim, self.fingerprint, self.notes, towers=towers))

    def export_onnx(self, folder: str | Path) -> Path:
        """Write the model as an ONNX graph with its tokenizer (`nearfar.export`). Needs the extra `onnx`."""
        from nearfar.storage.onnx import export_onnx

        told = {"fingerprint": self.fingerprint, "dim": self.dim, "prompts": self.prompts}
        return export_onnx(self.encoder, Path(folder), told)

    def push_to_hub(self, repo_id: str, *, private: bool | None = None, token: str | None = None) -> str:
        """Upload what `save` writes into a repository of the hub (owner/name); return the commit's address.

        token: one that may write; None is that of `hf auth login`. Errors: those of `nearfar.hub.push`.
        """
        from nearfar.storage.hub import push

        with tempfile.TemporaryDirectory(prefix="nearfar-hub-") as aside:
            return push(self.save(Path(aside) / "model"), repo_id, private=private, token=token)

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu", bf16: bool = False) -> Self:
        """Read a model folder: nearfar's, sentence-transformers' or transformers'; or `minilm`, if that is installed.

        Only built-in parts are loaded, only safetensors are read: no code comes with it. device: where it computes;
        bf16: in bfloat16, which is faster where the machine is fast at it, and good to about two digits.

        Errors: `InputError` for a folder that is missing, not whole, or whose files do not match their fingerprint.
        """
        model = cls._read(folder)
        cast("torch.nn.Module", model.encoder).to(device).eval()
        model.bf16 = bf16
        return model

    @classmethod
    def _read(cls, folder: str | Path) -> Self:
        place = Path(folder)
        folder = standing(place)
        if folder != place:
            warnings.warn(f"{place}: its replacement was broken off; the model before it is read", stacklevel=2)
        if not (folder / "nearfar.json").is_file() and is_pretrained(str(place)):
            return cls._pretrained(str(place))
        refuse_code(folder)
        known = _read_description(folder)
        settings = {key: value for key, value in known["encoder"].items() if key != "name"}
        part = registry.find("encoders", str(known["encoder"].get("name")))
        encoder = part.load(folder, registry.coerce(part, settings, f"{folder / 'nearfar.json'}: encoder"))
        notes = {key: known[key] for key in known if key not in ("format", "fingerprint", "encoder", "prompts")}
        model = cls(encoder, known["prompts"], notes)
        if model.fingerprint != known.get("fingerprint"):
            raise InputError(
                f"{folder}: the files give fingerprint {model.fingerprint}, nearfar.json says "
                f"{known.get('fingerprint')}; weights or tokenizer were changed after saving: copy or train it again"
            )
        model.folder = place
        return model

    @classmethod
    def _pretrained(cls, place: str) -> Self:
        """Read a folder of sentence-transformers or transformers, with its own prompts."""
        model = cls(registry.find("encoders", "transformer")(model=place))
        model.folder = Path(place)
        return model


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / "nearfar.json"
    if not folder.is_dir():
        raise InputError(f"{folder}: no such model folder; nearfar train writes one to OUT/model")
    if not path.is_file():
        raise InputError(
            f"{folder}: no nearfar.json, so this is no model of nearfar; a run keeps its model in RUN/model"
        )
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable ({error}); copy the model folder again") from error
    whole = isinstance(known, dict) and all(isinstance(known.get(key), dict) for key in ("encoder", "prompts"))
    if not whole or known.get("format") != FORMAT:
        raise InputError(f"{path}: not a description of format {FORMAT}; was it written by another release of nearfar?")
    return cast("dict[str, Any]", known)


def _checked_prompts(prompts: Mapping[str, str]) -> dict[str, str]:
    for role, prompt in prompts.items():
        if role not in ROLES:
            raise InputError(f"prompts: no role {role!r}; {nearest(str(role), ROLES)}")
        if not isinstance(prompt, str) or _no_text(prompt):
            raise InputError(f"prompts: {role} must be a text without lone surrogates, it is {prompt!r}")
    return dict(prompts)


def _checked(cell: Any, kind: type, row: int, prompt: str) -> Any:
    if not isinstance(cell, kind):
        raise InputError(f"embed: row {row + 1} is no {kind.__name__} but {type(cell).__name__}: {str(cell)[:40]!r}")
    if not isinstance(cell, str):
        return cell
    if not cell.strip():
        raise InputError(f"embed: text {row + 1} is empty; leave it out, an empty text has no place in the space")
    if _no_text(cell):
        raise InputError(f"embed: text {row + 1} holds a lone surrogate, which is no text; decode it again")
    return prompt + cell


def _no_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
