"""Where a model is: inside the package, in a local folder, or on the Hugging Face hub."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path

from pubmedbert.model.config import ModelError

BUNDLED = Path(__file__).parent.parent / "bundled"
"""The model inside the package."""

_HUB_ID = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(?:@(?P<revision>.+))?", re.ASCII)
_FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "vocab.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "README.md",
    "int8.json",
)
_PICKLE = "pytorch_model.bin"
_WEIGHTS = ("model.safetensors", _PICKLE)
_TOKENIZERS = ("tokenizer.json", "vocab.txt")
# The family was renamed on the hub on 3 November 2023: BiomedNLP-PubMedBERT-base-..., BiomedNLP-PubMedELECTRA-large-...
_OLD_NAME = re.compile(r"microsoft/BiomedNLP-PubMed(?=BERT-|ELECTRA-)")
_NEW_NAME = "microsoft/BiomedNLP-Biomed"


def locate(name: str) -> Path:
    """The local folder of a model, fetched from the hub where it is not in the cache yet.

    Args:
        name: "bundled" (the model inside the package), a folder in Hugging Face layout, or a hub id `owner/name`, if
            need be with `@revision` (branch, tag or commit). The PubMedBERT family's names from before its renaming
            are aliases. `HF_HUB_OFFLINE`, `HF_HOME` and `HF_ENDPOINT` mean what they mean to huggingface_hub.

    Returns:
        A folder with config.json, model.safetensors (or pytorch_model.bin where there is no other) and the
        tokenizer's files.

    Raises:
        ModelError: there is no such model, or it cannot be fetched.
    """
    if name == "bundled":
        if not (BUNDLED / "config.json").exists():
            raise ModelError("this build of pubmedbert has no bundled model; name a model folder or a hub id")
        return BUNDLED
    path = Path(name)
    if name and path.is_dir():
        return path
    if path.is_file():
        raise ModelError(f"{name} is a file; a model is a folder that holds config.json, weights and a tokenizer")
    match = _HUB_ID.fullmatch(name)
    if match is None or name.startswith((".", "~")):
        hint = "; did you mean bundled?" if get_close_matches(name, ["bundled"]) else ""
        raise ModelError(
            f"no model {name!r}: there is no such folder, and hub ids look like owner/name[@revision]{hint}"
        )
    asked, revision = match["id"], match["revision"]
    renamed = current_name(asked)
    try:
        return _fetch(renamed, revision)
    except _NotCachedError:
        if renamed == asked:
            raise
    return _fetch(asked, revision)  # a cache from before the renaming may serve a machine without network


class _NotCachedError(ModelError):
    """The hub is out of reach, and the cache does not hold the model."""


def current_name(name: str) -> str:
    """The name of a hub model after the family's renaming; any other name as it is."""
    return _OLD_NAME.sub(_NEW_NAME, name)


def _fetch(repository: str, revision: str | None) -> Path:
    """The cached folder of a hub model, brought up to date where the hub can be reached."""
    from huggingface_hub import constants, errors, snapshot_download

    wanted = list(_FILES)
    try:
        folder = Path(snapshot_download(repository, revision=revision, allow_patterns=wanted))
        if not (folder / "model.safetensors").exists():
            wanted.append(_PICKLE)
            snapshot_download(repository, revision=folder.name, allow_patterns=wanted)  # named by its commit
    except errors.HFValidationError as error:
        raise ModelError(f"{repository} is not a hub id: {_first_line(error)}") from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(f"{repository} has no revision {revision!r} on {constants.ENDPOINT}") from error
    except errors.GatedRepoError as error:
        raise ModelError(f"{repository} asks for its terms to be accepted first, on {constants.ENDPOINT}") from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"no model {repository!r}: there is no such folder here, and {constants.ENDPOINT} knows no such id "
            "(a private one needs 'hf auth login')"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        if (partly := _in_cache(repository, revision)) is not None:
            return partly
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else f"{constants.ENDPOINT} cannot be reached"
        raise _NotCachedError(f"{repository} is not in the cache {constants.HF_HUB_CACHE}, and {why}") from error
    except (errors.HTTPError, OSError, RuntimeError) as error:  # type: ignore[attr-defined]  # httpx's, by any name
        raise ModelError(f"cannot fetch {repository} from {constants.ENDPOINT}: {_first_line(error)}") from error
    if not any((folder / weights).exists() for weights in _WEIGHTS):
        raise ModelError(f"{repository} holds neither model.safetensors nor {_PICKLE}; other weights cannot be read")
    return folder


def _in_cache(repository: str, revision: str | None) -> Path | None:
    """The cached folder of a model of which only files like its README were never fetched; None where it lacks more."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, "config.json", revision=revision)
    if not isinstance(found, str):
        return None
    folder = Path(found).parent
    whole = all(any((folder / name).exists() for name in names) for names in (_WEIGHTS, _TOKENIZERS))
    return folder if whole else None


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
