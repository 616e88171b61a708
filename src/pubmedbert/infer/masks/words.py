"""What the search may fill in: any word the vocabulary can write, or one of a list."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from pubmedbert.infer.tokenizer import ModelTokenizer


class AnyWord:
    """Words as text is cut into them: a first piece and ## pieces, spelled as WordPiece spells them.

    A glued word, which continues what stands before it, has ## pieces only, and is spelled together with that.

    Args:
        tokenizer: of the model.
    """

    def __init__(self, tokenizer: ModelTokenizer) -> None:
        self._tokenizer = tokenizer
        self._kinds = tokenizer.kinds
        self._spelled: dict[tuple[int, ...], bool] = {}

    def pieces(self, known: Sequence[int | None], index: int, glued: bool) -> NDArray[np.int64]:  # noqa: ARG002
        """See `decode.Words`."""
        return self._kinds.later if index or glued else self._kinds.first

    def accept(self, word: Sequence[int]) -> bool:
        """See `decode.Words`; what continues something unknown may be spelled in any way."""
        key = tuple(word)
        if key not in self._spelled:
            self._spelled[key] = self._tokenizer.continues(word[0]) or self._tokenizer.spells(word)
        return self._spelled[key]


class ListedWords:
    """The targets, of one or more pieces.

    Args:
        targets: the pieces of each.
    """

    def __init__(self, targets: Iterable[tuple[int, ...]]) -> None:
        self._targets = sorted(set(targets))

    def pieces(self, known: Sequence[int | None], index: int, glued: bool) -> NDArray[np.int64]:  # noqa: ARG002
        """See `decode.Words`: of the targets of that length that agree with what is known."""
        agreeing = {
            target[index]
            for target in self._targets
            if len(target) == len(known)
            and all(piece is None or piece == other for piece, other in zip(known, target, strict=True))
        }
        return np.array(sorted(agreeing), dtype=np.int64)

    def accept(self, word: Sequence[int]) -> bool:  # noqa: ARG002
        """See `decode.Words`: every word that `pieces` leads to is a target."""
        return True
