"""Weights of a public hub: whether they can be had, said before anything is built, and files by id."""

from __future__ import annotations

import re
from pathlib import Path

from segwright.contracts import UserError

SCHEME = "hf://"
_HUB_ID = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w.-]+))?(?:/([\w./-]+))?")


def check_hub(what: str, repo: str, revision: str | None = None, file: str = "model.safetensors") -> None:
    """Raise UserError at once where the weights are neither in the cache nor on a hub that answers.

    what: whose weights, as the message names them. repo, revision, file: on huggingface.co.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.constants import HF_HUB_CACHE, HF_HUB_OFFLINE
    from huggingface_hub.errors import EntryNotFoundError

    if isinstance(try_to_load_from_cache(repo, file, revision=revision), str):
        return
    try:
        if HF_HUB_OFFLINE:
            raise ConnectionError("HF_HUB_OFFLINE is set")
        get_hf_file_metadata(hf_hub_url(repo, file, revision=revision), timeout=5)
    except EntryNotFoundError:
        return  # the hub answers; the library knows other names of the file
    except Exception as error:  # the hub's client raises its own errors and those of its HTTP library
        raise UserError(
            f"the weights of {what} ({file} of huggingface.co/{repo}) cannot be had: they are not in "
            f"{HF_HUB_CACHE}, and the hub does not answer ({error}). Connect, or copy that folder from a machine that "
            "has them, or train from scratch (weights: null)."
        ) from error


def check_timm_weights(name: str) -> None:
    """Raise UserError where timm has no weights for the model, or they cannot be had."""
    import timm

    config = timm.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        raise UserError(f"timm has no weights for '{name}'. Train from scratch (weights: null).")
    check_hub(f"timm's '{name}'", config.hf_hub_id)


def hub_file(text: str) -> Path:
    """The file of a hub id `hf://owner/name[@revision][/file]`, model.safetensors unless named.

    From huggingface_hub's cache where it is there, without asking anyone; else from the hub, or the mirror that
    HF_ENDPOINT names, into that cache. Raises UserError for another form, and where the file cannot be had, saying
    where to put it.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache

    match = _HUB_ID.fullmatch(text)
    if match is None or ".." in text:
        raise UserError(f"'{text}' is no hub id. Its form is hf://OWNER/NAME, hf://OWNER/NAME@REVISION or …/FILE.")
    repo, revision, file = match[1], match[2], match[3] or "model.safetensors"
    cached = try_to_load_from_cache(repo, file, revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    try:
        if constants.HF_HUB_OFFLINE:
            raise ConnectionError("HF_HUB_OFFLINE is set")
        # This fails at once, where the download would try again and again.
        get_hf_file_metadata(hf_hub_url(repo, file, revision=revision), timeout=5)
        return Path(hf_hub_download(repo, file, revision=revision, etag_timeout=5))
    except Exception as error:  # the hub's client raises its own errors and those of its HTTP library
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
        raise UserError(
            f"{file} of {constants.ENDPOINT}/{repo} cannot be had: it is not in {constants.HF_HUB_CACHE}, and the hub "
            f"did not give it ({reason}). Connect, or set HF_ENDPOINT to a mirror; or get {file} on another machine, "
            "put it anywhere on this one, and give its path instead of the hub id."
        ) from error
