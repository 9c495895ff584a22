"""The transformers model inside an encoder: making a new one, its layers, freezing, and LoRA."""

from __future__ import annotations

import copy
import difflib
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from nearfar.encoders.pretrained.numbers import check_numbers
from nearfar.errors import InputError

ALIKE = 0.85  # of two names of settings, one of which is a slip; models read some that their configs do not list
MOST_PARAMETERS = 10**10  # of a new model: 40 GB
VECTOR_SETTINGS = (  # settings of a config that change the vectors, and do not show in the weights
    *("model_type", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "n_heads"),
    *("hidden_act", "hidden_activation", "activation", "layer_norm_eps", "rms_norm_eps", "norm_eps"),
    *("sliding_window", "local_attention", "layer_types", "rope_parameters", "position_embedding_type"),
)


def checked_config(settings: Mapping[str, Any]) -> Any:
    """Return the transformers config of a new model of texts, whose settings a user gave.

    Errors: those of `make_config`; `InputError` for a setting that has nearly the name of one that the type knows:
    transformers keeps what it does not know without a word; a number out of range; a type that reads no texts.
    """
    kind, where = str(settings.get("model_type")), "encoder.config"
    config, plain = make_config(settings), make_config({"model_type": kind})
    known = {*plain.to_dict(), *plain.attribute_map, "model_type"}
    for key in settings:
        close = difflib.get_close_matches(str(key), sorted(known), n=1, cutoff=ALIKE)
        if close and not hasattr(plain, str(key)) and _changes_nothing(settings, key, config):
            raise InputError(f"{where}: {kind} has no setting {key!r:.60}; did you mean {close[0]!r}?")
    check_numbers(where, settings, None)
    if not (hasattr(config, "vocab_size") and hasattr(config, "hidden_size")):
        raise InputError(f"{where}: a model of the type {kind} reads no texts; take e.g. model_type: bert, or llama")
    return config


def _changes_nothing(settings: Mapping[str, Any], key: str, config: Any) -> bool:
    """Return whether a config without a setting is the same one, but for that setting itself."""
    others = make_config({name: value for name, value in settings.items() if name != key}).to_dict()
    return bool({name: value for name, value in config.to_dict().items() if name != key} == others)


