"""The hub's own client, which resumes and honours the user's settings of it; the one module that imports it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi, errors, hf_hub_download
from huggingface_hub.utils import logging
from huggingface_hub.utils.tqdm import disable_progress_bars

from core.sources.base import CONNECT_TIMEOUT, FileSpec, SourceDown, SourceFailed


def listing(repo: str, revision: str | None) -> tuple[str | None, list[FileSpec]]:
    """Return the commit of a repository and its files, with the SHA-256 of those that the hub states one for.

    One request without a second try: a hub that cannot be reached is known after CONNECT_TIMEOUT.
    """
    with _translated():
        info = HfApi().model_info(repo, revision=revision, timeout=CONNECT_TIMEOUT, files_metadata=True)
        files = []
        for sibling in info.siblings or ():
            digest = sibling.lfs.sha256 if sibling.lfs else None
            spec = FileSpec(path=sibling.rfilename, size=sibling.size, sha256=digest, verified=digest is not None)
            files.append(spec)
        return info.sha, files


def download(repo: str, path: str, revision: str | None, folder: Path) -> Path:
    """Download a file into the folder, going on where an earlier attempt stopped, and return its path."""
    with _translated():
        return Path(hf_hub_download(repo, path, revision=revision, local_dir=folder, etag_timeout=CONNECT_TIMEOUT))


@contextmanager
def _translated() -> Iterator[None]:
    """Keep the client quiet and turn its errors into ours."""
    disable_progress_bars()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        yield
    except errors.GatedRepoError as error:
        raise SourceFailed("access must be asked for on the hub first") from error
    except errors.RepositoryNotFoundError as error:
        raise SourceFailed("no such repository, or it is private") from error
    except errors.HfHubHTTPError as error:
        raise SourceFailed(f"the hub answered: {str(error).splitlines()[0]}") from error
    except errors.OfflineModeIsEnabled as error:
        raise SourceDown("switched off by HF_HUB_OFFLINE") from error
    except Exception as error:  # which HTTP library's errors come through depends on the client's release
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        raise SourceDown(f"cannot be reached ({error or type(error).__name__})") from error
