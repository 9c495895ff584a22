"""Modules out of training mode for a while."""

from __future__ import annotations

import pytest
from torch import nn

from nearfar.compute.evaluating import evaluating


def test_each_layer_is_afterwards_in_the_mode_in_which_it_was() -> None:
    trained, partly, idle = nn.Dropout(), nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2)), nn.Dropout().eval()
    partly[1].eval()  # frozen statistics in a network that trains
    with pytest.raises(KeyError), evaluating(trained, "no module", partly, idle):
        assert not any(layer.training for layer in (trained, partly, *partly, idle))
        raise KeyError
    assert [layer.training for layer in (trained, partly, *partly, idle)] == [True, True, True, False, False]