def make_config(settings: Mapping[str, Any]) -> Any:
    """Return a transformers config from its settings: {model_type: bert, hidden_size: 256, ...}.

    Errors: `InputError` for a type or settings that transformers refuses.
    """
    from transformers import CONFIG_MAPPING, AutoConfig

    given = {key: value for key, value in settings.items() if key != "model_type"}
    kind = str(settings.get("model_type"))
    if kind not in CONFIG_MAPPING:
        close = difflib.get_close_matches(kind, list(CONFIG_MAPPING.keys()), n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise InputError(
            f"encoder.config: transformers knows no model_type {kind!r:.60}; {hint}give one, e.g. bert, roberta, "
            "distilbert, modernbert, llama, gpt2"
        )
    try:
        return AutoConfig.for_model(kind, **given)
    except Exception as error:  # the library has validation errors of many classes
        raise _refused(error) from error


def _refused(error: Exception) -> InputError:
    """Return the error of a config that transformers refuses, with what it says, or which word it does not know."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    why = f"it knows no {lines[0]}" if isinstance(error, KeyError) else " ".join(lines[:2])
    return InputError(f"encoder.config: transformers refuses it ({why:.300}); give other settings")


def make_backbone(settings: Mapping[str, Any], seed: int) -> nn.Module:
    """Return a new model with random weights. Errors: those of `make_config`; sizes that do not fit each other."""
    from transformers import AutoModel

    from_config: Any = AutoModel.from_config
    config = make_config(settings)
    try:
        with torch.random.fork_rng([]), quiet():
            with torch.device("meta"):  # which takes no memory
                size = sum(one.numel() for one in from_config(config).parameters())
            if size > MOST_PARAMETERS:
                most = f"{MOST_PARAMETERS:.0e}"
                raise InputError(
                    f"encoder.config: a model of {size:.2g} parameters, at most {most}; give smaller sizes"
                )
            torch.manual_seed(seed)
            model = from_config(config)
    except InputError:
        raise
    except (KeyError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise _refused(error) from error
    return prepared(model.float(), keep_pooler=False)


def prepared(model: Any, *, keep_pooler: bool) -> nn.Module:
    """Return the model without what an embedding does not use; a pooler with trained weights stays, and is frozen."""
    model.config.use_cache = False  # a decoder would store keys and values for the next tokens
    pooler = getattr(model, "pooler", None)
    if pooler is not None and not keep_pooler:
        model.pooler = None
    elif pooler is not None:
        pooler.requires_grad_(False)
    found: nn.Module = model.eval()
    return found


@contextmanager
def quiet() -> Iterator[None]:
    """Switch off transformers' progress bars, reports and warnings: what matters of them is raised as errors."""
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
    """Return a transformer's layers: the longest list of modules in it."""
    lists = [child for child in model.modules() if isinstance(child, nn.ModuleList)]
    return max(lists, key=len) if lists else nn.ModuleList()


def embeddings(model: Any) -> nn.Module:
    """Return the module that maps token ids to a model's first hidden states."""
    module = getattr(model, "embeddings", None)
    found: nn.Module = module if isinstance(module, nn.Module) else model.get_input_embeddings()
    return found


def vocabulary(model: Any) -> int:
    """Return the number of tokens that a model has a vector for."""
    return int(model.get_input_embeddings().num_embeddings)


def is_causal(model: nn.Module) -> bool:
    """Return whether each token of a model sees those before it alone."""
    return any(getattr(module, "is_causal", False) is True for module in model.modules())


def max_positions(model: Any) -> int:
    """Return the number of tokens of the longest text that a model can read."""
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    if isinstance(table, nn.Embedding):
        offset = 0 if table.padding_idx is None else table.padding_idx + 1
        return table.num_embeddings - offset
    return int(getattr(model.config, "max_position_embeddings", None) or 10**6)


def vector_settings(model: Any) -> str:
    """Return, as JSON, the settings of a model's config that change its vectors and do not show in its weights."""
    config = model.config.to_dict()
    return json.dumps({key: config[key] for key in VECTOR_SETTINGS if key in config}, sort_keys=True, default=str)


def freeze(model: nn.Module, count: int) -> None:
    """Freeze the first layers, and the embeddings below them. Errors: `InputError` for more than the model has."""
    found = layers(model)
    if not 0 <= count <= len(found):
        raise InputError(f"encoder.frozen: the model has {len(found)} layers, so 0 to {len(found)} can be frozen")
    if count:
        embeddings(model).requires_grad_(False)
        found[:count].requires_grad_(False)


def set_dropout(model: Any, p: float | None) -> None:
    """Set every dropout of a model to one probability, also where its attention holds it as a plain number.

    Where a config's probability is 0, some models have an Identity instead (ModernBERT behind its attention): a module
    of that kind that is called dropout becomes one. Paths that are left out (stochastic depth) stay. None leaves each
    as it is.
    """
    if p is None:
        return
    for path, child in list(model.named_modules()):
        if isinstance(child, nn.Dropout):
            child.p = p
        elif isinstance(child, nn.Identity) and "drop" in (name := path.rpartition(".")[2]) and "path" not in name:
            model.set_submodule(path, nn.Dropout(p).train(child.training))
        for name in ("attention_dropout", "dropout_prob", "dropout"):
            if isinstance(getattr(child, name, None), int | float):
                setattr(child, name, p)


def checkpoint_activations(model: Any) -> None:
    """Let a model compute its layers' activations again in the backward pass, instead of storing them."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def parameter_depths(encoder: nn.Module) -> dict[str, int]:
    """Return the depth of each parameter of an encoder, by name: embeddings 0, layers from 1 on, the rest last."""
    backbone: Any = encoder.get_submodule("backbone")
    found = layers(backbone)
    depth = {id(p): 0 for p in embeddings(backbone).parameters()}
    depth |= {id(p): i for i, layer in enumerate(found, 1) for p in layer.parameters()}
    return {name: depth.get(id(p), len(found) + 1) for name, p in encoder.named_parameters()}


def rates_by_depth(encoder: nn.Module, decay: float) -> dict[str, float]:
    """Return decay to the power of each parameter's distance from the top, by name; {} for a decay of 1."""
    if decay == 1:
        return {}
    depths = parameter_depths(encoder)
    top = max(depths.values())
    return {name: decay ** (top - depth) for name, depth in depths.items()}


class Lora(TypedDict, total=False):
    """Settings of LoRA: W + (alpha / rank) B A, with B (out, rank) and A (rank, in) trained."""

    rank: int
    alpha: int
    dropout: float
    targets: list[str] | str  # names of linear layers, or "all-linear"


def add_lora(backbone: nn.Module, lora: Lora, seed: int) -> nn.Module:
    """Return the model with LoRA, all else frozen; `seed` is for A's initial weights, B's are zero.

    Errors: `InputError` for targets that the model does not have.
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
            warnings.simplefilter("ignore", FutureWarning)  # from peft, about transformers
            found: nn.Module = get_peft_model(backbone, config)
    except ValueError as error:
        raise InputError(f"encoder.lora: {str(error).splitlines()[0]}") from error
    return found


def merge_lora(backbone: nn.Module) -> nn.Module:
    """Return a copy with LoRA's matrices added to the weights, as it is saved; the model itself where it has none."""
    if not hasattr(backbone, "merge_and_unload"):
        return backbone
    adapted: Any = copy.deepcopy(backbone)
    found: nn.Module = adapted.merge_and_unload()
    return found.eval()
