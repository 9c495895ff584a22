"""A whole training step of SimCLR on small pictures: nearfar's loop, and lightly's as its documentation writes it.

The network is the same, nearfar's `small` or timm's ResNet-18 with a small stem, and so are the projection's sizes, the
batch and the optimiser. The first third of the steps is not timed, in which workers fill their queues; the rest is,
views and reading included.
"""

from __future__ import annotations

import contextlib
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from _machine import PeakMemory, untimed
from torch import Tensor, nn

SIDE, RATE, TEMPERATURE = 32, 2e-3, 0.2
HIDDEN, OUT = 512, 128


def train(
    contestant: str, model: str, batch: int, steps: int, data: str, limit: int, threads: int, **variant: Any
) -> dict[str, Any]:
    """Return pictures a second and memory of one training in this process."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    with PeakMemory() as memory:
        run = _ours if contestant == "nearfar" else _lightly
        speed = run(model, batch, steps, data, limit, **variant)
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10  # KB on Linux; of the largest one
    return {"pictures_per_second": speed, "peak_mb": memory.peak_mb, "worker_mb": worker}


def _ours(model: str, batch: int, steps: int, data: str, limit: int, precision: str) -> float:
    from nearfar import config
    from nearfar.training.fit import fit

    settings = [f"data.path={data}", f"data.limit={limit}", "data.heldout=0", f"encoder.model={model}"]
    settings += [f"encoder.size={SIDE}", f"training.steps={steps}", f"training.batch_size={batch}"]
    settings += ["training.optimizer=adamw", f"training.learning_rate={RATE}"]  # lightly's; the recipe's is Muon
    parts = config.build(config.load("simclr", [*settings, f"training.precision={precision}"]))
    with tempfile.TemporaryDirectory() as folder:
        run = fit(
            parts.encoder,
            parts.positives,
            parts.loss,
            out=Path(folder) / "run",
            heads=parts.heads,
            quiet=True,
            **parts.training,
        )
        lines = (run.folder / "events.jsonl").read_text("utf-8").splitlines()
    ends: list[float] = [event["time"] for event in map(json.loads, lines) if event["event"] == "step"]
    first = untimed(steps)
    return (steps - first) * batch / (ends[-1] - ends[first - 1])


class _Pictures(torch.utils.data.Dataset[Any]):
    """Pictures in memory, as torchvision's CIFAR10 has them."""

    def __init__(self, data: str, limit: int, transform: Any) -> None:
        from nearfar.data.images import Images

        rows = Images(data, limit=limit)
        self.cells, self.transform = rows.column("image").read(0, len(rows)), transform

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, row: int) -> Any:
        from PIL import Image

        return self.transform(Image.fromarray(self.cells[row])), 0


class _SimCLR(nn.Module):
    """The model of lightly's documentation, over the network that nearfar trains."""

    def __init__(self, model: str) -> None:
        super().__init__()
        from lightly.models.modules import SimCLRProjectionHead

        from nearfar.encoders.image import Image

        encoder = Image(model, size=SIDE)
        self.backbone: nn.Module = encoder.network
        self.projection_head: nn.Module = SimCLRProjectionHead(encoder.dim, HIDDEN, OUT)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.projection_head(self.backbone(x).flatten(start_dim=1))  # (n, 128)
        return z


def _lightly(
    model: str, batch: int, steps: int, data: str, limit: int, workers: int, layout: str, precision: str
) -> float:
    """Train as in lightly's example of SimCLR. layout: "channels last" of weights and pictures, or "contiguous"."""
    from lightly.loss import NTXentLoss
    from lightly.transforms.simclr_transform import SimCLRTransform

    form = torch.channels_last if layout == "channels last" else torch.contiguous_format
    network = _SimCLR(model).to(memory_format=form)
    dataset = _Pictures(data, limit, SimCLRTransform(input_size=SIDE, cj_strength=0.5, gaussian_blur=0.0))
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=batch, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0
    )
    criterion = NTXentLoss(temperature=TEMPERATURE)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.01)
    done, began = 0, 0.0
    while done < steps:
        for (x0, x1), _ in loader:
            with _autocast(precision):
                loss = criterion(network(x0.to(memory_format=form)), network(x1.to(memory_format=form)))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            done += 1
            if done == untimed(steps):
                began = time.perf_counter()
            if done == steps:
                break
    return (steps - untimed(steps)) * batch / (time.perf_counter() - began)


def _autocast(precision: str) -> Any:
    return torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()
