"""The life of the service: its address, its models, its end."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import math
import re
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import uvicorn

from pubmedbert.errors import InputError
from pubmedbert.serve.app import create_app
from pubmedbert.serve.connection import Untaken, timed
from pubmedbert.serve.limits import Limits
from pubmedbert.serve.metrics import Metrics
from pubmedbert.serve.process import Loading
from pubmedbert.serve.served import ServedModel

log = logging.getLogger("pubmedbert.serve")

_LONGEST_HEAD = 1 << 19
"""Bytes of a request's line and headers: the explorer's addresses hold the sentence."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is served, and to whom."""

    models: Mapping[str, Loading]
    limits: Limits
    host: str
    """The name that it listens at."""
    key: str | None = None
    """The API key; None where none is asked for."""
    origins: Sequence[str] = ()
    """Web origins whose pages may call the service."""
    indexes: Sequence[str] = ()
    """Folders of indexes; each was made with a model that is served."""
    tagger: str | None = None
    """The name of the model that labels what is found in them."""


async def run(settings: Settings, listening: socket.socket) -> None:
    """Load the models, answer until SIGTERM or SIGINT, finish what was accepted; before there is any, end at once.

    Raises:
        InputError: a model cannot be loaded, an index is of none of them, or the address cannot be listened at.
    """
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    # uvicorn has its own way with signals once it listens.
    with _signals(lambda *_: loop.call_soon_threadsafe(task.cancel)), suppress(asyncio.CancelledError):
        await _serve(settings, listening)
    log.info("ended")


async def _serve(settings: Settings, listening: socket.socket) -> None:
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        models = [
            await stack.enter_async_context(ServedModel(name, loading, settings.limits, metrics).started())
            for name, loading in settings.models.items()
        ]
        _check_indexes(settings.indexes, models)
        address, port = listening.getsockname()[:2]
        url = f"http://{_in_url(address)}:{port}"
        local = ipaddress.ip_address(address).is_loopback
        if settings.key is None and not local:
            log.warning(
                "other machines can reach this service and it asks for no key; set PUBMEDBERT_API_KEY or --api-key-file"
            )
        hosts = _own_names(settings, address) if settings.key is None and local else None
        untaken = Untaken()
        app = create_app(
            *(models, settings.limits, metrics),
            key=settings.key,
            origins=settings.origins,
            hosts=hosts,
            tagger=settings.tagger,
            untaken=untaken,
        )
        config = uvicorn.Config(
            app,
            http=timed(settings.limits.body_seconds, settings.limits.connections, untaken),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            h11_max_incomplete_event_size=_LONGEST_HEAD,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=math.ceil(max(settings.limits.drain_seconds, settings.limits.seconds)),
        )
        server = _Server(config, {"url": url, "models": [*settings.models]})
        try:
            await server.serve([listening])
        except OSError as error:
            raise _not_listening(settings.host, port, error) from error


def _check_indexes(indexes: Sequence[str], models: Sequence[ServedModel]) -> None:
    searched = {model.about["explore"]["index_folder"] for model in models}
    for index in indexes:
        if index not in searched:
            raise InputError(
                f"--index {index} was made with none of the models that are served; name the one it was made with by "
                "--model, or make an index for another with: pubmedbert explore index"
            )


def _own_names(settings: Settings, address: str) -> set[str]:
    """What `Host` may say to a service for this machine alone: other names are those of web pages that play it."""
    named = {urlsplit(origin).hostname or "" for origin in settings.origins} | {settings.host.lower(), address}
    return {"localhost", "127.0.0.1", "[::1]", *map(_in_url, named)} - {""}


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


class _Server(uvicorn.Server):
    """uvicorn's server; a signal that was obeyed is not raised again, so that an orderly end has exit code 0.

    Args:
        config: of uvicorn.
        about: what the log says when connections are accepted.
    """

    def __init__(self, config: uvicorn.Config, about: Mapping[str, object]) -> None:
        super().__init__(config)
        self._about = about

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        log.info("ready", extra={"fields": self._about})

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take the signals over for as long as the context lasts."""
        with _signals(self.handle_exit):
            yield


@contextmanager
def _signals(obey: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Have SIGINT and SIGTERM obeyed so for as long as the context lasts."""
    before = {number: signal.signal(number, obey) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at the address, before anything slow is done: who calls meanwhile waits.

    A second service could bind the address, too, as long as this one did not listen.

    Raises:
        InputError: the address cannot be had.
    """
    if not 0 <= port < 1 << 16:
        raise InputError(f"cannot listen at port {port}; --port must be from 0 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            bound.listen()
        except OSError:
            bound.close()
            raise
    except (OSError, UnicodeError) as error:
        raise _not_listening(host, port, error) from error
    return bound


def _not_listening(host: str, port: int, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or str(error)
    return InputError(f"cannot listen at {host}, port {port}: {reason}; choose others by --host, --port")


def named(given: Sequence[str]) -> dict[str, str]:
    """Names and models from `MODEL` or `NAME=MODEL`, in their order.

    Raises:
        InputError: a name is odd, or stands for two models.
    """
    models: dict[str, str] = {}
    for text in given:
        name, equals, model = text.partition("=")
        if not equals or Path(text).exists():
            name, model = Path(text).resolve().name if Path(text).exists() else text.split("@")[0].split("/")[-1], text
        if not _NAME.fullmatch(name):
            raise InputError(f"--model {text}: {name!r} is no name; write NAME=MODEL with letters, digits, ., _ and -")
        if name in models:
            raise InputError(f"--model {text}: there is a model {name!r} already; write NAME=MODEL with another name")
        models[name] = model
    return models


def origins(given: Sequence[str]) -> tuple[str, ...]:
    """Web origins as browsers send them.

    Raises:
        InputError: one is no scheme and host.
    """
    for text in given:
        try:
            parts = urlsplit(text)
            right = parts.scheme in ("http", "https") and text == f"{parts.scheme}://{parts.netloc}" and parts.hostname
        except ValueError:  # brackets that are not those of an address
            right = None
        if not right:
            raise InputError(f"--allow-origin {text}: write an origin as browsers send it, such as https://example.org")
    return tuple(given)


def api_key(file: Path | None, variable: str | None) -> str | None:
    """The key to ask for, from a file or from the environment.

    Raises:
        InputError: the file cannot be read, or the key is empty or has spaces or other than ASCII letters in it.
    """
    try:
        key = variable if file is None else file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the API key from {file}: {getattr(error, 'strerror', None) or error}") from error
    if key is not None and not re.fullmatch(r"[!-~]+", key):
        raise InputError(f"the API key in {file or 'PUBMEDBERT_API_KEY'} must be one word of ASCII characters")
    return key
