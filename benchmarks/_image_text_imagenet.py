"""What lite0's own 1,000 classes say of other classes: each is mapped to the name that is nearest by MiniLM."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nearfar.column import chunks
from nearfar.tasks import Labels

SIZE, BLOCK = 224, 64


def mapped(task: Labels) -> dict[str, npt.NDArray[np.int64]]:
    """Return the class (n,) of each cell by lite0's classifier: by its likeliest class, and by sums of probabilities.

    A class of ImageNet stands for the class of the task whose name is nearest to its own, by the cosine of MiniLM.
    Nothing is chosen by the task's cells.
    """
    of_class = torch.from_numpy(nearest_names(task.classes))  # (1000,)
    votes: list[torch.Tensor] = []
    sums: list[torch.Tensor] = []
    for logits in _logits(task):
        votes.append(of_class[logits.argmax(1)])
        share = torch.zeros(len(logits), len(task.classes))
        sums.append(share.index_add_(1, of_class, logits.softmax(1)).argmax(1))
    return {
        "lite0's likeliest ImageNet class, by name": torch.cat(votes).numpy(),
        "lite0's ImageNet probabilities, summed by name": torch.cat(sums).numpy(),
    }


def nearest_names(classes: list[str]) -> npt.NDArray[np.int64]:
    """Return for each class of ImageNet the nearest of some classes by name, (1000,)."""
    from timm.data.imagenet_info import ImageNetInfo

    import nearfar as nf
    from nearfar.text.class_prompts import class_names

    info = ImageNetInfo()
    names = [str(info.index_to_description(i)) for i in range(1000)]
    model = nf.Model(nf.encoders.Transformer("minilm"))
    one, other = model.embed(names), model.embed(class_names(classes, None, "names"))
    return np.asarray((one @ other.T).argmax(1), np.int64)


def _logits(task: Labels) -> Any:
    """Yield logits (b, 1000) of blocks of cells, each resized as lite0 reads it."""
    from timm import create_model

    from nearfar.compute.hardware import cpu_bf16
    from nearfar.encoders.image import Image
    from nearfar.encoders.image_networks.lite0 import ARCHITECTURE, lite0_folder
    from nearfar.storage.weights import read_tensors

    encoder = Image("lite0", size=SIZE)
    network = create_model(ARCHITECTURE, pretrained=False).eval().to(memory_format=torch.channels_last)
    network.load_state_dict(read_tensors(lite0_folder() / "model.safetensors"))
    for cells in chunks(task.cells, BLOCK):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=cpu_bf16()):
            (pixels,) = encoder.inputs(cells).parts
            yield network(encoder.normalised(pixels)).float()
