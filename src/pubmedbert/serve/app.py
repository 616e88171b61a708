"""The routes: the tasks of each model, its health and metrics, and the page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

from fastapi import FastAPI, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match

from pubmedbert import __version__
from pubmedbert.errors import meant
from pubmedbert.serve import schemas
from pubmedbert.serve.explorer import add_explorer
from pubmedbert.serve.limits import Limits, RefusalError
from pubmedbert.serve.metrics import Metrics
from pubmedbert.serve.middleware import Address, Bounded, Guarded, Observed, Uncrowded
from pubmedbert.serve.served import ServedModel
from pubmedbert.serve.waiting import LeftError, unread, while_awaited
from pubmedbert.serve.weighing import Text

PAGE = Path(__file__).parent / "page"

_TASKS: dict[str, tuple[type[schemas.Request], Any]] = {
    "fill-mask": (schemas.FillMaskRequest, schemas.FillMaskAnswer),
    "token-classification": (schemas.TokenClassificationRequest, schemas.TokenClassificationAnswer),
    "text-classification": (schemas.TextClassificationRequest, schemas.TextClassificationAnswer),
    "feature-extraction": (schemas.FeatureExtractionRequest, schemas.FeatureExtractionAnswer),
}
_ONE_BARE = ("fill-mask", "token-classification")
"""Tasks that answer a single text without a list around it, as the specifications have it."""


def create_app(
    models: Sequence[ServedModel],
    limits: Limits,
    metrics: Metrics,
    *,
    key: str | None = None,
    origins: Collection[str] = (),
    hosts: Collection[str] | None = None,
    tagger: str | None = None,
    untaken: Callable[[], int] = lambda: 0,
) -> FastAPI:
    """The application.

    Args:
        models: at least one, started; the first with a task answers `POST /{task}`.
        limits: what a request may ask.
        metrics: what /metrics shows.
        key: asked of every request but for the page and /health; None for none.
        origins: web origins whose pages may call the service; none but its own unless named.
        hosts: names by which the service may be called; None for any.
        tagger: the name of the model that labels what the explorer finds; None where there is none.
        untaken: how many bytes of answers clients have yet to take.
    """
    app = FastAPI(
        title="pubmedbert",
        version=__version__,
        description="The task APIs of Hugging Face for biomedical encoders.",
        docs_url=None,  # the usual page loads scripts from other hosts
        redoc_url=None,
        redirect_slashes=False,  # a redirect would name the host that a request claims, by http
        dependencies=[Security(HTTPBearer(auto_error=False))] if key else [],
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    known = _add_tasks(app, models, limits)
    _add_state(app, models, metrics)
    known |= add_explorer(app, models, limits, tagger)
    _add_page(app)
    _add_heads(app)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, partial(_unknown, models))
    app.add_exception_handler(LeftError, unread)
    # The last one added is the outermost.
    app.add_middleware(Uncrowded, limits=limits, untaken=untaken)
    app.add_middleware(Bounded, limits=limits)
    app.add_middleware(Guarded, key=key, origins=origins, hosts=hosts)
    app.add_middleware(Observed, metrics=metrics, known=known)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-Request-ID"],
            expose_headers=["X-Request-ID", "Retry-After"],
        )
    return app


def _add_tasks(app: FastAPI, models: Sequence[ServedModel], limits: Limits) -> dict[Address, dict[str, object]]:
    """The routes that compute, and what the log says of each.

    Models are known beforehand, so each has routes, and schemas, of its own.
    """
    paths: dict[str, tuple[ServedModel, str]] = {}
    for task in _TASKS:
        able = [model for model in models if task in model.tasks]
        if able:
            paths[f"/{task}"] = (able[0], task)
    for model in models:
        paths[f"/models/{model.name}"] = (model, model.tasks[0])
        paths |= {f"/models/{model.name}/pipeline/{task}": (model, task) for task in model.tasks}
    paths["/"] = (models[0], models[0].tasks[0])
    for path, (model, task) in paths.items():
        schema, answer = _TASKS[task]
        app.post(
            path,
            summary=f"{task} by {model.name}",
            operation_id=f"{task} at {path}",
            response_model=answer,
            responses=schemas.REFUSALS,
        )(_endpoint(model, task, schema, limits))
    return {("POST", path): {"task": task, "model": model.name} for path, (model, task) in paths.items()}


def _endpoint(
    model: ServedModel, task: str, schema: type[schemas.Request], limits: Limits
) -> Callable[..., Awaitable[Response]]:
    """What answers at one path."""

    async def endpoint(request: Request, body: Any) -> Response:
        texts, bare = _texts(body.inputs)
        request.state.about["texts"] = len(texts)
        parameters = _parameters(body)
        _check(texts, parameters, model, limits)
        answers = await while_awaited(request, model.answer(task, texts, parameters))
        # As transformers' pipelines have it, and so the hosted API: see `pubmedbert.infer.masks.fill_mask.api_form`.
        single = task in _ONE_BARE and (bare or (task == "fill-mask" and len(answers) == 1))
        return Response(answers[0] if single else b"[" + b",".join(answers) + b"]", media_type="application/json")

    endpoint.__annotations__["body"] = schema
    endpoint.__doc__ = schema.__doc__
    return endpoint


def _texts(inputs: Any) -> tuple[list[Text], bool]:
    """The texts of a request, and whether it is one that stands for itself."""
    given = inputs if isinstance(inputs, list) else [inputs]
    texts = [Text(one) if isinstance(one, str) else Text(one.text, one.text_pair) for one in given]
    return texts, not isinstance(inputs, list)


def _parameters(body: Any) -> dict[str, Any]:
    """What was chosen, wherever it stands."""
    beside: dict[str, Any] = body.model_dump(exclude={"inputs", "parameters", "options"}, exclude_none=True)
    return beside | ({} if body.parameters is None else body.parameters.model_dump(exclude_none=True))


def _check(texts: Sequence[Text], parameters: Mapping[str, Any], model: ServedModel, limits: Limits) -> None:
    """Refuse what is more than the service gives."""
    if len(texts) > limits.inputs:
        raise RefusalError(400, f"inputs has {len(texts)} texts; this service reads at most {limits.inputs} at once")
    pairs = model.about["pairs"]
    if pairs is False and any(text.pair is not None for text in texts):
        raise RefusalError(400, "this model reads one text at a time, not a pair; leave text_pair out")
    if pairs and any(text.pair is None for text in texts):
        raise RefusalError(400, 'this model reads pairs; send {"inputs": {"text": "...", "text_pair": "..."}}')
    read_whole = model.about["max_tokens"] is None or parameters.get("truncate")
    most = limits.piece_characters * (limits.tokens if read_whole else model.about["max_tokens"])
    longest = max(len(part) for text in texts for part in text.parts)
    if longest > most:
        raise RefusalError(400, f"a text has {longest:,} characters; this model is sent at most {most:,}")
    targets = parameters.get("targets")
    if isinstance(targets, list) and len(targets) > limits.targets:
        raise RefusalError(400, f"targets has {len(targets)} words; this service compares at most {limits.targets}")
    for name in ("targets", "ignore_labels"):
        characters = sum(map(len, parameters.get(name, ())))
        if characters > limits.parameter_characters:
            most = limits.parameter_characters
            raise RefusalError(400, f"{name} has {characters:,} characters in all; this service reads at most {most:,}")
    if model.tasks[0] == "fill-mask" and parameters.get("top_k", 1) > limits.top_k:
        raise RefusalError(400, f"top_k is {parameters['top_k']}; this service answers at most {limits.top_k}")


def _add_state(app: FastAPI, models: Sequence[ServedModel], metrics: Metrics) -> None:
    @app.get("/health", summary="Health", response_model=schemas.Health, responses={503: {"model": schemas.Health}})
    async def health() -> Response:
        """Whether every model has a process that has computed once."""
        ready = {model.name: model.ready for model in models}
        status = "ready" if all(ready.values()) else "starting"
        return JSONResponse({"status": status, "models": ready}, 200 if status == "ready" else 503)

    @app.get("/models", summary="Models", responses=schemas.REFUSED)
    async def known() -> list[schemas.ModelAbout]:
        """The models of this service; the first is the default."""
        fields = schemas.ModelAbout.model_fields
        return [
            schemas.ModelAbout.model_validate(
                {"name": model.name} | {key: value for key, value in model.about.items() if key in fields}
            )
            for model in models
        ]

    plain: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}

    @app.get("/metrics", summary="Metrics", responses=plain | schemas.REFUSED, response_class=Response)
    async def counted() -> Response:
        """What Prometheus reads."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_page(app: FastAPI) -> None:
    app.mount("/page", StaticFiles(directory=PAGE))
    for path, name in {"/": "index.html", "/explore": "index.html", "/docs": "docs.html"}.items():
        app.get(path, include_in_schema=False)(_file(PAGE / name))


