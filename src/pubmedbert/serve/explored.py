"""The tasks of the explorer, computed for one text after another. This runs in a model's process.

The model is opened anew for them, in fp32: with all its maps when the first one is asked for, and its encoder alone,
for many rows at once, when the first occlusion is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from pubmedbert.errors import InputError
from pubmedbert.explore.index_files import Index, open_index, read_meta
from pubmedbert.explore.neighbours import neighbours
from pubmedbert.explore.occlusion import occlude
from pubmedbert.explore.rollout import rollout
from pubmedbert.explore.summary import attended, entity_types, matched, open_tagger, readable, tagged
from pubmedbert.explore.view import ExploredModel, View
from pubmedbert.explore.wire import encode
from pubmedbert.serve.deadline import Deadline
from pubmedbert.serve.process import Loading
from pubmedbert.serve.weighing import NEIGHBOURS, OCCLUSION, ROLLOUT, VIEW

Job = Mapping[str, Any]
"""As in `pubmedbert.serve.tasks`; `parameters` hold what the bodies in `explorer_schemas` do, a model's `name`, and
`work`, the most word pieces to compute."""
_SAMPLE = 200
"""Words of an index whose sentences say how long that of a word is."""


class Each:
    """A task that answers its jobs one by one; see `pubmedbert.serve.tasks.Task`."""

    def __init__(self, answer: Callable[[Job], object]) -> None:
        self._answer = answer

    def answer(self, jobs: Sequence[Job]) -> Sequence[object]:
        """The answers."""
        return [self._answer(job) for job in jobs]


class Explored:
    """A model that is looked into.

    Args:
        folder: of the model.
        loading: how it is loaded.
        deadline: of what is computed.

    Raises:
        InputError: an index is damaged, or of another tokenizer of this model, or two are of it; the tagger tags no
            words.
        ModelError: the model, or the tagger, cannot be read.
    """

    def __init__(self, folder: Path, loading: Loading, deadline: Deadline) -> None:
        self._deadline = deadline
        self._threads = loading.threads
        self._model = ExploredModel(folder, threads=loading.threads, numbers=loading.map_numbers)
        self.tokenizer: str = self._model.tokenizer.fingerprint
        """Of the model's tokenizer."""
        self._index = _own_index(loading.indexes, self._model)
        wanted = loading.tagger is not None and self._index is not None
        self._tagger = open_tagger(str(loading.tagger), threads=loading.threads) if wanted else None
        self.tasks = {
            VIEW: Each(self._view),
            ROLLOUT: Each(self._rollout),
            OCCLUSION: Each(self._occlusion),
            NEIGHBOURS: Each(self._neighbours),
        }
        """By name."""

    @property
    def about(self) -> dict[str, object]:
        """What `explorer_schemas.ExploredAbout` has, but for names; also `index_folder` and `found_pieces`.

        These are the word pieces to compute for each word that is found.
        """
        model, index = self._model, self._index
        return {
            "kind": model.kind,
            "layers": model.config.layers,
            "heads": model.config.heads,
            "max_tokens": model.longest,
            "pairs": model.pairs,
            "labels": list(model.tuned.head.labels) if model.tuned else None,
            "level": model.level,
            "problem": model.tuned.head.problem if model.tuned else None,
            "index": index
            and {"layer": index.layer, "of": index.of, "words": len(index.words), "documents": len(index.documents)},
            "index_folder": index and str(index.folder),
            "found_pieces": index and self._passes * self._usual(index),
        }

    @property
    def _passes(self) -> int:
        """Models that read a sentence that was found."""
        return 1 if self._tagger is None else 2

    def _usual(self, index: Index) -> int:
        """Word pieces of the sentence of a word, on average over some words."""
        numbers = np.linspace(0, len(index.words) - 1, min(_SAMPLE, len(index.words))).astype(int)
        sentences = (index.sentence(int(index.words["sentence"][number])) for number in numbers)
        lengths = [len(self._model.tokenizer.encode(sentence)) for sentence in sentences]
        return round(np.mean(lengths)) if lengths else 0

    def _seen(self, job: Job, *, predictions: bool) -> View:
        masks = job["parameters"]["masks"]
        return self._model.view(job["text"], job["pair"], masks=masks, predictions=predictions)

    def _bytes(self, view: View, job: Job) -> bytes:
        about = {"model": job["parameters"]["name"], "kind": self._model.kind}
        return encode(view, about | {"layers": self._model.config.layers, "heads": self._model.config.heads})

    def _view(self, job: Job) -> bytes:
        return self._bytes(self._seen(job, predictions=job["parameters"]["predictions"]), job)

    def _rollout(self, job: Job) -> bytes:
        view = self._seen(job, predictions=job["parameters"]["predictions"])
        return self._bytes(replace(view, attentions=rollout(view.attentions)[:, None]), job)

    def _occlusion(self, job: Job) -> dict[str, object]:
        asked = job["parameters"]
        row, _ = self._model.read(job["text"], job["pair"], asked["masks"])
        found = occlude(
            self._model,
            row,
            place=asked["place"],
            answer=asked["answer"],
            words=asked["words"],
            advance=self._deadline.check,
        )
        return {
            "answer": found.answer,
            "before": found.before,
            "places": found.places,
            "changes": found.changes.tolist(),
        }

    def _neighbours(self, job: Job) -> dict[str, object]:
        asked = job["parameters"]
        assert self._index is not None  # otherwise nothing is sent here
        view = self._seen(job, predictions=False)
        found = neighbours(self._index, self._model, view, asked["place"], count=asked["count"], threads=self._threads)
        layer = self._index.layer - 1 if asked["layer"] is None else asked["layer"]
        read = found[: readable(self._model, found, (asked["work"] - len(view.row.tokens)) // self._passes)]
        spans = attended(self._model, read, layer=layer, heads=asked["heads"], advance=self._deadline.check)
        summary = None
        if self._tagger is not None:
            entities = tagged(read, self._tagger)
            summary = {"matched": entity_types(matched(read), entities), "attended": entity_types(spans, entities)}
        return {
            "layer": layer + 1,  # as the index's
            "neighbours": [asdict(one) for one in found],
            "attended_words": [span and span[1:] for span in spans] + [None] * (len(found) - len(read)),
            "summary": summary,
        }


def _own_index(folders: Sequence[str], model: ExploredModel) -> Index | None:
    """The index that was made with a model, opened; None where there is none."""
    own = [folder for folder in folders if read_meta(Path(folder)).get("model") == model.fingerprint]
    if len(own) > 1:
        raise InputError(f"--index {own[0]} and --index {own[1]} were made with the same model; name one of them")
    if not own:
        return None
    index = open_index(Path(own[0]))
    index.require(model.fingerprint, model.tokenizer.fingerprint)
    return index
