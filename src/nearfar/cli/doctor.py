"""nearfar doctor: what this machine has, and what is in the way."""

from __future__ import annotations

from nearfar.cli import Json, emit


def command(as_json: Json = False) -> None:
    """Show versions, processor, accelerator and cache."""
    import platform
    import shutil
    from importlib.metadata import version

    import torch

    from nearfar.compute import hardware
    from nearfar.storage.folders import cache_folder

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
        "problems": [f"only {free:.1f} GB are free at {cache}; a run needs about 2"] if free < 2 else [],
    }

    def show() -> None:
        for name, value in facts.items():
            if isinstance(value, dict):
                value = ", ".join(f"{key} {inner}" for key, inner in value.items())
            elif isinstance(value, bool):
                value = "yes" if value else "no"
            print(f"{name.replace('_', ' ').replace(' gb', ' (GB)'):18} {'none' if value in (None, []) else value}")

    emit(facts, as_json, show)
