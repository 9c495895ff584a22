"""The image processor of a transformers folder: what it does to a picture, read and written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nearfar.encoders.image_networks.preprocessing import Made, Preprocessing, checked_size, checked_three
from nearfar.encoders.reading.pictures import Fit
from nearfar.errors import InputError
from nearfar.pictures.resize import Resample
from nearfar.storage.model_files import read_settings

SETTINGS, NESTED = "preprocessor_config.json", "processor_config.json"  # transformers 5 writes it into the second
RESAMPLES: dict[int, Resample] = {2: "bilinear", 3: "bicubic"}  # by Pillow's numbers
NUMBERS = {name: number for number, name in RESAMPLES.items()}
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Processor:
    """The defaults of an image processor class of transformers."""

    crops: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]


KNOWN = {
    "CLIPImageProcessor": Processor(True, CLIP_MEAN, CLIP_STD),
    "SiglipImageProcessor": Processor(False, HALF, HALF),
}
OLDER = {"CLIPFeatureExtractor": "CLIPImageProcessor"}


def read_processor(folder: Path, size: int) -> Made:
    """Return what CLIP's or SigLIP's image processor does to a picture, all of it, for a model of this size.

    Errors: `InputError` for a folder without one, another class of it, and steps that nearfar does not have.
    """
    path, given = _settings(folder)
    name = str(given.get("image_processor_type") or given.get("feature_extractor_type"))
    name = name.removesuffix("Fast").removesuffix("Pil")
    known = KNOWN.get(OLDER.get(name, name))
    if known is None:
        raise InputError(f"{path}: image_processor_type {name!r:.60} is not known; known: {', '.join(KNOWN)}")
    for step in ("do_resize", "do_rescale"):
        if given.get(step, True) is not True:
            raise InputError(f"{path}: {step} is {given[step]!r:.40}; nearfar resizes and rescales every picture")
    factor = given.get("rescale_factor", 1 / 255)
    if not isinstance(factor, int | float) or abs(factor * 255 - 1) > 1e-6:
        raise InputError(f"{path}: rescale_factor must be 1/255, which brings pixels to 0 to 1; it is {factor!r:.40}")
    resample = RESAMPLES.get(number) if isinstance(number := given.get("resample", 3), int) else None
    if resample is None:
        raise InputError(f"{path}: resample must be 2 (bilinear) or 3 (bicubic), it is {number!r:.40}")
    normalised = given.get("do_normalize", True)
    if not isinstance(normalised, bool):
        raise InputError(f"{path}: do_normalize must be true or false, it is {normalised!r:.40}")
    mean = checked_three(given.get("image_mean") or known.mean, f"{path}: image_mean")
    std = checked_three(given.get("image_std") or known.std, f"{path}: image_std", above_zero=True)
    if not normalised:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    short, side = _sides(path, given, known)
    if side != size:
        raise InputError(
            f"{path}: it gives pictures of {side} pixels, and the model of config.json reads {size}; the folder's "
            "files do not belong together"
        )
    fit: Fit = "squash" if short is None else "crop"
    return Made(size, mean, std, fit, resample, None if short == side else short)


def _settings(folder: Path) -> tuple[Path, Mapping[str, Any]]:
    """Return the image processor's settings, and the file that has them. Errors: `InputError` where none has."""
    if (folder / SETTINGS).is_file():
        return folder / SETTINGS, read_settings(folder / SETTINGS)
    path = folder / NESTED
    found = read_settings(path).get("image_processor") if path.is_file() else None
    if not isinstance(found, dict):
        raise InputError(
            f"{folder}: no {SETTINGS}, nor a {NESTED} with an image_processor, so that nobody knows how its pictures "
            "are resized and normalised; copy the model folder again"
        )
    return path, found


def _sides(path: Path, given: Mapping[str, Any], known: Processor) -> tuple[int | None, int]:
    """Return the pixels of the short side before the cut, None for the whole picture in a square, and those after."""
    crops = given.get("do_center_crop", known.crops)
    size = given.get("size", {"shortest_edge": 224} if known.crops else 224)
    if isinstance(size, dict) and set(size) == {"shortest_edge"}:
        size, short = size["shortest_edge"], True
    else:
        short = known.crops and not isinstance(size, dict)
    side = _square(path, "size", size)
    if not crops and short:
        raise InputError(f"{path}: size keeps a picture's proportions and do_center_crop is off; nearfar reads squares")
    cut = _square(path, "crop_size", given.get("crop_size", 224)) if crops else side
    if cut > side:
        raise InputError(
            f"{path}: crop_size is {cut} and size {side}, so that pictures have a border; nearfar adds none"
        )
    if cut != side and not short:
        raise InputError(f"{path}: crop_size is {cut} of a square of {side}; nearfar cuts no square out of a square")
    return (side if short else None), cut


def _square(path: Path, name: str, given: Any) -> int:
    """Return the side of a square, of a number or {height, width}. Errors: `InputError` for anything else."""
    if isinstance(given, dict):
        height, width = given.get("height"), given.get("width")
        if set(given) != {"height", "width"} or height != width:
            raise InputError(f"{path}: {name} {given!r:.60} is no square; nearfar reads squares")
        given = height
    return checked_size(given, f"{path}: {name}")


def processor_settings(
    preprocessing: Preprocessing, size: int, squash_class: str = "ViTImageProcessor"
) -> dict[str, Any]:
    """Return the image processor, as preprocessor_config.json has it, that gives a network the same pictures.

    size: that the network was made for; where the encoder reads another, the cut stays in proportion.
    """
    squash = preprocessing.fit == "squash"
    square = {"height": size, "width": size}
    exact = preprocessing.exact()
    short = size if exact is None else round(exact.short_side * size / (preprocessing.size or size))
    return {
        "image_processor_type": squash_class if squash else "CLIPImageProcessor",
        "do_resize": True,
        "size": square if squash else {"shortest_edge": short},
        **({} if squash else {"do_center_crop": True, "crop_size": square}),
        "resample": NUMBERS[preprocessing.resample or "bilinear"],
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "do_convert_rgb": True,
        "image_mean": list(preprocessing.mean),
        "image_std": list(preprocessing.std),
    }
