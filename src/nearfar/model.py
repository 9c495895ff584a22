"""Model: an encoder with its prompts, whose vectors are normalised; it embeds, and is saved and loaded."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import normalize

from nearfar import registry
from nearfar.abilities import NamedPrompts, TwoSided, named_prompts_of, prompts_of, reads, side
from nearfar.compute.evaluating import evaluating
from nearfar.contracts import Encoder, ForeignForm, Role
from nearfar.encoders.pretrained.folder import is_pretrained, refuse_code
from nearfar.encoders.pretrained.module_rows import encoder_spec
from nearfar.encoders.pretrained.named_prompts import checked_named_prompts
from nearfar.errors import InputError
from nearfar.requirements import refuse_incomplete
from nearfar.sides import ROLES, refuse_role
from nearfar.storage.card import card
from nearfar.storage.description import (
    NAMED,
    NEEDED,
    foreign_forms,
    read_description,
    refuse_other_folder,
    write_description,
)
from nearfar.storage.fingerprint import space_fingerprint
from nearfar.storage.folders import complete_folder, write_folder_atomically, write_text
from nearfar.storage.foreign import prompt_without_role, write_sentence_transformers
from nearfar.storage.probes import Probe, made_probes, probes_of
from nearfar.text.prompts import checked_cells, checked_prompts, no_vector
from nearfar.vectors.quantize import BYTES, Precision, Ranges, quantize, refuse_dim, shorten

Calibration = Sequence[Any] | npt.NDArray[Any] | Ranges | None
LEAST_NORM = 1e-12  # of what an encoder gives: below it there is no direction


class Model:
    """An embedding model: raw cells (texts, pictures, whatever its encoder reads) to unit vectors.

    Args:
        encoder: a prepared encoder; the model does not copy it.
        prompts: text in front of each text, by role ("query", "key"); by default those of the encoder.
        notes: further contents of `nearfar.json` and of the model card: recipe, data, metrics.
        named_prompts: prompts by other names, and the one that holds without a role; by default those of the folder
            that the encoder began from.

    Errors: `InputError` for an encoder that lacks a method of its contract, naming all that it lacks.

    Example:
        >>> import nearfar as nf
        >>> encoder = nf.encoders.Static(dim=16, vocabulary=300)
        >>> encoder.prepare([nf.column.ListColumn("text", ["pull near", "push far"])])
        >>> nf.Model(encoder).embed(["near"]).shape
        (1, 16)
    """

    def __init__(
        self,
        encoder: Encoder,
        prompts: Mapping[str, str] | None = None,
        notes: Mapping[str, Any] | None = None,
        named_prompts: NamedPrompts | None = None,
    ) -> None:
        refuse_incomplete("encoders", encoder, where="encoder")
        self.encoder = encoder
        defaults = prompts_of(encoder)  # of its training, or of its pretrained folder
        self.prompts = dict.fromkeys(ROLES, "") | checked_prompts(defaults if prompts is None else prompts)
        self.named_prompts = named_prompts_of(encoder) if named_prompts is None else named_prompts
        self.notes = dict(notes or {})
        self.bf16 = False  # whether vectors are computed in bfloat16: faster on some machines, exact to about 1e-2
        self.folder: Path | None = None  # that it was loaded from, its name in comparisons
        self.probes: list[Probe] = []  # of that folder: texts, and the first coordinates of their vectors as queries

    @property
    def dim(self) -> int:
        """The dimension of the vectors."""
        return self.encoder.dim

    def prompt(self, role: Role | None) -> str:
        """Return the text in front of each text of a role; None: of a text without one, where most have none."""
        return prompt_without_role(self.named_prompts, self.prompts) if role is None else self.prompts[role]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that the vectors depend on: weights, tokenizer, prompts, normalisation, lengths.

        It is computed once: an encoder that is trained further needs a new `Model`.
        """
        return space_fingerprint(self.dim, self.prompts, self.prompt(None), self.encoder.identity())

    def embed(
        self,
        cells: Sequence[Any],
        role: Role | None = None,
        *,
        batch_size: int = 4096,
        first: int = 0,
        dim: int | None = None,
        precision: Precision = "float32",
        calibration: Calibration = None,
    ) -> npt.NDArray[Any]:
        """Return the unit vectors of raw cells, (n, dim) float32, in order.

        role: of the prompt, and of the tower where there are two. None is the keys' tower and no prompt, unless the
        model came from a folder with a default one (sentence-transformers' `default_prompt_name`), which then holds.
        first: added to row numbers in errors, where `cells` are a slice of a longer sequence.
        dim: the number of first coordinates to return, normalised again. precision: fewer bits (`quantize`), for bytes
        with the ranges of `calibration`: a sample of cells, their vectors (c, dim), or `Ranges`.

        Errors: `InputError` naming the row of an empty text, of a cell of a kind that this side does not read, or of a
        text of which the encoder knows no token; an unknown role; a dim above the model's; bytes without a calibration.
        """
        if isinstance(cells, str):
            raise InputError("embed takes a list of texts, not one text; write embed([text])")
        refuse_role(role)
        if batch_size < 1:
            raise InputError(f"embed: batch_size must be at least 1, it is {batch_size}")
        dim = self.dim if dim is None else dim
        refuse_dim(dim, self.dim)
        ranges = self._ranges(calibration, role, dim) if precision in BYTES else None
        empty = quantize(np.empty((0, dim), np.float32), precision, ranges)  # raises before any cell is encoded
        vectors = np.empty((len(cells), empty.shape[1]), empty.dtype)
        with evaluating(self.encoder):
            for start in range(0, len(cells), batch_size):
                part = shorten(self._unit(cells[start : start + batch_size], role, first + start), dim, first + start)
                vectors[start : start + batch_size] = quantize(part, precision, ranges)
        return vectors

    def _ranges(self, calibration: Calibration, role: Role | None, dim: int) -> Ranges | None:
        """Return the ranges of the first `dim` coordinates, from cells, vectors or ranges."""
        if calibration is None or isinstance(calibration, Ranges):
            return calibration
        if isinstance(calibration, np.ndarray):
            return Ranges.of(calibration)
        return Ranges.of(self.embed(calibration, role, dim=dim))

    def _unit(self, cells: Sequence[Any], role: Role | None, first: int) -> npt.NDArray[np.float32]:
        vectors, norms = self.encoded(self.inputs(cells, role, first=first))
        broken = ~((norms > LEAST_NORM) & np.isfinite(norms))  # (b,) zero, as of unknown tokens, or no number
        if broken.any():
            row = int(np.flatnonzero(broken)[0])
            raise no_vector(first + row, cells[row])
        return vectors

    @torch.inference_mode()
    def inputs(self, cells: Sequence[Any], role: Role | None = None, *, first: int = 0) -> Any:
        """Return raw cells as the encoder's inputs (`contracts.Inputs`), each text behind the prompt of the role.

        Inputs of one role can be joined and cut before they are `encoded`, as a server does with those of many callers.

        Errors: `InputError` as of `embed`, but for cells that have no vector.
        """
        reader = side(self.encoder, role)
        name = f"this model's {role or 'key'} side" if isinstance(self.encoder, TwoSided) else "this model"
        prompted = checked_cells(reader, name, cells, self.prompt(role), first)
        device = self._device
        with self._precision(device):  # `frozen_projection` encodes here
            return reader.inputs(prompted).to(device)

    @torch.inference_mode()
    def encoded(self, inputs: Any) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return the unit vectors (n, dim) of inputs, and the lengths (n,) that they had before they were normalised.

        A row whose length is zero, or not finite, has no vector: what stands there is of no use. The encoder must not
        be in training mode.
        """
        with self._precision(self._device):
            raw = self.encoder(inputs).float()  # (n, dim)
        return normalize(raw, dim=1).cpu().numpy(), raw.norm(dim=1).cpu().numpy()

    @property
    def _device(self) -> torch.device:
        parameter = next(cast("torch.nn.Module", self.encoder).parameters(), None)  # None before `prepare`
        return torch.device("cpu") if parameter is None else parameter.device

    def _precision(self, device: torch.device) -> torch.autocast:
        enabled = self.bf16 or torch.is_autocast_enabled(device.type)
        return torch.autocast(device.type, torch.bfloat16, enabled=enabled)

    def save(self, folder: str | Path) -> Path:
        """Write the model folder, also in the forms of other tools that the encoder has (sentence-transformers).

        It replaces an older one when it is complete.

        Errors: `InputError` for a path that cannot be a folder, or holds other things than a model; `RunError` for one
        that cannot be written (disk full), where the older model stays.
        """
        folder = Path(folder)
        refuse_other_folder(folder)
        with write_folder_atomically(folder) as new:
            forms = self.encoder.save(new)
            write_sentence_transformers(new, forms, self.prompts, self.named_prompts)
            self._describe(new, forms)
        return folder

    def describe(self, folder: Path) -> None:
        """Write the description of a folder that `save` wrote, nearfar.json and the model card, with `notes`."""
        self._describe(folder, foreign_forms(folder))

    def _describe(self, folder: Path, forms: Sequence[ForeignForm]) -> None:
        encoder = {"name": registry.name_of(type(self.encoder)), **self.encoder.settings()}
        named = asdict(self.named_prompts) if self.named_prompts != NamedPrompts() else None
        notes = {**self.notes, **({NAMED: named} if named else {})}
        sides: dict[str, tuple[str, ...]] = {role: reads(side(self.encoder, role)) for role in ROLES}
        towers = isinstance(self.encoder, TwoSided)
        probes = made_probes(partial(self.embed, role="query")) if "text" in sides["query"] else []
        about: dict[str, Any] = {"towers": towers, "probes": probes}
        write_description(folder, self.fingerprint, encoder, self.prompts, forms, notes, sides, **about)
        page = card(self.dim, self.fingerprint, self.notes, forms, sides, towers=towers)
        write_text(folder / "README.md", page)

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
        """Read a model folder of nearfar, sentence-transformers, transformers or timm; or an installed minilm or lite0.

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
        description = read_description(folder)
        settings = {key: value for key, value in description["encoder"].items() if key != "name"}
        part = registry.find("encoders", str(description["encoder"].get("name")))
        encoder = part.load(folder, registry.coerced_settings(part, settings, f"{folder / 'nearfar.json'}: encoder"))
        notes = {key: value for key, value in description.items() if key not in NEEDED}
        named = checked_named_prompts(f"{folder / 'nearfar.json'}: {NAMED}", notes.pop(NAMED, None) or {})
        model = cls(encoder, description["prompts"], notes, named)
        if model.fingerprint != (stored := description.get("fingerprint")):
            raise InputError(
                f"{folder}: the files give fingerprint {model.fingerprint}, nearfar.json says {stored!r:.80}; weights "
                "or tokenizer were changed after saving: copy or train it again"
            )
        model.folder, model.probes = given, probes_of(description)
        return model

    @classmethod
    def _read_pretrained(cls, folder: str) -> Self:
        """Read a folder of sentence-transformers (a Router's, a static model's, too) or transformers, with prompts."""
        model = cls(registry.build("encoders", encoder_spec(folder)))
        model.folder = Path(folder)
        return model
