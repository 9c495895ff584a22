"""A transformers model, read safely or made from nothing."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from nearfar.encoders.pretrained.folder import refuse_pickles
from nearfar.errors import InputError
from nearfar.storage.weights import refuse_not_finite

SHAPE = (  # what of a config changes vectors, and no weight tells
    *("model_type", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "n_heads"),
    *("hidden_act", "hidden_activation", "activation", "layer_norm_eps", "rms_norm_eps", "norm_eps"),
    *("sliding_window", "local_attention", "layer_types", "rope_parameters", "position_embedding_type"),
)


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
    refuse_not_finite(folder, model.named_parameters())
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


def layers(model: nn.Module) -> nn.ModuleList:
    """Return a transformer's layers: its longest list of modules."""
    lists = [child for child in model.modules() if isinstance(child, nn.ModuleList)]
    return max(lists, key=len) if lists else nn.ModuleList()


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


def shape_of(model: Any) -> str:
    """Return the settings of a model's config that make its space what it is, beside its weights."""
    known = model.config.to_dict()
    return json.dumps({key: known[key] for key in SHAPE if key in known}, sort_keys=True, default=str)


class Lora(TypedDict, total=False):
    """Settings of LoRA: W + (alpha / rank) B A, with B (out, rank) and A (rank, in) learnt."""

    rank: int
    alpha: int
    dropout: float
    targets: list[str] | str  # names of linear layers, or "all-linear"


def adapted(backbone: nn.Module, lora: Lora, seed: int) -> nn.Module:
    """Return the model with LoRA, nothing else learning; `seed` is of A's first weights, B's are zero.

    Errors: `InputError` for targets that it does not have.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise InputError("encoder.lora needs peft: pip install 'nearfar[lora]'") from error
    rank = int(lora.get("rank", 8))
    config = LoraConfig(
        r=rank,
        lora_alpha=lora.get("alpha", 2 * rank),
        lora_dropout=lora.get("dropout", 0.0),
        target_modules=lora.get("targets", "all-linear"),
    )
    try:
        with warnings.catch_warnings(), torch.random.fork_rng([]):
            torch.manual_seed(seed)
            warnings.simplefilter("ignore", FutureWarning)  # the library's own, at transformers
            found: nn.Module = get_peft_model(backbone, config)
    except ValueError as error:
        raise InputError(f"encoder.lora: {str(error).splitlines()[0]}") from error
    return found


def merged(backbone: nn.Module) -> nn.Module:
    """Return the model as it ships: with LoRA's matrices added to the weights; itself where there are none."""
    if not hasattr(backbone, "merge_and_unload"):
        return backbone
    whole: Any = copy.deepcopy(backbone)
    found: nn.Module = whole.merge_and_unload()
    return found.eval()
