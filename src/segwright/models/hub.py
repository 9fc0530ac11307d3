"""Whether weights of a public hub can be had, said before anything is built."""

from __future__ import annotations

from segwright.contracts import UserError


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