def _add_heads(app: FastAPI) -> None:
    """HEAD wherever there is GET; FastAPI leaves it out, and /docs need not list it."""
    for route in [*app.routes]:
        if isinstance(route, APIRoute) and "GET" in (route.methods or ()):
            app.add_api_route(route.path, route.endpoint, methods=["HEAD"], include_in_schema=False)


def _file(path: Path) -> Callable[[], Awaitable[FileResponse]]:
    async def file() -> FileResponse:
        return FileResponse(path)

    return file


async def _invalid(request: Request, error: Exception) -> Response:
    """A body that is no request: the first thing that is wrong with it."""
    assert isinstance(error, RequestValidationError)
    errors = error.errors()
    first = next((one for one in errors if _misnamed(one)), errors[0])  # what is missing is then called otherwise
    parts = [str(part) for part in first["loc"][1:]]
    place = ".".join(part for part in parts if "[" not in part)  # those are names of types
    if first["type"] == "json_invalid":
        return _refused(request, f"the body is not JSON ({first['ctx']['error']}); send {_example(request)}")
    if _misnamed(first):
        name = first["ctx"]["name"]
        hint = meant(name, _fields(request, parts), "/docs says what is known at this address")
        return _refused(request, f"there is no field {'.'.join([*parts, name])}; {hint}")
    if place.startswith("inputs"):
        return _refused(request, "inputs must be a text of valid Unicode, or a list of at least one")
    if not place:
        return _refused(request, f"the body must be a JSON object, such as {_example(request)}")
    if first["type"] == "value_error":
        return _refused(request, f"{place} must be a text of valid Unicode")
    if first["type"] == "missing":
        return _refused(request, f"{place} is missing; /docs says what is asked for at this address")
    message = first["msg"].removeprefix("Input ").removeprefix("List ")
    return _refused(request, f"{place} {message[:1].lower()}{message[1:]}")


