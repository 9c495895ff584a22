"""A transformers model as nearfar runs it: read safely, packed where that is proven right, lean on a CPU."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from nearfar.encoders import _attention
from nearfar.encoders._packing import Packing
from nearfar.encoders._pretrained import refuse_pickles
from nearfar.errors import InputError

TOLERANCE = 1e-3  # of packed against padded, relative to the largest number: what is wrong is far off
PAD_BUDGET, PAD_WASTE = 16_384, 0.2  # of one padded forward pass: tokens, and the share of them that is padding


def read_backbone(folder: Path) -> nn.Module:
    """Read a model's weights, in float32. Errors: `InputError` for a folder that transformers cannot read so."""
    from transformers import AutoModel

    if (folder / "adapter_config.json").is_file():
        raise InputError(f"{folder}: an adapter beside its base; merge it (peft's merge_and_unload) and save the whole")
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: no config.json; give the folder of a transformers or sentence-transformers model")
    refuse_pickles(folder)
    settings = {"trust_remote_code": False, "use_safetensors": True, "local_files_only": True}
    try:
        with quiet():
            model, told = AutoModel.from_pretrained(folder, dtype=torch.float32, output_loading_info=True, **settings)
    except (
        OSError,
        ValueError,
        KeyError,
        ImportError,
        RuntimeError,
        TypeError,
        AttributeError,
        SafetensorError,
    ) as error:
        raise InputError(f"{folder}: transformers cannot read it ({str(error).splitlines()[0]})") from error
    missing = sorted(name for name in told["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise InputError(f"{folder}: the weights lack {', '.join(missing[:3])}; copy the model folder again")
    return _plain(model, keep_pooler=not told["missing_keys"])


def made_config(settings: Mapping[str, Any]) -> Any:
    """Return a transformers config of its plain settings: {model_type: bert, hidden_size: 256, ...}.

    Errors: `InputError` for a type or settings that transformers refuses.
    """
    from transformers import AutoConfig

    given = {key: value for key, value in settings.items() if key != "model_type"}
    try:
        return AutoConfig.for_model(str(settings.get("model_type")), **given)
    except Exception as error:  # the library raises its own validation errors beside the usual ones
        raise InputError(f"encoder.config: transformers refuses it ({str(error).splitlines()[0]})") from error


def made_backbone(settings: Mapping[str, Any], seed: int) -> nn.Module:
    """Make a model from nothing. Errors: those of `made_config`; sizes that do not fit each other."""
    from transformers import AutoModel

    make: Any = AutoModel.from_config
    config = made_config(settings)
    try:
        with torch.random.fork_rng([]), quiet():
            torch.manual_seed(seed)
            model = make(config)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"encoder.config: transformers refuses it ({str(error).splitlines()[0]})") from error
    return _plain(model.float(), keep_pooler=False)


def _plain(model: Any, *, keep_pooler: bool) -> nn.Module:
    """Leave out what an embedding does not use; what came with trained weights stays, but is not learnt."""
    model.config.use_cache = False  # a decoder would keep keys and values for words to come
    pooler = getattr(model, "pooler", None)
    if pooler is not None and not keep_pooler:
        model.pooler = None
    elif pooler is not None:
        pooler.requires_grad_(False)
    found: nn.Module = model.eval()
    return found


def layers(model: nn.Module) -> nn.ModuleList:
    """Return a transformer's layers: its longest list of modules."""
    lists = [child for child in model.modules() if isinstance(child, nn.ModuleList)]
    return max(lists, key=len) if lists else nn.ModuleList()


def run_packed(model: Any, ids: Tensor, packing: Packing, first: int) -> Tensor:
    """Return hidden states (t, d) of packed token ids (t,). first: the position id of a text's first token."""
    given: dict[str, Any] = {"position_ids": (packing.position + first)[None], "packing": packing}
    hidden: Tensor = model(input_ids=ids[None], **given).last_hidden_state[0]
    return hidden


def run_padded(model: Any, ids: Tensor, packing: Packing) -> Tensor:
    """Return the same by padding, some texts of about one length at a time."""
    lengths, outs = packing.lengths.tolist(), []
    for first, last in _pads(lengths):
        start = int(packing.starts[first])
        size = packing.lengths[first:last]
        real = torch.arange(lengths[first], device=ids.device) < size[:, None]  # (rows, length)
        padded = ids.new_zeros(real.shape).masked_scatter(real, ids[start : start + int(size.sum())])
        outs.append(model(input_ids=padded, attention_mask=real.long()).last_hidden_state[real])  # (tokens, d)
    return torch.cat(outs)


def _pads(lengths: list[int]) -> Iterator[tuple[int, int]]:
    """Yield ranges of texts, longest first, that are padded together."""
    first, tokens = 0, 0
    for i, length in enumerate(lengths):
        size = (i + 1 - first) * lengths[first]
        if i > first and (size > PAD_BUDGET or size - tokens - length > PAD_WASTE * size):
            yield first, i
            first, tokens = i, 0
        tokens += length
    yield first, len(lengths)


def first_position(model: Any) -> int | None:
    """Return a text's first position id where packed equals padded, which is tried; None where it does not.

    Two texts, one longer than a sliding window, go through both ways. RoBERTa counts from after the padding id.
    """
    register()
    config = model.config
    window = getattr(config, "sliding_window", None) or getattr(config, "local_attention", None) or 0
    longest = min(max(7, 3 + int(window)), 600, positions(model))
    rng = np.random.default_rng(0)
    packing = Packing.of(np.array([longest, max(1, longest // 2), longest]))
    ids = torch.from_numpy(rng.integers(10, max(11, config.vocab_size), len(packing.row)))
    training, before = model.training, config._attn_implementation
    model.eval()
    try:
        with torch.no_grad(), quiet():
            padded = run_padded(model, ids, packing)
            model.set_attn_implementation(_attention.NAME)  # an older kind of model warns, and keeps what it has
            for first in dict.fromkeys([0, (config.pad_token_id or 0) + 1]):
                if _alike(model, ids, packing, first, padded):
                    return first
    finally:
        model.train(training)
    with quiet():
        model.set_attn_implementation(before)
    return None


def _alike(model: Any, ids: Tensor, packing: Packing, first: int, padded: Tensor) -> bool:
    try:
        gap = (run_packed(model, ids, packing, first) - padded).abs().max()
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError, _attention.Unpackable):
        return False
    return bool(gap <= TOLERANCE * padded.abs().max())


def register() -> None:
    """Tell transformers of packed attention: its interface for attention, and for masks, of which there are none."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(_attention.NAME, _attention.attend)
    AttentionMaskInterface.register(_attention.NAME, _no_mask)


def _no_mask(*_: Any, **__: Any) -> None:
    return None


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' progress bars and load reports away: what matters of them is told as errors."""
    from transformers import utils

    logging: Any = utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def positions(model: Any) -> int:
    """Return how many tokens of a text a model can read."""
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    if isinstance(table, nn.Embedding):
        offset = 0 if table.padding_idx is None else table.padding_idx + 1
        return table.num_embeddings - offset
    return int(getattr(model.config, "max_position_embeddings", None) or 10**6)


def checkpoint(model: Any) -> None:
    """Let a model compute its layers' activations again on the way back."""
    newer = getattr(model, "activation_checkpointing_enable", None)
    (newer or model.gradient_checkpointing_enable)({"use_reentrant": False})


def set_dropout(model: Any, p: float) -> None:
    """Give every dropout of a model one probability, those that its attention reads from the config, too."""
    for child in model.modules():
        if isinstance(child, nn.Dropout):
            child.p = p
        for name in ("attention_dropout", "dropout_prob", "dropout"):
            if isinstance(getattr(child, name, None), float):
                setattr(child, name, p)


def freeze(model: nn.Module, count: int) -> None:
    """Keep the first layers, and the embeddings below them, as they are. Errors: `InputError` for too many."""
    known = layers(model)
    if not 0 <= count <= len(known):
        raise InputError(f"encoder.frozen: the model has {len(known)} layers, so 0 to {len(known)} can be frozen")
    if count:
        embeddings(model).requires_grad_(False)
        known[:count].requires_grad_(False)


def depths(encoder: nn.Module) -> dict[str, int]:
    """Return how high each parameter of an encoder lies, by name: embeddings 0, layers 1 and up, the rest on top."""
    backbone: Any = encoder.get_submodule("backbone")
    known = layers(backbone)
    of = {id(p): 0 for p in embeddings(backbone).parameters()}
    of |= {id(p): i for i, layer in enumerate(known, 1) for p in layer.parameters()}
    return {name: of.get(id(p), len(known) + 1) for name, p in encoder.named_parameters()}


def embeddings(model: Any) -> nn.Module:
    """Return what turns token ids into a model's first hidden states."""
    whole = getattr(model, "embeddings", None)
    found: nn.Module = whole if isinstance(whole, nn.Module) else model.get_input_embeddings()
    return found


SHAPE = (  # what of a config changes vectors, and no weight tells
    *("model_type", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "n_heads"),
    *("hidden_act", "hidden_activation", "activation", "layer_norm_eps", "rms_norm_eps", "norm_eps"),
    *("sliding_window", "local_attention", "layer_types", "rope_parameters", "position_embedding_type"),
)


def shape_of(model: Any) -> str:
    """Return the settings of a model's config that make its space what it is, beside its weights."""
    known = model.config.to_dict()
    return json.dumps({key: known[key] for key in SHAPE if key in known}, sort_keys=True, default=str)


def able_in_bf16(model: nn.Module, run: Callable[[], object]) -> bool:
    """Say whether a lean model runs in bf16, which is tried; what mixes types inside is left to autocast."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            run()
    except RuntimeError:
        return False
    finally:
        model.train(training)
    return True
