"""The routes of the explorer: what can be looked into, what a link shows, and what is computed of a text."""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Response

from pubmedbert.explore import link
from pubmedbert.serve import explorer_schemas, schemas
from pubmedbert.serve.limits import Limits, RefusalError
from pubmedbert.serve.middleware import Address
from pubmedbert.serve.served import ServedModel
from pubmedbert.serve.waiting import while_awaited
from pubmedbert.serve.weighing import NEIGHBOURS, OCCLUSION, ROLLOUT, VIEW, Text

_BYTES = "application/octet-stream"
_MAPS: dict[str, Any] = {_BYTES: {"schema": {"type": "string", "format": "binary"}}}
_TASKS: dict[str, tuple[type[explorer_schemas.ViewRequest], type[schemas.Schema] | None, str]] = {
    VIEW: (explorer_schemas.ViewRequest, None, "Attentions and predictions of a text"),
    ROLLOUT: (explorer_schemas.ViewRequest, None, "Attention rollout of a text"),
    OCCLUSION: (explorer_schemas.OcclusionRequest, explorer_schemas.Occlusion, "What hiding each word changes"),
    NEIGHBOURS: (explorer_schemas.NeighboursRequest, explorer_schemas.Neighbours, "Where the corpus has the like"),
}
_STATE = "explore/state"
_PARAMETERS = (
    *("model", "modelKind", "sentence", "sentenceB", "layer", "heads", "threshold", "tokenInd", "tokenSide"),
    *("maskInds", "hideClsSep", "method"),
)


def add_explorer(
    app: FastAPI, models: Sequence[ServedModel], limits: Limits, tagger: str | None
) -> dict[Address, dict[str, object]]:
    """Add the routes of the explorer, and say what the log says of each; its page is served with the others.

    Args:
        app: gets them.
        models: those that are served; the first is the default.
        limits: what a request may ask.
        tagger: the name of the model that labels what is found.
    """
    for task, (schema, answer, summary) in _TASKS.items():
        done: dict[str, Any] = {"content": _MAPS} if answer is None else {"model": answer}
        app.post(
            f"/{task}",
            summary=summary,
            operation_id=task,
            response_class=Response,
            responses={200: done, **schemas.REFUSALS},
        )(_endpoint(task, schema, models, limits, _BYTES if answer is None else "application/json"))
    _add_state(app, models, limits, tagger)
    for path in ("/exbert", "/exbert/", "/explore/"):
        app.get(path, include_in_schema=False)(_to_page)
    known = [*(("POST", task) for task in _TASKS), ("GET", _STATE)]
    return {(method, f"/{task}"): {"task": task} for method, task in known}


def _endpoint(
    task: str,
    schema: type[explorer_schemas.ViewRequest],
    models: Sequence[ServedModel],
    limits: Limits,
    media_type: str,
) -> Callable[..., Awaitable[Response]]:
    """What answers for a task."""

    async def endpoint(request: Request, body: Any) -> Response:
        request.state.about["texts"] = 1
        model = _chosen(body.model, models)
        request.state.about["model"] = model.name
        text = Text(body.text, body.text_b)
        _check(task, text, body, model, limits)
        parameters = body.model_dump(exclude={"model", "text", "text_b"})
        parameters |= {"name": model.name, "work": limits.work}
        (answer,) = await while_awaited(request, model.answer(task, [text], parameters))
        return Response(answer, media_type=media_type)

    endpoint.__annotations__["body"] = schema
    endpoint.__doc__ = schema.__doc__
    return endpoint


def _chosen(name: str | None, models: Sequence[ServedModel]) -> ServedModel:
    if name is None:
        return models[0]
    for model in models:
        if model.name == name:
            return model
    raise RefusalError(404, "no model of this name is served; GET /explore/models tells which are")


def _check(task: str, text: Text, body: Any, model: ServedModel, limits: Limits) -> None:
    """Refuse what is more than the service gives."""
    longest, most = max(map(len, text.parts)), _most_characters(model, limits)
    if longest > most:
        raise RefusalError(400, f"a text has {longest:,} characters; at most {most:,} are read for this model")
    if task != NEIGHBOURS:
        return
    if model.about["explore"]["index"] is None:
        raise RefusalError(
            404,
            f"there is no index of a corpus for the model {model.name}; make one with 'pubmedbert explore index' and "
            "name it by 'pubmedbert serve --index'",
        )
    if body.count > limits.neighbours:
        raise RefusalError(400, f"count is {body.count}; this service finds at most {limits.neighbours}")


def _most_characters(model: ServedModel, limits: Limits) -> int:
    """How long a text may be: longer than the row that is shown of it, by far, if it is of words."""
    tokens: int = model.about["explore"]["max_tokens"]
    return limits.piece_characters * tokens


