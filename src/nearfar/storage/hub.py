"""Uploading a model folder to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from nearfar.errors import InputError, RunError


def push(folder: Path, repo_id: str, *, private: bool | None, token: str | None) -> str:
    """Upload a model folder to a repository of the hub, which is created if need be; return the commit's URL.

    Errors: `InputError` for an invalid repository name or a denied access; `RunError` where the hub fails or cannot be
    reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api = HfApi(token=token, library_name="nearfar")
    try:
        repo = str(api.create_repo(repo_id, private=private, exist_ok=True).repo_id)
        commit = api.upload_folder(repo_id=repo, folder_path=folder, commit_message="Upload a nearfar model")
    except HFValidationError as error:
        raise InputError(f"push_to_hub: {repo_id!r} is not a repository name; write owner/name") from error
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        why = str(error).splitlines()[0]
        if status in (401, 403, 404):
            raise InputError(f"push_to_hub: {repo_id!r} is refused ({why}); give a token that may write") from error
        raise RunError(f"push_to_hub: the hub failed ({why}); try again later") from error
    except OSError as error:  # no network
        raise RunError(f"push_to_hub: the hub cannot be reached ({error}); try again later") from error
    return str(commit.commit_url)
