"""The one exception for what a user can put right, and what to say of a name that nothing has."""

from __future__ import annotations

from collections.abc import Iterable


class InputError(ValueError):
    """Bad input: one sentence that names the file or argument, what is wrong and what would be right.

    The command line prints the sentence and exits with 2; nothing half-written may be left behind.
    """


class FaultError(InputError):
    """What no other request would put right: damaged weights, a model that was replaced. A client is told 500."""


def meant(given: str, known: Iterable[str], otherwise: str) -> str:
    """The end of a sentence on a name that nothing has: the name that was meant, or where to look it up.

    Args:
        given: the name.
        known: the names there are.
        otherwise: what is said where none of them is near.
    """
    from difflib import get_close_matches

    near = get_close_matches(given, list(known), 1)
    return f"did you mean {near[0]}?" if near else otherwise
