"""A transformers model, read safely or made from nothing."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from nearfar.encoders._pretrained import refuse_pickles
from nearfar.errors import InputError
from nearfar.weights import refuse_not_finite


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
