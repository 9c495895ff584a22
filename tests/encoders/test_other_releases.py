"""All kinds of models go through another release of sentence-transformers and come back, with their prompts.

NEARFAR_PEER is the Python of a virtual environment with that release, which needs nothing of nearfar: 3.3.0 is the
oldest that these tests have been run with, and 5.0.0 the oldest that has a Router. By default it is the release beside
nearfar.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nearfar as nf
from tests.encoders.test_foreign_folders import KINDS, PROMPTS, moved
from tests.encoders.tiny import TEXTS

ROLES = {None: None, "query": "query", "key": "document"}  # the names of our roles' prompts
PEER = """
import json, sys, warnings
from pathlib import Path

warnings.simplefilter("ignore")
import numpy as np
import sentence_transformers
from sentence_transformers import SentenceTransformer

root = Path(sys.argv[1])
texts = json.loads((root / "texts.json").read_text())
major = int(sentence_transformers.__version__.split(".")[0])
for folder in sorted((root / "ours").iterdir()):
    if major < 5 and (folder / "router_config.json").exists():
        continue
    model = SentenceTransformer(str(folder), device="cpu")
    for name in (None, "query", "document"):
        encode = getattr(model, f"encode_{name}", None)  # from 5.0 on; a Router takes its route from it
        vectors = encode(texts) if encode else model.encode(texts, prompt_name=name)
        np.save(root / f"{folder.name} {name}.npy", vectors)
    model.save(str(root / "theirs" / folder.name))
print(major)
"""


@pytest.mark.slow
def test_all_kinds_go_through_another_release(tmp_path: Path) -> None:
    models = {kind: nf.Model(moved(make()), PROMPTS) for kind, make in KINDS.items()}
    for kind, model in models.items():
        model.save(tmp_path / "ours" / kind)
    (tmp_path / "texts.json").write_text(json.dumps(TEXTS))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    call = [os.environ.get("NEARFAR_PEER") or sys.executable, "-c", PEER, str(tmp_path)]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    routed = int(done.stdout.split()[-1]) >= 5
    for kind in (kind for kind in models if routed or "dual" not in kind):
        again = nf.Model.load(tmp_path / "theirs" / kind)
        assert again.prompts == models[kind].prompts
        for role, name in ROLES.items():
            given: Any = role
            expected = models[kind].embed(TEXTS, given)
            np.testing.assert_allclose(np.load(tmp_path / f"{kind} {name}.npy"), expected, atol=2e-6)
            np.testing.assert_allclose(again.embed(TEXTS, given), expected, atol=2e-6)
