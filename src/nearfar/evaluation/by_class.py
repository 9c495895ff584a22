"""The values of each class: which classes are told, and which are not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nearfar.contracts import Values
from nearfar.tasks import Labels, Task


def by_class(task: Task, rows: Mapping[str, Values]) -> dict[str, Any]:
    """Return the mean over the cells of each class of every metric that has a value for each cell.

    rows: values (n,) by metric. {"classes": names, "cells": how many each has, "values": {metric: a mean a class}}, of
    the classes that have cells, in the task's order; {} for other tasks than labels, and without such a metric. Of a
    metric of hits the mean is the share of the class's cells that are told right, its recall.

    When not to use it: to compare models by a class of a few cells; it has no intervals.
    """
    if not isinstance(task, Labels) or not rows:
        return {}
    cells = np.bincount(task.labels, minlength=len(task.classes))  # (c,)
    found = np.flatnonzero(cells)
    values = {}
    for name, value in rows.items():
        sums = np.bincount(task.labels, value, len(task.classes))[found]
        values[name] = (sums / cells[found]).tolist()
    return {"classes": [task.classes[c] for c in found], "cells": cells[found].tolist(), "values": values}