def _add_state(app: FastAPI, models: Sequence[ServedModel], limits: Limits, tagger: str | None) -> None:
    @app.get("/explore/models", summary="Models to look into", responses=schemas.REFUSED)
    async def known() -> explorer_schemas.ExplorerAbout:
        """The models that can be looked into: all of this service."""
        fields = explorer_schemas.ExploredAbout.model_fields
        abouts = [
            {"name": model.name, "asked": model.asked}
            | {key: value for key, value in model.about["explore"].items() if key in fields}
            for model in models
        ]
        return explorer_schemas.ExplorerAbout.model_validate(
            {"default": models[0].name, "models": abouts, "tagger": tagger}
        )

    parameters = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in _PARAMETERS]

    @app.get(f"/{_STATE}", summary="Read a link", responses=schemas.REFUSED, openapi_extra={"parameters": parameters})
    async def state(request: Request) -> explorer_schemas.LinkRead:
        """What a link of the explorer, or of exBERT, shows. Nothing in a link is an error."""
        asked, notices = link.read(_query(request))
        model = _served(asked.model, models)
        if model is None:
            heads = asked.heads if asked.heads is not None else range(models[0].about["explore"]["heads"])
            return _read(replace(asked, heads=tuple(heads)), None, notices, _missing(asked.model, models[0]))
        shown, more = await _fitted(asked, model, _most_characters(model, limits))
        return _read(shown, model.name, [*notices, *more], None)


def _query(request: Request) -> str:
    query: bytes = request.scope["query_string"]
    return query.decode("utf-8", "replace")


def _read(
    state: link.State, name: str | None, notices: Sequence[str], missing: explorer_schemas.Missing | None
) -> explorer_schemas.LinkRead:
    shown = {**asdict(state), "asked": state.model, "model": name, "heads": list(state.heads or ())}
    shown["masks"] = list(state.masks)
    return explorer_schemas.LinkRead.model_validate({"state": shown, "notices": notices, "missing": missing})


async def _fitted(asked: link.State, model: ServedModel, most: int) -> tuple[link.State, list[str]]:
    """A state within what a model has, its sentences of so many characters, and a sentence on each change."""
    about, notices = model.about["explore"], []
    if asked.sentence_b is not None and not about["pairs"]:
        notices.append("this model reads one text at a time; the second sentence is left out")
        asked = replace(asked, sentence_b=None)
    if max(len(asked.sentence), len(asked.sentence_b or "")) > most:
        notices.append(f"the explorer reads at most {most:,} characters; what follows is left out")
        asked = replace(asked, sentence=asked.sentence[:most], sentence_b=asked.sentence_b and asked.sentence_b[:most])
    row = await model.row(Text(asked.sentence, asked.sentence_b))
    shown, more = link.fit(asked, layers=about["layers"], heads=about["heads"], tokens=len(row.tokens))
    return replace(shown, heads=tuple(range(about["heads"])) if shown.heads is None else shown.heads), [*notices, *more]


def _served(asked: str, models: Sequence[ServedModel]) -> ServedModel | None:
    """The model that a link names: by its name here, or by what the service was told.

    A folder that has the name of a hub model, but for the owner, is that model.
    """
    if not asked:
        return models[0]
    owner, slash, _ = asked.partition("/")
    tests: tuple[Callable[[ServedModel], bool], ...] = (
        lambda model: asked == model.name,
        lambda model: link.same_model(asked, model.asked) or link.same_model(asked, model.asked.partition("@")[0]),
        lambda model: bool(slash) and link.same_model(asked, f"{owner}/{model.name}") and Path(model.asked).is_dir(),
    )
    return next((model for test in tests for model in models if test(model)), None)


def _missing(asked: str, default: ServedModel) -> explorer_schemas.Missing:
    sentence = (
        f"The model {asked} is not served here; start a service of it by the command, or look at {default.name}. Where "
        f"the hub is out of reach, a folder with its files will do: --model {asked.rpartition('/')[2]}=FOLDER."
    )
    option = f"--model={asked}" if asked.startswith("-") else asked
    command = ["pubmedbert", "serve", *(["--model"] if option == asked else []), option]
    return explorer_schemas.Missing(sentence=sentence, command=shlex.join(command))


async def _to_page(request: Request) -> Response:
    """The page where exBERT was: the same link with another host works. Relative, as a proxy may put a path before."""
    up = "../" if request.scope["path"].endswith("/") else ""
    query = quote(request.scope["query_string"], safe="!$&'()*+,;=:@/?%-._~[]")
    return Response(status_code=307, headers={"Location": f"{up}explore{'?' if query else ''}{query}"})
