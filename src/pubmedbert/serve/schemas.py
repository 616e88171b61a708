"""Requests and answers as @huggingface/tasks specifies them; what OpenAPI shows is made from these.

Numbers are not converted and unknown parameters are refused: a typing error must not silently mean the default.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

Strategy = Literal["none", "simple", "first", "average", "max"]


def _unicode(text: str) -> str:
    """The text; JSON can hold half of a surrogate pair, which is no character."""
    text.encode()
    return text


String = Annotated[str, AfterValidator(_unicode)]
# Lists are read to their first fault: the errors of a long list of nonsense take more memory than the list.
_Strings = Annotated[list[String], Field(min_length=1, fail_fast=True)]


MISNAMED = "misnamed"
"""The type of the error of a field that a schema does not have, whose `name`, shortened, is in its context."""


class Schema(BaseModel):
    """The base of all."""

    model_config = ConfigDict(strict=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        """Refuse the first field that there is not: pydantic would make an error of each."""
        for name in given if isinstance(given, dict) else ():
            if name not in cls.model_fields:
                shown = name[:100].encode("utf-8", "backslashreplace").decode()
                raise PydanticCustomError(MISNAMED, "there is no field {name}", {"name": shown})
        return given


Count = Annotated[int, Field(ge=1, le=10**6)]


class FillMaskParameters(Schema):
    """What a fill-mask request may choose."""

    top_k: Count | None = Field(None, description="Answers for each mask; 5 if left out.")
    targets: String | _Strings | None = Field(None, description="The only words to choose between.")


class TokenClassificationParameters(Schema):
    """What a token-classification request may choose."""

    aggregation_strategy: Strategy | None = Field(None, description='How pieces become entities; "simple" if left out.')
    ignore_labels: Annotated[list[String], Field(fail_fast=True)] | None = Field(
        None, description='Labels to leave out; ["O"] if left out.'
    )
    stride: Annotated[int, Field(ge=0, le=10**6)] | None = Field(
        None, description="Clients of the hub may send it; not used: windows of long texts overlap anyway."
    )


class TextClassificationParameters(Schema):
    """What a text-classification request may choose."""

    top_k: Count | None = Field(None, description="Labels to answer; all if left out.")
    function_to_apply: Literal["sigmoid", "softmax", "none"] | None = Field(
        None, description="How logits become scores; what the model was tuned with if left out."
    )


class FeatureExtractionParameters(Schema):
    """What a feature-extraction request may choose."""

    normalize: bool | None = Field(None, description='Vectors of length 1; true if left out, false for pooling "none".')
    pooling: Literal["mean", "cls", "none"] | None = Field(
        None, description='How the states of a text become its vector; "mean" if left out, "none" answers all states.'
    )
    truncate: bool | None = Field(None, description="Cut texts that are too long; they are refused if left out.")
    truncation_direction: Literal["left", "right"] | None = Field(None, description='The side to cut; "right".')


class Request(Schema):
    """What all requests have."""

    options: dict[str, Any] | None = Field(None, description="Older clients send it; nothing in it is used.")


class FillMaskRequest(Request):
    """A text with [MASK] in it, or several."""

    inputs: String | _Strings = Field(examples=["[MASK] is a tyrosine kinase inhibitor."])
    parameters: FillMaskParameters | None = None


class TokenClassificationRequest(Request):
    """A text, or several."""

    inputs: String | _Strings = Field(examples=["Imatinib is given for chronic myeloid leukaemia."])
    parameters: TokenClassificationParameters | None = None


class Pair(Schema):
    """Two texts that are classified together."""

    text: String
    text_pair: String | None = None


class TextClassificationRequest(Request):
    """A text or a pair of texts, or several."""

    inputs: String | Pair | Annotated[list[String | Pair], Field(min_length=1, fail_fast=True)] = Field(
        examples=["Imatinib inhibits BCR-ABL."]
    )
    parameters: TextClassificationParameters | None = None


class FeatureExtractionRequest(Request, FeatureExtractionParameters):
    """A text, or several; parameters may stand beside the inputs or in `parameters`."""

    inputs: String | _Strings = Field(examples=["Imatinib inhibits BCR-ABL."])
    parameters: FeatureExtractionParameters | None = None


TaskRequest = FillMaskRequest | TokenClassificationRequest | TextClassificationRequest | FeatureExtractionRequest


class FilledPiece(Schema):
    """An answer for a mask."""

    score: float = Field(description="Probability.")
    token: int = Field(description="Id of the word piece.")
    token_str: str
    sequence: str = Field(description="The text with the mask filled.")
    tokens: list[int] | None = Field(None, description="Ids of all pieces, where a target has several.")
    log_probability: float | None = Field(None, description="The sum over these, in nats.")


FillMaskAnswer = list[FilledPiece] | list[list[FilledPiece]] | list[list[FilledPiece] | list[list[FilledPiece]]]


class Entity(Schema):
    """An entity, or for the strategy "none" a word piece with its label."""

    entity_group: str | None = None
    entity: str | None = None
    index: int | None = None
    score: float
    word: str
    start: int
    end: int


TokenClassificationAnswer = list[Entity] | list[list[Entity]]


class Label(Schema):
    """A label and its score."""

    label: str
    score: float


TextClassificationAnswer = list[list[Label]]
FeatureExtractionAnswer = list[list[float]] | list[list[list[float]]]


class Error(Schema):
    """Why there is no answer."""

    error: str = Field(description="One sentence: what is wrong and what would be right.")


REFUSALS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Error, "description": "The request cannot be answered as it is."},
    500: {"model": Error, "description": "A fault of the service."},
    503: {"model": Error, "description": "The model's process ended and is started again; or the service ends."},
    504: {"model": Error, "description": "There was no answer in time."},
}
"""What any request may be answered with."""
REFUSED: dict[int | str, dict[str, Any]] = {"4XX": REFUSALS["4XX"]}
"""What one that computes nothing may be."""


class ModelAbout(Schema):
    """A model that is served."""

    name: str
    tasks: list[str] = Field(description="The first is the model's own.")
    engine: str
    labels: list[str]
    max_tokens: int | None = Field(description="The longest text in word pieces; null where any length is read.")


class Health(Schema):
    """Whether all models answer."""

    status: Literal["ready", "starting"]
    models: dict[str, bool]
