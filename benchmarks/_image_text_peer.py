"""open_clip's own training loop over the same towers, with what it reads: prepared before, or made from files."""

from __future__ import annotations

import logging
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from _flickr8k import places
from _image_text_towers import RATE, VOCABULARY, OpenClip, Towers, padded, parameters, text_tokens
from torch import Tensor, nn


class _Prepared(torch.utils.data.Dataset[Any]):
    """Pictures and padded tokens in memory; a whole batch at once, which is faster than one by one."""

    def __init__(self, rows: Any, towers: Towers, tokens: Tensor, form: torch.memory_format) -> None:
        from nearfar.encoders.image import Image

        encoder = Image(towers.picture, size=towers.side)
        self.normalise, self.form = encoder.normalised, form
        names = rows.column("path").read(0, len(rows))
        number = {name: i for i, name in enumerate(dict.fromkeys(names))}
        self.of_row = torch.tensor([number[name] for name in names])
        first = {name: row for row, name in reversed(list(enumerate(names)))}
        cells = [rows.column("image").read(first[name], first[name] + 1)[0] for name in number]
        self.pixels = torch.cat([encoder.inputs(cells[i : i + 64]).parts[0] for i in range(0, len(cells), 64)])
        self.tokens = tokens

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitems__(self, chosen: list[int]) -> tuple[Tensor, Tensor]:
        at = torch.tensor(chosen)
        pictures = self.normalise(self.pixels[self.of_row[at]])
        return pictures.contiguous(memory_format=self.form), self.tokens[at]


class _Files(torch.utils.data.Dataset[Any]):
    """As open_clip's `CsvDataset`: a picture is opened and transformed, a caption tokenised, for each row."""

    def __init__(self, rows: Any, data: str, folder: Path, transform: Any, tokenise: Any) -> None:
        self.names, self.captions = (rows.column(name).read(0, len(rows)) for name in ("path", "caption"))
        self.folder, self.transform, self.tokenise = folder, transform, tokenise
        with zipfile.ZipFile(places(Path(data))["pictures"]) as archive:
            wanted = set(self.names)
            for member in archive.namelist():
                if (name := Path(member).name) in wanted:
                    (folder / name).write_bytes(archive.read(member))

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        from PIL import Image

        picture = self.transform(Image.open(self.folder / self.names[row]))
        return picture, self.tokenise([self.captions[row]])[0]


class _Endless:
    """A loader that goes on for `steps` batches, over several epochs."""

    def __init__(self, loader: Any, steps: int, batch: int) -> None:
        self.loader, self.steps = loader, steps
        self.num_batches, self.num_samples = steps, steps * batch

    def __iter__(self) -> Iterator[Any]:
        done = 0
        while True:
            for each in self.loader:
                yield each
                done += 1
                if done == self.steps:
                    return


def train_one(
    loss: nn.Module,
    towers: Towers,
    batch: int,
    steps: int,
    rows: Any,
    precision: str,
    text: str,
    context: int | None,
    reads: str,
    workers: int,
    layout: str,
    data: str,
    keeps: bool = False,
) -> dict[str, Any]:
    """Train by open_clip's loop.

    context: None is the longest caption's. layout: "channels last" or "contiguous". keeps: whether glibc keeps what is
    freed for the next step, as nearfar's `fit` lets it.
    """
    from open_clip_train.train import train_one_epoch

    from nearfar.compute.hardware import keep_freed_memory
    from nearfar.encoders.pretrained.tokenizer import PretrainedTokenizer

    logging.disable(logging.INFO)
    if keeps:
        keep_freed_memory()
    column = rows.column("caption")
    tokenizer = PretrainedTokenizer.train([column], VOCABULARY)
    ids, longest = text_tokens(tokenizer, column.read(0, len(rows)))
    context = context or longest
    form = torch.channels_last if layout == "channels last" else torch.contiguous_format
    model = OpenClip(towers, text, context, tokenizer).to(memory_format=form)
    with tempfile.TemporaryDirectory() as folder:
        dataset: Any
        pad = tokenizer.tokenizer.pad_token_id
        if reads == "files":
            transform = _transform(towers)
            tokenise = _Tokenise(tokenizer, context, pad)
            dataset = _Files(rows, data, Path(folder), transform, tokenise)
        else:
            dataset = _Prepared(rows, towers, padded(ids, context, pad), form)
        loader = torch.utils.data.DataLoader(
            dataset,
            batch_size=batch,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=None if reads == "files" else _as_it_is,
        )
        batches = _Endless(loader, steps, batch)
        losses: list[Tensor] = []
        loss.register_forward_hook(
            lambda *given: losses.append(given[-1]["contrastive_loss"].detach()), with_kwargs=True
        )
        args = _arguments(precision, batch)
        source = {"train": SimpleNamespace(dataloader=batches, set_epoch=lambda _: None)}
        train_one_epoch(model, source, loss, 0, _optimizer(model), None, None, None, args)
    sides = {"picture": parameters(model.model.visual), "text": parameters(model.model.text)}
    return {
        "losses": [float(each) for each in losses],
        "parameters": sides,
        "context": context,
        "tokens": sum(map(len, ids)) / len(ids),
    }


def _as_it_is(batch: Any) -> Any:
    return batch


class _Tokenise:
    """A tokenizer as open_clip calls it: texts to padded ids."""

    def __init__(self, tokenizer: Any, context: int, pad: int) -> None:
        self.tokenizer, self.context, self.pad = tokenizer, context, pad

    def __call__(self, texts: list[str]) -> Tensor:
        return padded(text_tokens(self.tokenizer, texts)[0], self.context, self.pad)


def _transform(towers: Towers) -> Any:
    from open_clip.transform import PreprocessCfg, image_transform_v2

    from nearfar.encoders.image import Image

    made = Image(towers.picture, size=towers.side).preprocessing
    given = {"size": towers.side, "mean": tuple(made.mean), "std": tuple(made.std)}
    return image_transform_v2(PreprocessCfg(**given), is_train=False)


def _arguments(precision: str, batch: int) -> Any:
    """Return what its loop reads of the command line."""
    return SimpleNamespace(
        device="cpu",
        precision="amp_bf16" if precision == "bf16" else "fp32",
        distill=False,
        accum_freq=1,
        skip_scheduler=True,
        horovod=False,
        grad_clip_norm=1.0,
        batch_size=batch,
        log_every_n_steps=100,
        world_size=1,
        rank=0,
        local_rank=0,
        wandb=False,
    )


def _optimizer(model: nn.Module) -> torch.optim.Optimizer:
    """Return AdamW as nearfar runs it: fused, which its own is not and which is many times faster on CPUs."""
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE, weight_decay=0.0, fused=True)
