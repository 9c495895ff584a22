"""A model folder on a hub."""

from __future__ import annotations

from pathlib import Path

from nearfar.errors import InputError, RunError


def push(folder: Path, repo_id: str, *, private: bool | None, token: str | None) -> str:
    """Upload a model folder into a repository of the hub, which is made if need be; return the commit's address.

    Errors: `InputError` for a name that the hub refuses or where it does not let us in; `RunError` where it cannot be
    reached or fails.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api = HfApi(token=token, library_name="nearfar")
    try:
        repo = str(api.create_repo(repo_id, private=private, exist_ok=True).repo_id)
        told = api.upload_folder(repo_id=repo, folder_path=folder, commit_message="Upload a nearfar model")
    except HFValidationError as error:
        raise InputError(f"push_to_hub: {repo_id!r} is no name of a repository; write owner/name") from error
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        why = str(error).splitlines()[0]
        if status in (401, 403, 404):
            raise InputError(f"push_to_hub: {repo_id!r} is refused ({why}); give a token that may write") from error
        raise RunError(f"push_to_hub: the hub failed ({why}); try again later") from error
    except OSError as error:  # no network
        raise RunError(f"push_to_hub: the hub cannot be reached ({error}); try again later") from error
    return str(told.commit_url)
