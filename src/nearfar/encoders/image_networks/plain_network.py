"""A stack of 3 x 3 convolutions: nearfar's own network, which learns much in a minute of a CPU."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nearfar.contracts import ForeignForm
from nearfar.encoders.image_networks.preprocessing import Made, Preprocessing, checked_size
from nearfar.encoders.pretrained.shards import read_shards, shapes_of
from nearfar.errors import InputError
from nearfar.storage.folders import write_text
from nearfar.storage.model_files import read_settings
from nearfar.storage.weights import write_weights

NAME = "small"  # as recipes call it
WIDTHS = (32, 64, 64, 128, 128, 256)
FIRST = 16  # channels of the convolutions that halve larger pictures first
SIDE = 48  # pixels up to which a picture goes to the first of `WIDTHS` as it is
WIDEST, MOST_STAGES = 4096, 16
POOLS = ("mean", "none")


class PlainNetwork(nn.Module):
    """Convolution, batch norm, ReLU, again and again; pooled over places: pixels (n, 3, h, w) -> features (n, d).

    Every convolution is 3 x 3. One that widens halves the sides, in the place of pooling, but for the last (the all
    convolutional net; Springenberg et al. 2015, arXiv:1412.6806, section 2). On a CPU 1 x 1 convolutions and those of
    few channels wait for the memory: a FasterNet of as many parameters takes one and a half times as long.

    Args:
        widths: channels of each convolution; the last are the features.
        pool: mean over the places, or none: the features of every place, one after another, for pictures that lie alike
            and whose parts tell by where they are, as those of a letter do.
        size: side of the pictures; at more than 48 pixels, convolutions to 16 channels halve them first.
        seed: of the initial weights (He et al. 2015, arXiv:1502.01852).
    """

    fixed, stem, has_states = False, "own", False

    def __init__(self, widths: tuple[int, ...], pool: str, size: int, seed: int) -> None:
        super().__init__()
        self.widths, self.pool, self.made = widths, pool, Made(size=size)
        halvings = 0
        while size > SIDE << halvings:
            halvings += 1
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            smaller = [_stage(before, FIRST, 2) for before in [3, *[FIRST] * halvings][:halvings]]
            channels = [FIRST if halvings else 3, *widths]
            stages = [_stage(before, after, 2 if after > before else 1) for before, after in pairwise(channels[:-1])]
            self.network = nn.Sequential(*smaller, *stages, _stage(channels[-2], channels[-1], 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return features (n, d)."""
        found: Tensor = self.network(x)
        places = found.permute(0, 2, 3, 1).flatten(1, 2)  # in the order of the memory, so that gradients are, too
        return places.mean(1) if self.pool == "mean" else places.flatten(1)

    def layers(self) -> list[list[nn.Parameter]]:
        """Return the parameters of each convolution with its batch norm."""
        return [list(stage.parameters()) for stage in self.network]

    def untrained(self, size: int, seed: int) -> PlainNetwork:  # noqa: ARG002 (as many halvings as it has)
        """Return it with random weights."""
        return PlainNetwork(self.widths, self.pool, self.made.size, seed)

    def described(self) -> str:
        """Return what the vectors depend on and the weights do not show."""
        return json.dumps([NAME, len(self.network), *[self.pool] * (self.pool != "mean")])

    def write(self, folder: Path, preprocessing: Preprocessing) -> list[ForeignForm]:
        """Write config.json and model.safetensors; no other library has this network."""
        size = preprocessing.size or self.made.size
        config = {"network": NAME, "widths": list(self.widths), "pool": self.pool, "input_size": size}
        write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")
        write_weights(folder / "model.safetensors", dict(self.network.state_dict()))
        return []


def _stage(before: int, after: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(before, after, 3, stride, 1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU(inplace=True))


def make_plain(args: Mapping[str, Any], size: int, seed: int) -> PlainNetwork:
    """Return a new network. args: those of the recipe, `widths` and `pool`. Errors: `InputError` for others."""
    where, unknown = "encoder.model_args", sorted(args.keys() - {"widths", "pool"})
    if unknown:
        raise InputError(f"{where}: {NAME} has widths and pool, it has no {unknown[0]}")
    widths = _checked_widths(where, args.get("widths", WIDTHS))
    return PlainNetwork(widths, _checked_pool(where, args.get("pool", "mean")), size, seed)


def read_plain(folder: Path, args: Mapping[str, Any]) -> PlainNetwork:
    """Read what `write` wrote. Errors: `InputError` naming what does not fit, and for arguments."""
    path = folder / "config.json"
    config = read_settings(path)
    if args:
        raise InputError(f"{path}: a saved network takes no encoder.model_args; leave them out")
    if config.get("network") != NAME:
        raise InputError(f"{path}: it names no network of nearfar; copy the model folder again")
    widths = _checked_widths(str(path), config.get("widths"))
    pool = _checked_pool(str(path), config.get("pool", "mean"))
    size = checked_size(config.get("input_size"), f"{path}: input_size")
    with torch.device("meta"):
        planned = PlainNetwork(widths, pool, size, seed=0).network.state_dict()
    expected = {name: tuple(tensor.shape) for name, tensor in planned.items()}
    if (found := shapes_of(folder)) != expected:
        wrong = min(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
        raise InputError(
            f"{folder}: {wrong} is {found.get(wrong, 'nothing')}, the network of config.json asks for "
            f"{expected.get(wrong, 'nothing')}; the folder's files do not belong together, copy it again"
        )
    network = PlainNetwork(widths, pool, size, seed=0)
    network.network.load_state_dict(read_shards(folder))
    return network


def _checked_widths(where: str, widths: Any) -> tuple[int, ...]:
    """Return channels of at least two convolutions. Errors: `InputError` for what is none."""
    whole = isinstance(widths, list | tuple) and all(isinstance(w, int) and not isinstance(w, bool) for w in widths)
    if not whole or not 2 <= len(widths) <= MOST_STAGES or not all(1 <= width <= WIDEST for width in widths):
        raise InputError(
            f"{where}: widths must be 2 to {MOST_STAGES} numbers of channels, 1 to {WIDEST}, such as {list(WIDTHS)}; "
            f"it is {widths!r:.80}"
        )
    return tuple(widths)


def _checked_pool(where: str, pool: Any) -> str:
    """Return a pooling that there is. Errors: `InputError` for another."""
    if pool not in POOLS:
        raise InputError(f"{where}: pool must be {' or '.join(POOLS)}, it is {pool!r:.80}")
    return str(pool)
