"""The published sets of changes, by name."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nearfar.augmentations.image_changes.boxes import Range


@dataclass(frozen=True)
class Preset:
    """What is drawn for each picture. Probabilities of each change, and the ranges of what it does.

    scale, ratio: of the crop's area and sides. jitter: of changing the colours, in a random order, by at most
    brightness, contrast, saturation, hue. sigma: of the blur, in pixels of a picture of 224. turn, shear: degrees at
    most; move: share of the side at most; zoom: range of the factor, (1, 1) for none; bend: share of
    the side at most by which places of a grid are moved, and what is between them bent. stroke: pixels at most by
    which each edge of dark lines grows or shrinks. cutout: of one box of a share `cutout_scale` of the area. part: of
    the encoder's size that a crop is resized to.
    """

    scale: Range = (0.08, 1.0)
    ratio: Range = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    grey: float = 0.2
    blur: float = 0.0
    sigma: Range = (0.1, 2.0)
    solarise: float = 0.0
    cutout: float = 0.0
    cutout_scale: Range = (0.02, 0.33)
    turn: float = 0.0
    move: float = 0.0
    zoom: Range = (1.0, 1.0)
    shear: float = 0.0
    bend: float = 0.0
    stroke: float = 0.0
    part: float = 1.0


_BYOL = Preset(saturation=0.2, blur=1.0)

PRESETS = {
    # Chen et al. 2020, arXiv:2002.05709, appendix A: colours of strength 1, and (B.9) 0.5 for pictures of 32 pixels
    "simclr": Preset(brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, blur=0.5),
    # Chen et al. 2020, arXiv:2003.04297, section 3
    "moco_v2": Preset(scale=(0.2, 1.0), blur=0.5),
    # Grill et al. 2020, arXiv:2006.07733, appendix B, first view; the second has blur 0.1 and solarise 0.2
    "byol": _BYOL,
    # Chen et al. 2021, arXiv:2104.02057, section 4: BYOL's, second view as there
    "moco_v3": _BYOL,
    # Caron et al. 2021, arXiv:2104.14294, and its published code: the first large crop; the second as in BYOL
    "dino_global": replace(_BYOL, scale=(0.4, 1.0)),
    "dino_local": replace(_BYOL, scale=(0.05, 0.4), blur=0.5, part=3 / 7),
    # ink on paper: another hand writes larger, slanted, elsewhere, in bent lines and with another pen, but not mirrored
    # and in no other colour
    "handwriting": Preset(
        scale=(0.8, 1.0),
        flip=0.0,
        jitter=0.0,
        grey=0.0,
        turn=15.0,
        move=0.1,
        zoom=(0.8, 1.2),
        shear=15.0,
        bend=0.1,
        stroke=0.7,
    ),
}
