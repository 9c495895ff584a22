"""Model: an encoder with its prompts, whose vectors are normalised; it embeds, and is saved and loaded."""

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
from nearfar.abilities import side
from nearfar.contracts import Encoder
from nearfar.encoders.pretrained.folder import is_pretrained, refuse_code
from nearfar.errors import InputError, nearest
from nearfar.storage.card import card
from nearfar.storage.fingerprint import fingerprint
from nearfar.storage.folders import complete_folder, ensure_folder, write_folder_atomically, write_text
from nearfar.vectors.quantize import BYTES, Precision, Ranges, quantize, shorten

Role = Literal["query", "key"] | None
Calibration = Sequence[Any] | npt.NDArray[Any] | Ranges | None
FORMAT = 1  # of nearfar.json
ROLES = {"query": "query", "key": "document"}  # nearfar's role: sentence-transformers' prompt name


class Model:
    """An embedding model: raw cells (texts) to unit vectors.

    Args:
        encoder: a prepared encoder; the model does not copy it.
        prompts: text in front of each cell, by role ("query", "key"); by default those of the encoder.
        notes: further contents of `nearfar.json` and of the model card: recipe, data, metrics.

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
        defaults = getattr(encoder, "prompts", {})  # of its training, or of its pretrained folder
        self.prompts = dict.fromkeys(ROLES, "") | _checked_prompts(defaults if prompts is None else prompts)
        self.notes = dict(notes or {})
        self.bf16 = False  # whether vectors are computed in bfloat16: faster on some machines, exact to about 1e-2
        self.folder: Path | None = None  # that it was loaded from, its name in comparisons

    @property
    def dim(self) -> int:
        """The dimension of the vectors."""
        return self.encoder.dim

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that the vectors depend on: weights, tokenizer, prompts, normalisation, lengths.

        It is computed once: an encoder that is trained further needs a new `Model`.
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
        """Return the unit vectors of raw cells, (n, dim) float32, in order.

        role: of the prompt, and of the tower where there are two; None is no prompt, and the keys' tower.
        first: added to row numbers in errors, where `cells` are a slice of a longer sequence.
        dim: the number of first coordinates to return, normalised again. precision: fewer bits (`quantize`), for bytes
        with the ranges of `calibration`: a sample of cells, their vectors (c, dim), or `Ranges`.

        Errors: `InputError` naming the row of an empty text, of a cell that is no text, or of a text of which the
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
        empty = quantize(np.empty((0, dim), np.float32), precision, ranges)  # raises before any cell is encoded
        vectors = np.empty((len(cells), empty.shape[1]), empty.dtype)
        module = cast("torch.nn.Module", self.encoder)
        training = module.training
        if training:  # else the mode is not touched, so that several threads may embed in parallel
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
        """Return the ranges of the first `dim` coordinates, from cells, vectors or ranges."""
        if calibration is None or isinstance(calibration, Ranges):
            return calibration
        if isinstance(calibration, np.ndarray):
            return Ranges.of(calibration)
        return Ranges.of(self.embed(calibration, role, dim=dim))

    @torch.inference_mode()
    def _unit(self, cells: Sequence[Any], role: Role, first: int) -> npt.NDArray[np.float32]:
        prompt = "" if role is None else self.prompts[role]
        reader = side(self.encoder, role)
        cell_type = getattr(reader, "takes", object)
        prompted = [_checked(cell, cell_type, first + i, prompt) for i, cell in enumerate(cells)]
        parameter = next(cast("torch.nn.Module", self.encoder).parameters(), None)  # None before `prepare`
        device = torch.device("cpu") if parameter is None else parameter.device
        bf16 = self.bf16 or torch.is_autocast_enabled(device.type)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):  # `frozen_projection` encodes in `inputs`
            raw = self.encoder(reader.inputs(prompted).to(device)).float()  # (b, d)
        norm = raw.norm(dim=1)
        broken = ~((norm > 1e-12) & norm.isfinite())  # (b,) zero, as for a text of unknown tokens, or not a number
        if bool(broken.any()):
            row = int(broken.nonzero()[0])
            raise InputError(
                f"embed: row {first + row + 1} has no vector ({str(cells[row])[:40]!r}): the encoder knows no token of "
                "it; leave it out"
            )
        vectors: npt.NDArray[np.float32] = normalize(raw, dim=1).cpu().numpy()  # (b, d)
        return vectors

    def save(self, folder: str | Path) -> Path:
        """Write the model folder, which loads in sentence-transformers, too; it replaces an older one when complete.

        Errors: `InputError` for a path that cannot be a folder, or holds other things than a model; `RunError` for one
        that cannot be written (disk full), where the older model stays.
        """
        folder = Path(folder)
        ensure_folder(folder.parent)
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder}: a file stands where the model's folder is to be; choose another place")
        if folder.is_dir() and any(folder.iterdir()) and not (folder / "nearfar.json").is_file():
            raise InputError(
                f"{folder}: holds other things than a model, which saving would delete; choose another place"
            )
        with write_folder_atomically(folder) as new:
            self._write(new)
        return folder

    def _write(self, folder: Path) -> None:
        modules = self.encoder.save(folder)
        modules.append({"type": "sentence_transformers.models.Normalize", "path": "normalize"})
        (folder / "normalize").mkdir()
        sentence_transformers = {
            "model_type": "SentenceTransformer",
            "prompts": {name: self.prompts[role] for role, name in ROLES.items()},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        }
        rows = [{"idx": i, "name": str(i), "path": "", **module} for i, module in enumerate(modules)]
        for name, content in (("modules", rows), ("config_sentence_transformers", sentence_transformers)):
            (folder / f"{name}.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
        self.describe(folder)

    def describe(self, folder: Path) -> None:
        """Write the model's description, nearfar.json and the model card, with `notes`."""
        space = {
            "format": FORMAT,
            "fingerprint": self.fingerprint,
            "encoder": {"name": registry.name_of(type(self.encoder)), **self.encoder.settings()},
            "prompts": self.prompts,
        }
        content = {**space, **self.notes, **space}  # in this order, and no note replaces what loading needs
        write_text(folder / "nearfar.json", json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n")
        towers = hasattr(self.encoder, "side")
        write_text(folder / "README.md", card(self.dim, self.fingerprint, self.notes, towers=towers))

    def export_onnx(self, folder: str | Path) -> Path:
        """Write the model as an ONNX graph with its tokenizer (`nearfar.storage.onnx`). Needs the extra `onnx`."""
        from nearfar.storage.onnx import export_onnx

        description = {"fingerprint": self.fingerprint, "dim": self.dim, "prompts": self.prompts}
        return export_onnx(self.encoder, Path(folder), description)

    def push_to_hub(self, repo_id: str, *, private: bool | None = None, token: str | None = None) -> str:
        """Upload what `save` writes to a repository of the hub (owner/name); return the commit's URL.

        token: with permission to write; None is that of `hf auth login`. Errors: those of `nearfar.storage.hub.push`.
        """
        from nearfar.storage.hub import push

        with tempfile.TemporaryDirectory(prefix="nearfar-hub-") as folder:
            return push(self.save(Path(folder) / "model"), repo_id, private=private, token=token)

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu", bf16: bool = False) -> Self:
        """Read a model folder of nearfar, sentence-transformers or transformers; or `minilm`, if it is installed.

        Only built-in parts are loaded and only safetensors are read, so no code from the folder is run. device: of the
        encoder. bf16: whether it computes in bfloat16, which is faster on some machines, and exact to about two digits.

        Errors: `InputError` for a folder that is missing or incomplete, or whose files do not match their fingerprint.
        """
        model = cls._read(folder)
        cast("torch.nn.Module", model.encoder).to(device).eval()
        model.bf16 = bf16
        return model

    @classmethod
    def _read(cls, folder: str | Path) -> Self:
        given = Path(folder)
        folder = complete_folder(given)
        if folder != given:
            warnings.warn(f"{given}: its replacement was broken off; the model before it is read", stacklevel=2)
        if not (folder / "nearfar.json").is_file() and is_pretrained(str(given)):
            return cls._read_pretrained(str(given))
        refuse_code(folder)
        description = _read_description(folder)
        settings = {key: value for key, value in description["encoder"].items() if key != "name"}
        part = registry.find("encoders", str(description["encoder"].get("name")))
        encoder = part.load(folder, registry.coerce(part, settings, f"{folder / 'nearfar.json'}: encoder"))
        space = ("format", "fingerprint", "encoder", "prompts")
        model = cls(encoder, description["prompts"], {key: description[key] for key in description if key not in space})
        if model.fingerprint != (stored := description.get("fingerprint")):
            raise InputError(
                f"{folder}: the files give fingerprint {model.fingerprint}, nearfar.json says {stored}; weights or "
                "tokenizer were changed after saving: copy or train it again"
            )
        model.folder = given
        return model

    @classmethod
    def _read_pretrained(cls, folder: str) -> Self:
        """Read a folder of sentence-transformers or transformers, with its prompts."""
        model = cls(registry.find("encoders", "transformer")(model=folder))
        model.folder = Path(folder)
        return model


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / "nearfar.json"
    if not folder.is_dir():
        raise InputError(f"{folder}: no such model folder; nearfar train writes one to OUT/model")
    if not path.is_file():
        raise InputError(f"{folder}: no nearfar.json, so this is no model of nearfar; a run's is in RUN/model")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable ({error}); copy the model folder again") from error
    complete = isinstance(content, dict) and all(isinstance(content.get(key), dict) for key in ("encoder", "prompts"))
    if not complete or content.get("format") != FORMAT:
        raise InputError(f"{path}: not a description of format {FORMAT}; was it written by another release of nearfar?")
    return cast("dict[str, Any]", content)


def _checked_prompts(prompts: Mapping[str, str]) -> dict[str, str]:
    for role, prompt in prompts.items():
        if role not in ROLES:
            raise InputError(f"prompts: no role {role!r}; {nearest(str(role), ROLES)}")
        if not isinstance(prompt, str) or not _is_encodable(prompt):
            raise InputError(f"prompts: {role} must be a text without lone surrogates, it is {prompt!r}")
    return dict(prompts)


def _checked(cell: Any, kind: type, row: int, prompt: str) -> Any:
    """Return a cell, a text with its prompt. Errors: `InputError` naming the row of a cell that cannot be embedded."""
    if not isinstance(cell, kind):
        raise InputError(f"embed: row {row + 1} is no {kind.__name__} but {type(cell).__name__}: {str(cell)[:40]!r}")
    if not isinstance(cell, str):
        return cell
    if not cell.strip():
        raise InputError(f"embed: text {row + 1} is empty; leave it out, an empty text has no vector")
    if not _is_encodable(cell):
        raise InputError(f"embed: text {row + 1} holds a lone surrogate, which is no text; decode it again")
    return prompt + cell


def _is_encodable(text: str) -> bool:
    """Return whether a text can be written as UTF-8, which lone surrogates cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
