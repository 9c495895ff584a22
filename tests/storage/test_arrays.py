"""What is a pickle under the name of a weights file, and what only begins as one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from nearfar.errors import InputError
from nearfar.storage.arrays import read_arrays, weight_shapes


def test_a_header_that_is_as_long_as_a_pickle_begins(tmp_path: Path) -> None:
    """Its length stands first: 640 bytes are 80 02, as the first bytes of a pickle."""
    path = tmp_path / "model.safetensors"
    for size in range(1, 700):
        save_file({"x": np.ones(2, np.float32)}, path, {"note": "n" * size})
        if path.read_bytes()[:2] == b"\x80\x02":
            break
    assert path.read_bytes()[:2] == b"\x80\x02"
    assert weight_shapes(path) == {"x": (2,)}
    assert read_arrays(path)["x"].tolist() == [1, 1]


@pytest.mark.parametrize("start", [b"\x80\x02", b"\x80\x04", b"PK"])
def test_a_pickle_is_named_as_one(start: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(start + b"." * 90)
    with pytest.raises(InputError, match="this is a pickle"):
        weight_shapes(path)
    path.write_bytes(start + json.dumps({"x": 1}).encode())
    with pytest.raises(InputError, match="this is a pickle"):
        weight_shapes(path)
