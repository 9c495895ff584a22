"""Uploading to a fake hub: what is sent, and which error each refusal becomes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from nearfar.column import ListColumn
from nearfar.encoders.static import Static
from nearfar.errors import InputError, RunError
from nearfar.model import Model


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    encoder = Static(dim=8, vocabulary=300)
    encoder.prepare([ListColumn("text", ["pull near"])])
    return Model(encoder)


class Api:
    """A hub that records what it is sent, or refuses it."""

    sent: dict[str, Any]
    refusal: Exception | None

    def __init__(self, token: str | None = None, **_: Any) -> None:
        type(self).sent = {"token": token}

    def create_repo(self, repo_id: str, **more: Any) -> Any:
        if self.refusal is not None:
            raise self.refusal
        self.sent.update(more)
        return SimpleNamespace(repo_id=repo_id)

    def upload_folder(self, *, repo_id: str, folder_path: Path, **_: Any) -> Any:
        front = (Path(folder_path) / "README.md").read_text(encoding="utf-8").split("---")[1]
        self.sent.update(front=yaml.safe_load(front), files=sorted(path.name for path in Path(folder_path).iterdir()))
        return SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/1")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> type[Api]:
    import huggingface_hub

    Api.refusal = None
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    return Api


def test_the_saved_folder_is_uploaded_with_its_card(model: Model, hub: type[Api]) -> None:
    assert model.push_to_hub("me/near", private=True, token="secret") == "https://hub/me/near/commit/1"
    assert hub.sent["token"] == "secret"
    assert hub.sent["private"] is True
    assert {"modules.json", "nearfar.json", "README.md"} < set(hub.sent["files"])
    front = hub.sent["front"]
    assert front["library_name"] == "sentence-transformers"
    assert front["pipeline_tag"] == "sentence-similarity"
    assert {"sentence-transformers", "nearfar", "feature-extraction"} <= set(front["tags"])


def refusal(status: int) -> Exception:
    from huggingface_hub.errors import HfHubHTTPError

    error = HfHubHTTPError.__new__(HfHubHTTPError)
    Exception.__init__(error, f"{status} of the hub")
    error.response = SimpleNamespace(status_code=status)  # type: ignore[assignment]
    return error


@pytest.mark.parametrize(
    ("status", "kind", "message"), [(401, InputError, "a token that may write"), (503, RunError, "try again later")]
)
def test_what_the_hub_refuses(model: Model, hub: type[Api], status: int, kind: type[Exception], message: str) -> None:
    hub.refusal = refusal(status)
    with pytest.raises(kind, match=message):
        model.push_to_hub("me/near")


def test_no_network_and_an_invalid_name(model: Model, hub: type[Api]) -> None:
    from huggingface_hub.errors import HFValidationError

    hub.refusal = ConnectionError("no route")
    with pytest.raises(RunError, match="cannot be reached"):
        model.push_to_hub("me/near")
    hub.refusal = HFValidationError("no")
    with pytest.raises(InputError, match="write owner/name"):
        model.push_to_hub("a b c")
