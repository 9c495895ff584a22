"""The encoder of pictures: its size, what it does to a picture before the network, its stem, what is frozen, states."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from nearfar.abilities import GivesStates, HasPictureForm, ReadsPictures
from nearfar.column import ListColumn
from nearfar.compute.draws import Draws
from nearfar.encoders import reading
from nearfar.encoders.image import Image
from nearfar.encoders.reading.pictures import PictureInputs
from nearfar.errors import InputError
from nearfar.model import Model

pytest.importorskip("timm", reason="the extra images is not installed")
TINY: dict[str, Any] = {"patch_size": 2, "embed_dim": 8, "depths": [1, 1], "feature_dim": 16}
VIT: dict[str, Any] = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}


def pictures(n: int = 4, height: int = 32, width: int = 32, seed: int = 0) -> list[Any]:
    return list(np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), np.uint8))


def tiny(**more: Any) -> Image:
    return Image(**{"model": "fasternet_t0", "model_args": TINY, "size": 32, **more}).eval()


def vectors(encoder: Image, cells: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = encoder(encoder.inputs(cells))
    return found


@pytest.mark.parametrize(
    ("shapes", "size"),
    [
        ([(32, 32)] * 3, 32),
        ([(28, 28)] * 3, 32),
        ([(63, 400)] * 3, 32),
        ([(64, 90), (640, 480), (70, 64)], 64),
        ([(480, 640)] * 3, 128),
        ([], 32),
    ],
)
def test_the_size_is_chosen_by_the_pictures_and_kept(shapes: list[tuple[int, int]], size: int) -> None:
    encoder = tiny(size="auto")
    assert encoder.picture_size() is None
    with pytest.raises(InputError, match=r"call prepare\(columns\), or give size=32"):
        encoder.inputs(pictures())
    encoder.prepare([ListColumn("image", [np.zeros((*shape, 3), np.uint8) for shape in shapes])])
    assert encoder.picture_size() == encoder.settings()["size"] == size
    encoder.prepare([ListColumn("image", pictures(3, 500, 500))])
    assert encoder.picture_size() == size
    assert isinstance(encoder, ReadsPictures) and isinstance(encoder, HasPictureForm)


def test_a_network_of_fixed_size_is_made_for_the_size_of_the_pictures() -> None:
    encoder = Image("vit_tiny_patch16_224", model_args=VIT)
    encoder.prepare([ListColumn("image", pictures(3, 70, 70))])
    assert encoder.picture_size() == 64
    assert vectors(encoder.eval(), pictures()).shape == (4, 24)
    known = Image("vit_tiny_patch16_224", model_args=VIT, size=64).eval()
    torch.testing.assert_close(vectors(encoder, pictures()), vectors(known, pictures()), rtol=0, atol=0)


def test_pictures_are_cropped_or_squashed_as_torch_resizes_with_antialiasing() -> None:
    picture = pictures(1, 90, 120)[0]
    x = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
    for fit, part in (("crop", x[..., 15:105]), ("squash", x)):
        for antialias in (True, False):
            expected = interpolate(part, (32, 32), mode="bilinear", antialias=antialias, align_corners=False)
            found = tiny(fit=fit, antialias=antialias).inputs([picture]).parts[0]
            difference = found.permute(0, 3, 1, 2).int() - expected.round().int()
            assert found.dtype == torch.uint8
            assert difference.abs().max() <= 1 and (difference != 0).float().mean() < 0.01
    small = tiny(antialias=False).inputs(pictures(1, 50, 50)).parts[0]  # two matrix products instead
    x = torch.from_numpy(pictures(1, 50, 50)[0]).permute(2, 0, 1)[None].float()
    expected = interpolate(x, (32, 32), mode="bilinear", antialias=False, align_corners=False)
    assert (small.permute(0, 3, 1, 2).int() - expected.round().int()).abs().max() <= 1


def test_pixels_are_normalised_and_put_in_order() -> None:
    encoder = tiny(mean=[0.1, 0.2, 0.3], std=[0.5, 0.6, 0.7], channels="bgr")
    cells = torch.from_numpy(np.stack(pictures()))
    expected = (cells.permute(0, 3, 1, 2) / 255 - torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1)) / torch.tensor(
        [0.5, 0.6, 0.7]
    ).view(1, 3, 1, 1)
    torch.testing.assert_close(encoder.normalised(cells), expected.flip(1), rtol=1e-5, atol=1e-5)
    assert tiny().normalised(cells).is_contiguous(memory_format=torch.channels_last)


CHANGES: list[dict[str, Any]] = [
    {"size": 40},
    {"fit": "squash"},
    {"mean": [0.4, 0.4, 0.4]},
    {"std": [0.2, 0.2, 0.3]},
    {"channels": "bgr"},
    {"antialias": False},
    {"model_args": {**TINY, "n_div": 2}},
    {"seed": 1},
]


def test_the_fingerprint_is_of_every_setting_and_of_nothing_else(tmp_path: Path) -> None:
    plain = Model(tiny()).fingerprint
    found = [Model(tiny(**change)).fingerprint for change in CHANGES]
    assert len({plain, *found}) == 1 + len(CHANGES)
    assert Model(tiny(frozen=1)).fingerprint == plain
    assert Model(tiny(model_args={**TINY, "drop_path_rate": 0.3})).fingerprint == plain  # of training alone
    for i, change in enumerate(CHANGES):
        assert Model.load(Model(tiny(**change)).save(tmp_path / str(i))).fingerprint == found[i]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "resnet81"}, r"timm has no architecture 'resnet81'; did you mean 'resnet18'"),
        ({"stem": "small"}, "small is for timm's ResNets, fasternet_t0 is none"),
        ({"fit": "stretch"}, r"encoder\.fit must be crop or squash or content, it is 'stretch'"),
        ({"size": 0}, r"encoder\.size must be 1 to 4096 pixels, it is 0"),
        ({"mean": [0.5, 0.5]}, r"encoder\.mean must be three numbers"),
        ({"std": [0.5, 0.0, 0.5]}, r"encoder\.std must be three numbers above 0"),
        ({"frozen": 9}, r"encoder\.frozen: the network has 3 layers or stages; give 0 to 3"),
        ({"model_args": {"embed_dims": 3}}, r"timm cannot build fasternet_t0 .*embed_dims"),
        ({"model_args": {"checkpoint_path": "x.pth"}}, "checkpoint_path is not of the network itself"),
        ({"model_args": {"pretrained": True}}, "pretrained is not of the network itself"),
        ({"model_args": {"act_layer": nn.ReLU}}, "must be a number, a word"),
        ({"model_args": {"depths": [10**9]}}, "depths holds 1e[+]09, which no network has"),
        ({"model_args": {**TINY, "global_pool": ""}}, "gives no vector of a picture of 32 x 32 pixels|cannot build"),
    ],
    ids=str,
)
def test_wrong_settings_are_one_error(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny(**settings)


def test_cells_that_are_no_pictures_are_named() -> None:
    with pytest.raises(InputError, match=r"cell 2 is text"):
        tiny().inputs([pictures(1)[0], "a text"])


def test_a_resnet_has_a_small_stem_for_small_pictures_which_timm_does_not_read(tmp_path: Path) -> None:
    args: dict[str, Any] = {"channels": [8, 8, 8, 8]}
    small, large = (Image("resnet18", model_args=args, size=size) for size in (32, 96))
    own = Image("resnet18", model_args=args, size=32, stem="own")
    assert [e.settings()["stem"] for e in (small, large, own)] == ["small", "own", "own"]
    for encoder, kernel, side in ((small, 3, 32), (own, 7, 8)):
        network: Any = encoder.network.network
        x = network.maxpool(network.act1(network.bn1(network.conv1(torch.zeros(2, 3, 32, 32)))))
        assert network.conv1.kernel_size == (kernel, kernel) and x.shape[2] == side
    (tmp_path / "small").mkdir()
    (tmp_path / "own").mkdir()
    assert small.save(tmp_path / "small") == []
    assert [form.tool for form in own.save(tmp_path / "own")] == ["timm"]
    again = Image.load(tmp_path / "small", small.settings())
    torch.testing.assert_close(vectors(again.eval(), pictures()), vectors(small.eval(), pictures()), rtol=0, atol=0)


def test_what_is_frozen_has_no_gradient_and_keeps_its_statistics() -> None:
    encoder = tiny(frozen=1).train()
    before = {name: value.clone() for name, value in encoder.network.state_dict().items()}
    encoder(encoder.inputs(pictures(8))).sum().backward()
    frozen = [name for name, p in encoder.network.named_parameters() if not p.requires_grad]
    trained = [name for name, p in encoder.network.named_parameters() if p.requires_grad]
    assert any("patch_embed" in name for name in frozen) and any("stages.0" in name for name in frozen)
    assert trained and all("stages.1" in name or "conv_head" in name for name in trained)
    for name, value in encoder.network.state_dict().items():
        kept = "patch_embed" in name or "stages.0" in name
        assert kept == torch.equal(value, before[name]) or not name.endswith(("mean", "var"))


def test_evaluation_leaves_every_buffer_as_it_was() -> None:
    encoder = tiny().train()
    encoder(encoder.inputs(pictures(8)))
    before = {name: value.clone() for name, value in encoder.named_buffers()}
    Model(encoder).embed(pictures(6, 50, 40, seed=1))
    assert encoder.training
    assert all(torch.equal(value, before[name]) for name, value in encoder.named_buffers())


def test_a_column_is_resized_once_and_kept_or_read_as_it_is(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, rows = tiny(), np.array([5, 0, 3])
    same, others = ListColumn("image", pictures(6)), ListColumn("image", [*pictures(3, 40, 50), *pictures(3, 20, 90)])
    plain = encoder.store(same)
    assert plain.pixels is None and not (cache / "pictures").exists()
    expected = encoder.inputs([others.cells[row] for row in rows]).parts[0]
    torch.testing.assert_close(plain[rows].parts[0], encoder.inputs([same.cells[row] for row in rows]).parts[0])
    torch.testing.assert_close(encoder.store(others)[rows].parts[0], expected)
    monkeypatch.setattr(reading.pictures, "resized", None)  # the second time it is read
    torch.testing.assert_close(encoder.store(others)[rows].parts[0], expected)


def test_rows_that_share_a_picture_share_its_pixels_in_the_store(cache: Path) -> None:
    encoder, some = tiny(), pictures(3, 40, 50)
    shared = ListColumn("image", [some[i] for i in (2, 2, 0, 1, 0, 2)])
    rows = np.array([3, 1, 5, 2])
    found = encoder.store(shared)
    torch.testing.assert_close(found[rows].parts[0], encoder.inputs([shared.cells[row] for row in rows]).parts[0])
    [pixels] = cache.glob("pictures/*/pixels")
    assert len(found) == 6 and pixels.stat().st_size == 3 * 32 * 32 * 3


def test_inputs_of_several_sizes_are_encoded_in_order() -> None:
    """Large crops, then small ones: each size is a forward pass, as multi-crop wants."""
    encoder = tiny()
    large, small = (torch.from_numpy(np.stack(pictures(n, s, s))) for n, s in ((3, 32), (2, 16)))
    joined = encoder.inputs(large).join([encoder.inputs(small), encoder.inputs(large[:1])])
    assert len(joined) == 6 and joined.costs().tolist() == [1024] * 3 + [256] * 2 + [1024]
    expected = torch.cat([vectors(encoder, part) for part in (large, small, large[:1])])
    with torch.no_grad():
        torch.testing.assert_close(encoder(joined), expected)
        for cut in (slice(1, 4), slice(3, 6), slice(0, 0), slice(5, 6)):
            torch.testing.assert_close(encoder(joined[cut]), expected[cut], rtol=1e-5, atol=1e-6)
    assert len(PictureInputs.of([large[:2], large[2:]]).parts) == 1


def test_a_vision_transformer_has_a_state_for_each_patch() -> None:
    encoder = Image("vit_tiny_patch16_224", model_args=VIT, size=32).eval()
    assert isinstance(encoder, GivesStates) and not isinstance(tiny(), GivesStates)
    with torch.no_grad():
        states = encoder.states(encoder.inputs(pictures(3)))
        network: Any = encoder.network.network
        x = network.forward_features(encoder.normalised(encoder.inputs(pictures(3)).parts[0]))
    assert states.offsets.tolist() == [0, 16, 32, 48]
    assert states.places.tolist() == [*range(16)] * 3
    torch.testing.assert_close(states.values.view(3, 16, 24), x[:, 1:])
    twin = copy.deepcopy(encoder)
    with torch.no_grad():
        next(twin.parameters()).zero_()
    assert twin.states.__self__ is twin  # type: ignore[attr-defined]


def test_in_bf16_vectors_are_close_and_convolutions_run_in_it() -> None:
    encoder = tiny()
    kinds = set()
    hook = encoder.network.register_forward_hook(lambda _m, _i, out: kinds.add(out.dtype))
    exact = Model(encoder).embed(pictures(8))
    model = Model(encoder)
    model.bf16 = True
    near = model.embed(pictures(8))
    hook.remove()
    assert kinds == {torch.float32, torch.bfloat16}
    assert np.abs((exact * near).sum(1) - 1).max() < 1e-3


def test_an_augmentation_without_a_size_takes_the_encoder_s() -> None:
    from nearfar import augmentations
    from nearfar.abilities import for_reader
    from nearfar.contracts import StreamedAugmentation

    cells, draws = torch.from_numpy(np.stack(pictures(4, 80, 60))), Draws.of(np.arange(4)[:, None])
    of_reader = for_reader(StreamedAugmentation(augmentations.ImageAugmentation(), 0), tiny())
    torch.testing.assert_close(
        of_reader.augmentation(cells, draws), augmentations.ImageAugmentation(size=32)(cells, draws)
    )
    given = for_reader(StreamedAugmentation(augmentations.ImageAugmentation(size=24), 0), tiny())
    assert given.augmentation(cells, draws).shape == (4, 24, 24, 3)
    text = StreamedAugmentation(augmentations.TextCrop(), 0)
    assert for_reader(text, tiny()) is text


def test_frozen_norm_keeps_all_statistics_while_its_parameters_learn() -> None:
    encoder = Image("resnet10t", size=32, frozen_norm=True).train()
    before = {name: buffer.clone() for name, buffer in encoder.network.named_buffers() if "running" in name}
    encoder(encoder.inputs(pictures(4))).square().sum().backward()
    assert before and all(torch.equal(encoder.network.get_buffer(name), value) for name, value in before.items())
    assert all(parameter.grad is not None for parameter in encoder.network.parameters())
    alone = encoder(encoder.inputs(pictures(4)[:1]))
    torch.testing.assert_close(encoder(encoder.inputs(pictures(4)))[:1], alone)  # no row depends on the others
