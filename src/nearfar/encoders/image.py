"""Image: pictures to vectors, by an architecture of timm, a pretrained model, or a small network for CPUs."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nearfar.abilities import LastBlocks
from nearfar.column import Column
from nearfar.contracts import ForeignForm, States
from nearfar.encoders.image_networks.choose import PROVISIONAL, Network, has_weights, make_network
from nearfar.encoders.image_networks.last_blocks import last_picture_blocks
from nearfar.encoders.image_networks.over_pixels import OverPixels
from nearfar.encoders.image_networks.preprocessing import (
    Channels,
    Preprocessing,
    checked_size,
    checked_three,
    resizing,
)
from nearfar.encoders.reading.pictures import Fit, PictureInputs, PictureStore, auto_size, resized
from nearfar.errors import InputError
from nearfar.pictures.resize import Resample
from nearfar.text.tokenizer import library_errors

_PIXELS = 1 << 18  # of pictures that are encoded together: 256 of 32 x 32


class Image(nn.Module):
    """The features of a network over a picture: x = f((p - mean) / std), p its pixels in 0 to 1, resized.

    Pictures are uint8 in red, green, blue, and are resized, with antialiasing, and normalised in here, so that mean,
    standard deviation, size and order of the channels are part of the model.

    Args:
        model: small, six convolutions that learn fast on CPUs, and that no other library has (`plain_network`); the
            name of an architecture of timm, with random weights; a folder, or a name on the hub, of timm or of a
            picture model of transformers (ViT, DINOv2, ConvNeXt, ResNet); or `lite0`, EfficientNet-Lite0 with weights
            from ImageNet, of the extra of that name. Only safetensors are read, and no code from a folder is run.
        model_args: timm's own arguments of the architecture: {drop_path_rate: 0.1}; of small, {widths: [32, 64],
            pool: none}.
        size: side of the pictures in pixels. auto is what a pretrained model was made for; else the largest of 32, 64,
            128 that is at most the median short side of the data's pictures, and at least 32.
        stem: small makes a ResNet's first convolution 3 x 3 without stride, and leaves out its pooling, so that small
            pictures keep their size (SimCLR, arXiv:2002.05709, appendix B.9); timm does not read that. own is the
            architecture's. auto is small for a new ResNet of timm at up to 64 pixels.
        fit: crop resizes the short side and takes the middle, squash resizes both, content first cuts a picture to a
            square around what differs from the colour of its edge (drawings, letters, parts on a plain ground; no other
            library does that, and none is promised); by default the folder's, or crop.
        mean, std: of red, green and blue, in 0 to 1; by default the folder's, or those that timm has for the name.
        channels: the order in which the network takes them, rgb or bgr.
        antialias: whether pictures that shrink are smoothed; False is for models that were trained without.
        resample: bilinear or bicubic: resize in bytes, to the very pixels of transformers and Pillow; by default the
            folder's, for CLIP and SigLIP, and else nearfar's own way, which is bilinear and cuts first.
        short_side: of resample with crop, pixels of the short side before the middle is cut; by default `size`.
        frozen: number of first layers or stages that are frozen, and with them the stem; their batch norm keeps its
            statistics.
        frozen_norm: whether all batch norm keeps its statistics while its parameters learn: those of the many pictures
            of its pretraining, where there are few.
        seed: of the initial weights.

    Call: `PictureInputs` of n pictures -> (n, dim), not normalised. Vision transformers have `states` of patches.

    Errors: `InputError` for a model that cannot be read or would run code, and settings that do not fit it; pictures
    before `prepare`, where the size is auto.

    Example:
        >>> import numpy as np, nearfar as nf
        >>> encoder = nf.encoders.Image(size=32)
        >>> nf.Model(encoder).embed([np.full((40, 60, 3), 128, np.uint8)]).shape
        (1, 256)

    When not to use it: for pictures of text, which a document reader understands better; with few pictures, of which
    `lite0` or another pretrained model already knows more than training teaches.
    """

    reads: tuple[str, ...] = ("image",)
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: str = "small",
        model_args: dict[str, Any] | None = None,
        size: int | Literal["auto"] = "auto",
        stem: Literal["auto", "small", "own"] = "auto",
        fit: Fit | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        channels: Channels = "rgb",
        antialias: bool = True,
        resample: Resample | None = None,
        short_side: int | None = None,
        frozen: int = 0,
        frozen_norm: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value, known in (
            ("stem", stem, ("auto", "small", "own")),
            ("fit", fit, (None, "crop", "squash", "content")),
            ("channels", channels, ("rgb", "bgr")),
            ("resample", resample, (None, "bilinear", "bicubic")),
        ):
            if value not in known:
                raise InputError(f"encoder.{name} must be {' or '.join(filter(None, known))}, it is {value!r}")
        self.model, self.model_args, self.stem, self.frozen, self.seed = model, model_args or {}, stem, frozen, seed
        self.frozen_norm = frozen_norm
        pixels = None if size == "auto" else checked_size(size, "encoder.size")
        network = make_network(model, self.model_args, pixels, stem, seed)
        made = network.made
        self.preprocessing = Preprocessing(
            made.size if pixels is None and has_weights(model) else pixels,
            made.mean if mean is None else checked_three(mean, "encoder.mean"),
            made.std if std is None else checked_three(std, "encoder.std", above_zero=True),
            fit or made.fit,
            channels,
            antialias,
            *resizing(made, resample, short_side, pixels, fit),
        )
        for name, values in (("mean", self.preprocessing.mean), ("std", self.preprocessing.std)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)
        self._set_network(network)

    def _set_network(self, network: Network) -> None:
        """Use a network: freeze its first layers, and try it on a picture."""
        network.to(memory_format=torch.channels_last)
        if self.frozen:
            with library_errors(f"encoder.frozen: {self.model} does not say what its layers are", "leave frozen out"):
                stem, *layers = network.layers()
            if not 0 < self.frozen <= len(layers):
                most = len(layers)
                raise InputError(f"encoder.frozen: the network has {most} layers or stages; give 0 to {most}")
            for parameter in sum(layers[: self.frozen], stem):
                parameter.requires_grad_(False)
        side = self.preprocessing.size or PROVISIONAL
        what = f"encoder: {self.model} gives no vector of a picture of {side} x {side} pixels"
        network.eval()
        with library_errors(what, "give another encoder.size"), torch.no_grad():
            vectors = network(torch.zeros(1, 3, side, side))
        if vectors.dim() != 2 or not bool(vectors.isfinite().all()):
            raise InputError(f"{what}, but {tuple(vectors.shape)}; is its pooling switched off?")
        self.dim = int(vectors.shape[1])
        self.network: Network = network
        self.train(self.training)
        self.__dict__.pop("states", None)
        if network.has_states:
            self.states = self._states  # see `abilities.GivesStates`

    @property
    def starts_from(self) -> str | None:
        """The model that it began from; None for a new one."""
        return self.model if has_weights(self.model) else None

    def untrained(self) -> Image | None:
        """Return the same architecture with random weights; None for one of transformers."""
        network = self.network.untrained(self._size(), self.seed)
        if network is None:
            return None
        other = copy.deepcopy(self)
        other._set_network(network.to(self.mean.device))
        return other

    def picture_size(self) -> int | None:
        """Return the side of the pictures that it reads, in pixels; None before `prepare`, where it is auto."""
        return self.preprocessing.size

    def _size(self) -> int:
        if self.preprocessing.size is None:
            raise InputError("encoders.image: its size is not known yet; call prepare(columns), or give size=32")
        return self.preprocessing.size

    def prepare(self, columns: Sequence[Column]) -> None:
        """Choose the size by the columns' pictures, where there is none; a network that depends on it is made anew."""
        if self.preprocessing.size is not None:
            return
        self.preprocessing = replace(self.preprocessing, size=auto_size(columns))
        known = self.network
        made = make_network(self.model, self.model_args, self._size(), self.stem, self.seed)
        if known.fixed or made.described() != known.described():
            self._set_network(made.to(self.mean.device))

    def train(self, mode: bool = True) -> Self:
        """Set the mode; batch norm that is frozen, or whose parameters are, keeps its statistics."""
        super().train(mode)
        for layer in self.modules() if mode and (self.frozen or self.frozen_norm) else ():
            if isinstance(layer, _BatchNorm) and (
                self.frozen_norm or not any(p.requires_grad for p in layer.parameters())
            ):
                layer.eval()
        return self

    def says(self, size: int | None = None) -> list[str]:  # noqa: ARG002 (it reads its own size)
        """Return a line about the stem, and why it is so."""
        first = next((layer for layer in self.network.modules() if isinstance(layer, nn.Conv2d)), None)
        if first is None:
            return []
        (height, width), stride, pixels = first.kernel_size, first.stride[0], f"pictures have {self._size()} px"
        shape = f"stem: {height} x {width} {f'with stride {stride}' if stride > 1 else 'without stride'}"
        if self.network.stem == "own":
            return [f"{shape}, which is {self.model}'s own; {pixels}"]
        why = f"because {pixels}" if self.stem == "auto" else "as encoder.stem says"
        return [f"{shape} and without pooling, {why}"]

    def inputs(self, cells: Sequence[Any] | Tensor) -> PictureInputs:
        """Return pictures as inputs: a list resized, a tensor (n, h, w, 3) of an augmentation's as it comes.

        Where pictures are cut to what they show, views are, too.
        """
        size, pre = self._size(), self.preprocessing
        whole = isinstance(cells, Tensor) and cells.dim() == 4 and cells.dtype == torch.uint8 and cells.shape[3] == 3
        if isinstance(cells, Tensor) and whole and pre.fit != "content" and self._takes(cells.shape[1:3]):
            return PictureInputs((cells,))
        return PictureInputs((resized(list(cells), size, pre.fit, antialias=pre.antialias, exact=pre.exact()),))

    def _takes(self, sides: Sequence[int]) -> bool:
        """Return whether the network takes pictures of these sides."""
        return not self.network.fixed or tuple(sides) == (self._size(), self._size())

    def store(self, column: Column) -> PictureStore:
        """Return the pictures of a whole column, resized once."""
        size, pre = self._size(), self.preprocessing
        return PictureStore(column, size, pre.fit, antialias=pre.antialias, exact=pre.exact())

    def forward(self, inputs: PictureInputs) -> Tensor:
        """Return raw vectors (n, dim) of n pictures."""
        found = [self.network(self.normalised(block)) for part in inputs.parts for block in self.blocks(part)]
        return torch.cat(found) if found else torch.zeros(0, self.dim, device=self.mean.device)

    def blocks(self, part: Tensor) -> Sequence[Tensor]:
        """Return pictures (n, h, w, 3) in blocks that fit the cache; in one while training, whose statistics are all's.

        On a GPU they are one block, too.
        """
        if not len(part):
            return []
        whole = self.training or part.device.type != "cpu"
        return [part] if whole else part.split(max(1, _PIXELS // (part.shape[1] * part.shape[2])))

    def normalised(self, pixels: Tensor) -> Tensor:
        """Return pixels (n, h, w, 3) uint8 as the network takes them, (n, 3, h, w), channels last in memory."""
        x = pixels.permute(0, 3, 1, 2).to(self.mean.dtype) * (1 / (255 * self.std)) - self.mean / self.std
        return x.flip(1) if self.preprocessing.channels == "bgr" else x

    def _states(self, inputs: PictureInputs) -> States:
        """Return the states of the patches, in rows from the top left; a state's place is its patch's number."""
        network: Any = self.network  # one that has states
        values, counts, places = [], [0], []
        for part in inputs.parts:
            if len(part):
                found = network.states(self.normalised(part))  # (n, p, d)
                n, patches, width = found.shape
                values.append(found.reshape(n * patches, width))
                counts += [patches] * n
                places.append(torch.arange(patches, device=found.device).repeat(n))
        offsets = torch.tensor(np.cumsum(counts), device=self.mean.device)
        if not values:
            return States(torch.zeros(0, self.dim, device=self.mean.device), offsets, offsets[:0])
        return States(torch.cat(values), offsets, torch.cat(places))

    def last_blocks(self, count: int) -> LastBlocks:
        """Return the last blocks or stages, over the states below them (`abilities.Divides`)."""
        return last_picture_blocks(self, count)

    def settings(self) -> dict[str, Any]:
        """Return what `load` needs beside the files."""
        return {**self.preprocessing.plain(), "size": self._size(), "stem": self.network.stem}

    def identity(self) -> Iterator[tuple[str, Any]]:
        """Yield what the embedding space depends on."""
        self._size()
        yield "preprocessing", sorted(self.preprocessing.plain().items())
        yield "network", self.network.described()
        for name, tensor in sorted(self.network.network.state_dict().items()):
            yield name, tensor.detach().float().cpu().numpy()

    def save(self, folder: Path) -> list[ForeignForm]:
        """Write the network as its library reads it, with equal features of pictures of its size; small has none."""
        self._size()
        forms = self.network.write(folder, self.preprocessing)
        return [] if self.preprocessing.fit == "content" else forms  # no other library cuts pictures so

    def picture_encoder(self) -> tuple[nn.Module, int]:
        """Return the encoder over pixels (n, size, size, 3) uint8, for other runtimes, and its size."""
        return OverPixels(self).cpu().float(), self._size()

    @classmethod
    def load(cls, folder: Path, settings: dict[str, Any]) -> Self:
        """Read what `save` wrote. Errors: `InputError` naming a file that is missing, broken or of another shape."""
        if not (folder / "config.json").is_file():
            raise InputError(f"{folder}: no config.json; copy the model folder again")
        return cls(**{**settings, "model": str(folder.resolve())})
