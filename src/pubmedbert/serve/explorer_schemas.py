"""Requests and answers of the explorer; see `schemas`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pubmedbert.explore.neighbours import NEIGHBOURS
from pubmedbert.serve.schemas import Count, Schema, String

Number = Annotated[int, Field(ge=0, le=10**6)]
"""A place, layer or head, from 0."""


class ViewRequest(Schema):
    """A text, or two, and what is masked in it."""

    model: String | None = Field(None, description="The name of a served model; the first if left out.")
    text: String = Field(examples=["Gefitinib is an EGFR tyrosine kinase inhibitor."])
    text_b: String | None = Field(None, description="A second text, which makes a pair.")
    masks: Annotated[list[Number], Field(max_length=1024, fail_fast=True)] = Field(
        [], description="Places, [CLS] counted as 0, where [MASK] stands instead of the text's piece."
    )
    predictions: bool = Field(True, description="Whether what would be predicted at each place is wanted.")


class OcclusionRequest(ViewRequest):
    """A text, each part of which is hidden in turn, and the answer that is followed."""

    place: Number | None = Field(None, description="Where the answer is given; null where texts are classified.")
    answer: String | None = Field(None, description="The piece, tag or class; the most probable one if left out.")
    words: bool = Field(True, description="Hide whole words; otherwise single word pieces.")


class NeighboursRequest(ViewRequest):
    """A text and the word in it whose like is looked for in the corpus."""

    place: Number = Field(description="Of any piece of the word.")
    count: Count = Field(NEIGHBOURS, description="How many are wanted.")
    layer: Number | None = Field(None, description="Whose attention is followed, from 0; the index's if left out.")
    heads: Annotated[list[Number], Field(min_length=1, max_length=1024, fail_fast=True)] | None = Field(
        None, description="Heads whose attention is added up, from 0; all if left out."
    )


class Occlusion(Schema):
    """What hiding does to an answer."""

    answer: str = Field(description="The piece, tag or class that is followed.")
    before: float = Field(description="Its log-probability (of a regression, the score) with nothing hidden, in nats.")
    places: list[list[int]] = Field(description="The places of each part that is hidden.")
    changes: list[float] = Field(description="What hiding each adds: below 0 where it had spoken for the answer.")


class Neighbour(Schema):
    """An occurrence of a word in the corpus."""

    score: float = Field(description="Cosine.")
    word: str
    sentence: str
    start: int = Field(description="The word's first character in the sentence.")
    end: int
    doc_id: str
    link: str | None = Field(description="The record on PubMed, where there is one.")


class Summary(Schema):
    """How many words there are in entities of each type; "none" counts those in none."""

    matched: dict[str, int]
    attended: dict[str, int]


class Neighbours(Schema):
    """The occurrences nearest to a word, the nearest first."""

    layer: int = Field(description="Whose attention was followed: from 1, as the index's layer.")
    neighbours: list[Neighbour]
    attended_words: list[tuple[int, int] | None] = Field(
        description="The characters of the word that each attends to most."
    )
    summary: Summary | None = Field(description="Null where there is no tagger.")


class IndexAbout(Schema):
    """What is searched."""

    layer: int = Field(description="From 1.")
    of: Literal["states", "heads"] = Field(description="The layer's states, or what its heads give.")
    words: int
    documents: int


class ExploredAbout(Schema):
    """A model that can be looked into."""

    name: str
    asked: str = Field(description='As the service was told: "bundled", a folder or a hub id.')
    kind: Literal["mlm", "tuned", "encoder"] = Field(description="Fills masks, is fine-tuned, or has no head.")
    layers: int
    heads: int
    max_tokens: int = Field(description="The longest row in word pieces; what is longer is cut.")
    pairs: bool = Field(description="Whether it reads a second text.")
    labels: list[str] | None
    level: Literal["tokens", "text"] | None = Field(description="What a fine-tuned model labels.")
    problem: Literal["single", "multi", "regression"] | None = Field(
        description="Whether it gives one class, any number of classes, or a number."
    )
    index: IndexAbout | None


class ExplorerAbout(Schema):
    """What can be looked into."""

    default: str
    models: list[ExploredAbout]
    tagger: str | None = Field(description="The model that names the types in summaries.")


class LinkState(Schema):
    """What a link shows. Places count word pieces from [CLS], which is 0."""

    model: str | None = Field(description="The name of the served model; null where it is not served.")
    asked: str = Field(description="As the link names it; empty where it names none.")
    sentence: str
    sentence_b: str | None
    layer: int = Field(description="From 0.")
    heads: list[int] = Field(description="From 0.")
    threshold: float = Field(description="The share of each place's attention that is drawn.")
    token: int | None = Field(description="The pinned place.")
    side: Literal["left", "right"]
    masks: list[int]
    hide_special: bool
    method: Literal["raw", "rollout", "occlusion"]


class Missing(Schema):
    """What to do about a model that is not served."""

    sentence: str
    command: str


class LinkRead(Schema):
    """A link as the service reads it."""

    state: LinkState
    notices: list[str] = Field(description="A sentence on each thing that is not as the link has it.")
    missing: Missing | None