def _misnamed(error: Mapping[str, Any]) -> bool:
    """Whether a fault is a field that the schema does not have; a text is told as a whole."""
    return bool(error["type"] == schemas.MISNAMED and "inputs" not in error["loc"])


def _fields(request: Request, place: Sequence[str]) -> Iterable[str]:
    """The fields that there are at a place in the body of a request."""
    schema = request.scope["endpoint"].__annotations__["body"]
    for part in place:  # each a schema or None
        schema = get_args(schema.model_fields[part].annotation)[0]
    return list(schema.model_fields)


async def _unknown(models: Sequence[ServedModel], request: Request, error: Exception) -> Response:
    """What has no route, or a body that cannot be decoded."""
    assert isinstance(error, HTTPException)
    if error.status_code == 400:
        sentence = "the body is not JSON in UTF-8, or has thousands of levels, or of digits in a number"
        return _refused(request, f"{sentence}; send {_example(request)}")
    if error.status_code == 404:
        return _refused(request, _nothing(request.scope["path"], models), 404)
    allowed = _allowed(request) or "GET, HEAD"  # of a file of the page
    sentence = f"{request.method:.20} is not answered at this address; send {allowed}"
    return _refused(request, sentence, error.status_code, {"Allow": allowed})


def _allowed(request: Request) -> str:
    """The methods of all routes at the address of a request."""
    asked = {**request.scope, "root_path": request.scope.get("app_root_path", "")}  # not that of the page's files
    routes = [route for route in request.app.routes if route.matches(asked)[0] is not Match.NONE]
    return ", ".join(sorted({method for route in routes for method in getattr(route, "methods", ())}))


def _nothing(path: str, models: Sequence[ServedModel]) -> str:
    """What to say of an address that has no route."""
    parts = path.removeprefix("/").split("/")
    if parts[0] == "models" and len(parts) > 1 and parts[1]:
        model = next((model for model in models if model.name == parts[1]), None)
        if model is None:
            return f"no model {parts[1]!r:.100} is served; served are {', '.join(model.name for model in models)}"
        if parts[2:3] == ["pipeline"] and len(parts) == 4:
            return f"the model {model.name} has no task {parts[3]!r:.100}; it has {', '.join(model.tasks)}"
    return "there is nothing at this address; /docs says what there is"


def _example(request: Request) -> str:
    return '{"text": "..."}' if request.url.path.startswith("/explore/") else '{"inputs": "..."}'


def _refused(request: Request, sentence: str, status: int = 400, headers: Mapping[str, str] | None = None) -> Response:
    request.state.about["reason"] = "input"
    return JSONResponse({"error": sentence}, status, headers)
