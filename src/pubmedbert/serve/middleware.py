"""What every request passes: an id, a log line and metrics, headers, the API key, and limits on its body."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import re
import time
import uuid
from collections.abc import Callable, Collection, Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pubmedbert.serve.limits import Limits, RefusalError
from pubmedbert.serve.metrics import Metrics

log = logging.getLogger("pubmedbert.serve")

Address = tuple[str, str]
"""A method and a path."""

_PORT = re.compile(r":\d+$", re.ASCII)
_SANE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}", re.ASCII)
_HEADERS = {
    # The page loads nothing but its own files, and nobody may frame it.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_LEFT = 499  # what logs and metrics say of a client that did not wait, by the custom of nginx
_ASKED_OFTEN = ("/health", "/metrics")  # by machines, every few seconds
_PAGES = ("/", "/explore", "/explore/", "/exbert", "/exbert/")
_OPEN = ("/health", "/docs", "/openapi.json", "/page/")
_LARGE = 1 << 16  # bytes of an answer that is looked at before it is sent


class Observed:
    """Gives a request its id, counts it and logs it, and turns what went wrong inside into an answer.

    Texts and answers are never logged. An `X-Request-ID` is taken over where it is a plain word. `known` has what the
    log says of an address, whatever becomes of the request.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, known: Mapping[Address, Mapping[str, object]]) -> None:
        self._app = app
        self._metrics = metrics
        self._known = known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        asked = Headers(scope=scope)
        given = asked.get("x-request-id", "")
        identity = given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex
        about = {"task": "other", **self._known.get((scope["method"], scope["path"]), {})}
        scope.setdefault("state", {})["about"] = about
        status = 0

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = identity
                if status >= 400 and "expect" in asked:
                    headers["Connection"] = "close"  # a client that has not sent its body yet need not send it now
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, observed)
        except RefusalError as refusal:
            about["reason"] = refusal.reason
            await refuse(refusal, observed)
        except asyncio.CancelledError:  # the service ends, and time is up
            about["reason"] = "end"
            if not status:
                sentence = "the service ends; ask again when it has started"
                await refuse(RefusalError(503, sentence, reason="end", retry_after=10), observed)
        except Exception:
            log.exception("a fault of the service", extra={"fields": {"request_id": identity}})
            if not status:
                await refuse(RefusalError(500, "a fault of the service; its log says more", reason="fault"), observed)
        finally:
            self._note(scope, about, identity, status, time.monotonic() - began)

    def _note(self, scope: Scope, about: dict[str, object], identity: str, status: int, seconds: float) -> None:
        task = str(about["task"])
        self._metrics.requests.labels(task, str(status or _LEFT)).inc()
        self._metrics.seconds.labels(task).observe(seconds)
        if "reason" in about:
            self._metrics.rejected.labels(str(about["reason"])).inc()
        fields = {
            "request_id": identity,
            "method": scope["method"],
            "path": scope["path"][:200],
            "status": status or _LEFT,
            "ms": round(1000 * seconds, 1),
        }
        level = logging.DEBUG if scope["path"] in _ASKED_OFTEN else logging.INFO
        log.log(level, "request", extra={"fields": fields | about})


class Guarded:
    """Keeps out the web pages of others, and asks for the API key, where there is one.

    A browser sends what any page asks it to, to services of its own machine, too; it says whose page it was (`Origin`).
    A page can also have the name of its own host lead here; then that name is in `Host`. The page of the service and
    /health can be read without the key.
    """

    def __init__(
        self, app: ASGIApp, key: str | None, origins: Collection[str] = (), hosts: Collection[str] | None = None
    ) -> None:
        self._app = app
        self._key = None if key is None else key.encode()
        self._origins = origins
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            self._check_page(headers)
            if self._key is not None and not _is_open(scope):
                self._check_key(headers, self._key)
        await self._app(scope, receive, send)

    def _check_page(self, headers: Headers) -> None:
        host = headers.get("host", "").lower()
        if self._hosts is not None and _PORT.sub("", host) not in self._hosts:
            known = ", ".join(sorted(self._hosts))
            raise RefusalError(403, f"without an API key this service is called by the names {known}", reason="host")
        origin = headers.get("origin")
        if origin is not None and origin not in self._origins and origin.lower().partition("://")[2] != host:
            sentence = "pages of other origins may not call this service; name this one by --allow-origin"
            raise RefusalError(403, sentence, reason="origin")

    @staticmethod
    def _check_key(headers: Headers, key: bytes) -> None:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode(), key)  # in constant time
        if scheme.lower() != "bearer" or not right:
            raise RefusalError(401, "send the API key of this service as 'Authorization: Bearer KEY'", reason="key")


class Bounded:
    """Reads the body of a request whole, within its limits, before anything else looks at it.

    A part of an answer is not given: what asks for one (`Range`) is answered whole.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if len(scope["headers"]) > self._limits.headers:
            raise RefusalError(431, f"a request may have {self._limits.headers} headers; send fewer", reason="headers")
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(_without(scope, b"range"), receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdigit() or int(length) > self._limits.body_bytes:
            raise self._too_large()
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                body = await self._read(receive)
        except TimeoutError as error:
            sentence = f"the body did not arrive within {self._limits.body_seconds:g} s"
            raise RefusalError(408, sentence, reason="slow") from error
        if body is None:
            return  # the client has gone
        pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replayed() -> Message:
            return pending.pop() if pending else await receive()

        await self._app(_as_json(scope), replayed, send)

    async def _read(self, receive: Receive) -> bytes | None:
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._limits.body_bytes:
                raise self._too_large()
            if not message.get("more_body"):
                return b"".join(parts)

    def _too_large(self) -> RefusalError:
        sentence = f"a request may have {self._limits.body_bytes:,} bytes; send fewer texts at once"
        return RefusalError(413, sentence, reason="body")


class Uncrowded:
    """Refuses large answers while clients have yet to take too much of others, so that memory is bounded."""

    def __init__(self, app: ASGIApp, limits: Limits, untaken: Callable[[], int]) -> None:
        self._app = app
        self._limits = limits
        self._untaken = untaken

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def checked(message: Message) -> None:
            if message["type"] == "http.response.start":
                size = int(Headers(raw=message["headers"]).get("content-length", "0"))
                if size > _LARGE and self._untaken() + size > self._limits.untaken_bytes:
                    sentence = "too much of other answers waits for its clients to take it; try again later"
                    raise RefusalError(503, sentence, reason="untaken", retry_after=1)
            await send(message)

        await self._app(scope, receive, checked)


async def refuse(refusal: RefusalError, send: Send) -> None:
    """Answer with a refusal."""
    body = json.dumps({"error": refusal.sentence}).encode()
    headers: Mapping[str, str] = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        # After other refusals what is left of a body is read and thrown away: to close on a client that still sends
        # would lose it the answer.
        **({"Connection": "close"} if refusal.status == 408 else {}),
        **refusal.headers,
    }
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _is_open(scope: Scope) -> bool:
    path = scope["path"]
    return scope["method"] in ("GET", "HEAD") and (path in _PAGES or path.startswith(_OPEN))


def _as_json(scope: Scope) -> Scope:
    """The scope of a request whose body is JSON, whatever its sender called it: `curl -d` says it is a form."""
    scope = _without(scope, b"content-type")
    return {**scope, "headers": [*scope["headers"], (b"content-type", b"application/json")]}


def _without(scope: Scope, header: bytes) -> Scope:
    return {**scope, "headers": [(name, value) for name, value in scope["headers"] if name != header]}
