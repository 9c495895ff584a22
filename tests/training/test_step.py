"""A step can be read: it enters few files."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import nearfar
from nearfar.losses.infonce import InfoNCE
from nearfar.training.step import TrainStep
from tests.training.runs import rows, train

SOURCE = str(Path(nearfar.__file__).parent)


def test_a_step_is_read_in_few_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[list[str]] = []

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(SOURCE):
            steps[-1].append(frame.f_code.co_filename[len(SOURCE) + 1 :])

    def traced(self: TrainStep, *given: Any) -> Any:
        before = sys.getprofile()
        steps.append([])
        sys.setprofile(note)
        try:
            return plain(self, *given)
        finally:
            sys.setprofile(before)

    plain = TrainStep.__call__
    monkeypatch.setattr(TrainStep, "__call__", traced)
    train(tmp_path, rows(16), InfoNCE(temperature=0.05), steps=3, monitor_every=100, checkpoint_every=100)
    files = list(dict.fromkeys(steps[1]))  # the monitor looks at the first step and the last
    assert "training/step.py" in files
    assert "losses/infonce.py" in files
    assert len(files) <= 13, files
