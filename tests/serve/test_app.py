"""Who may call, and what the application says when it fails itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from pydantic import ValidationError

from pubmedbert.errors import InputError
from pubmedbert.serve import schemas, server
from pubmedbert.serve.limits import Limits
from pubmedbert.serve.metrics import Metrics
from pubmedbert.serve.process import Loading
from pubmedbert.serve.served import ServedModel
from pubmedbert.serve.server import Settings, _own_names, api_key, listen, named, origins
from tests.serve.small import Echo, small_app

REQUEST = {"inputs": "[MASK]"}


def call(app: Any, method: str, path: str, **options: Any) -> httpx.Response:
    async def inside() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.request(method, path, **options)

    return asyncio.run(inside())


def test_the_key_is_asked_for() -> None:
    app = small_app(key="s3cret")
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "s3cret"}, {"Authorization": "Bearer ü"}):
        given = {name: value.encode() for name, value in headers.items()}
        response = call(app, "POST", "/fill-mask", json=REQUEST, headers=given)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert "API key" in response.json()["error"]
    for path in ("/metrics", "/models", "/explore/models", "/explore/state"):
        assert call(app, "GET", path).status_code == 401
    for path in ("/health", "/", "/explore", "/docs", "/page/main.js", "/openapi.json"):
        assert call(app, "GET", path).status_code == 200
    right = {"Authorization": "Bearer s3cret"}
    assert call(app, "POST", "/fill-mask", json=REQUEST, headers=right).status_code == 200
    assert "securitySchemes" in call(app, "GET", "/openapi.json").json()["components"]


def test_origins_that_are_named_may_call() -> None:
    app = small_app(origins=["https://lab.example"])
    headers = {"Origin": "https://lab.example", "Access-Control-Request-Method": "POST"}
    asked = call(app, "OPTIONS", "/fill-mask", headers=headers)
    assert asked.headers["access-control-allow-origin"] == "https://lab.example"
    refused = call(app, "POST", "/fill-mask", json={}, headers={"Origin": "https://lab.example"})
    assert refused.status_code == 400
    assert refused.headers["access-control-allow-origin"] == "https://lab.example"
    other = call(app, "POST", "/fill-mask", json=REQUEST, headers={"Origin": "https://other.example"})
    assert other.status_code == 403
    assert "access-control-allow-origin" not in other.headers


def test_pages_of_others_may_not_call() -> None:
    app = small_app()
    for origin in ("https://other.example", "null", "http://service:8001", "http://service.example", ""):
        form = {"Origin": origin, "Content-Type": "text/plain"}  # what a browser sends without asking first
        response = call(app, "POST", "/fill-mask", json=REQUEST, headers=form)
        assert response.status_code == 403
        assert "--allow-origin" in response.json()["error"]
        assert call(app, "OPTIONS", "/fill-mask", headers=form).status_code == 403
    for origin in ("http://service", "https://SERVICE"):  # its own page, directly or behind a proxy
        assert call(app, "POST", "/fill-mask", json=REQUEST, headers={"Origin": origin}).status_code == 200


def test_names_that_lead_here_are_not_its_own() -> None:
    app = small_app(hosts={"localhost", "127.0.0.1", "[::1]"})
    for host, status in (
        ("localhost:8000", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8000", 200),
        ("[::1]", 200),
        ("rebound.example:8000", 403),
        ("localhost.rebound.example", 403),
        ("", 403),
    ):
        own = {"Host": host, "Origin": f"http://{host}"}
        assert call(app, "POST", "/fill-mask", json=REQUEST, headers=own).status_code == status
    assert call(app, "GET", "/health", headers={"Host": "rebound.example"}).status_code == 403


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"inputs": "[MASK]" + "a" * 64 * 64}, "a text has 4,102 characters; this model is sent at most 4,096"),
        ({"inputs": "[MASK]", "parameters": {"targets": ["a" * 9000]}}, "targets has 9,000 characters in all"),
        ({"inputs": "[MASK]", "parameters": {"targets": "a" * 9000}}, "targets has 9,000 characters in all"),
        ({"inputs": ["[MASK]"], "parameters": {"targets": ["a"] * 65}}, "targets has 65 words"),
    ],
)
def test_long_parts_are_refused(body: object, sentence: str) -> None:
    response = call(small_app(), "POST", "/fill-mask", json=body)
    assert response.status_code == 400
    assert sentence in response.json()["error"]


def test_texts_that_are_cut_may_be_longer() -> None:
    body = {"inputs": "a " * 10_000, "truncate": True}
    assert call(small_app(), "POST", "/feature-extraction", json=body).status_code == 200
    assert call(small_app(), "POST", "/feature-extraction", json=body | {"truncate": False}).status_code == 400


@pytest.mark.parametrize("element", [0, ["a"], {"text": 0}])
@pytest.mark.parametrize("schema", [schemas.FillMaskRequest, schemas.TextClassificationRequest])
def test_a_list_of_nonsense_is_read_to_its_first_fault(schema: type[schemas.Request], element: object) -> None:
    with pytest.raises(ValidationError) as caught:
        schema.model_validate({"inputs": [element] * 100_000})
    assert caught.value.error_count() < 10


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ('{"inputs": "[MASK]", "parameters": {"top_k": %s}}' % ("1" * 4000), "top_k should be less than or equal to 1"),
        ('{"inputs": "[MASK]", "parameters": {"top_k": %s}}' % ("1" * 5000), "or of digits in a number"),
        ('{"inputs": "[MASK]", "%s": 1}' % ("k" * 5000), f"there is no field {'k' * 100}; "),
        ('{"inputs": "[MASK]", "parameters": {"\\ud800": 1}}', "there is no field parameters.\\ud800; "),
        ('{"inputs": "[MASK]", "\\ud800": 1}', "there is no field \\ud800; "),
    ],
)
def test_what_is_wrong_is_named_rightly_and_shortly(body: str, sentence: str) -> None:
    response = call(small_app(), "POST", "/fill-mask", content=body)
    assert response.status_code == 400
    assert sentence in response.json()["error"]
    assert len(response.content) < 300


@pytest.mark.parametrize("place", ["/", "/parameters/"])
def test_unknown_fields_are_read_to_the_first(place: str) -> None:
    many: dict[str, object] = {f"field{number}": 1 for number in range(10_000)}
    given = many if place == "/" else {"inputs": "[MASK]", "parameters": many}
    with pytest.raises(ValidationError) as caught:
        schemas.FillMaskRequest.model_validate(given)
    assert caught.value.error_count() == 1


def test_many_headers_are_refused() -> None:
    app = small_app(headers=20)
    for count, status in ((10, 200), (30, 431)):
        headers = {f"x-{number}": "a" for number in range(count)}
        response = call(app, "POST", "/fill-mask", json=REQUEST, headers=headers)
        assert response.status_code == status
    assert response.json() == {"error": "a request may have 20 headers; send fewer"}


@pytest.mark.parametrize("path", ["/fill-mask/", "/models/", "/health/", "/page"])
def test_no_address_leads_elsewhere(path: str) -> None:
    response = call(small_app(), "GET", path, headers={"Host": "elsewhere.example"})
    assert response.status_code == 404
    assert "there is nothing at this address" in response.json()["error"]


def test_head_is_answered_where_get_is() -> None:
    app = small_app()
    for path in ("/", "/explore", "/docs", "/page/main.js", "/openapi.json", "/health", "/models", "/metrics"):
        head, got = call(app, "HEAD", path), call(app, "GET", path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == got.headers["content-type"]
    assert call(app, "HEAD", "/exbert").status_code == 307
    described = call(app, "GET", "/openapi.json").json()["paths"]
    assert not any("head" in methods for methods in described.values())


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/", "GET, HEAD, POST"), ("/health", "GET, HEAD"), ("/fill-mask", "POST"), ("/page/health", "GET, HEAD")],
)
def test_all_methods_of_an_address_are_named(path: str, allowed: str) -> None:
    response = call(small_app(), "PUT", path)
    assert (response.status_code, response.headers["allow"]) == (405, allowed)
    assert response.json() == {"error": f"PUT is not answered at this address; send {allowed}"}
    assert len(call(small_app(), "P" * 5000, path).content) < 200


@pytest.mark.parametrize("part", ["bytes=0-9", "bytes=999999999-", "nonsense", "bytes=9-0"])
def test_the_page_is_given_whole(part: str) -> None:
    for path in ("/", "/page/main.js"):
        whole = call(small_app(), "GET", path)
        response = call(small_app(), "GET", path, headers={"Range": part})
        assert (response.status_code, response.content) == (200, whole.content)


def test_what_is_refused_is_counted_by_its_task(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "pubmedbert.serve")
    large = {"inputs": "[MASK]" * 1000}
    explored = {"task": "explore/view"}
    filled = {"task": "fill-mask", "model": "echo"}
    for path, options, status, about in (
        ("/fill-mask", {"json": {}}, 400, filled),
        ("/models/echo", {"json": large}, 413, filled),
        ("/models/echo/pipeline/feature-extraction", {"json": {}}, 400, filled | {"task": "feature-extraction"}),
        ("/", {"json": REQUEST, "headers": {"Origin": "https://other.example"}}, 403, filled),
        ("/explore/view", {"json": {}}, 400, explored),
        ("/nothing", {"json": {}}, 404, {"task": "other"}),
    ):
        caplog.clear()
        response = call(small_app(body_bytes=1000), "POST", path, **options)
        assert response.status_code == status
        (line,) = [record.fields for record in caplog.records]  # type: ignore[attr-defined]
        assert {key: line.get(key) for key in ("task", "model")} == {"model": None} | about
    caplog.clear()
    assert call(small_app(key="s3cret"), "POST", "/explore/view", json={"text": "a"}).status_code == 401
    assert caplog.records[0].fields["task"] == "explore/view"  # type: ignore[attr-defined]


def test_a_fault_is_one_sentence() -> None:
    response = call(small_app(), "POST", "/fill-mask", json={"inputs": "fault"})
    assert response.status_code == 500
    assert response.json() == {"error": "a fault of the service; its log says more"}
    assert len(response.headers["x-request-id"]) == 32


def test_any_content_type_is_read_as_json() -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}  # what `curl -d` says
    assert call(small_app(), "POST", "/", content='{"inputs": "[MASK]"}', headers=headers).status_code == 200


def test_origins_are_what_browsers_send() -> None:
    assert origins(["https://lab.example", "http://localhost:8080"]) == ("https://lab.example", "http://localhost:8080")
    for wrong in ("lab.example", "https://lab.example/", "https://lab.example/page", "*", "ftp://lab.example"):
        with pytest.raises(InputError, match="--allow-origin"):
            origins([wrong])


def test_models_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "a=b"
    folder.mkdir()
    assert named(["bundled", "lab/BERT-base@main", f"own={folder}"]) == {
        "bundled": "bundled",
        "BERT-base": "lab/BERT-base@main",
        "own": str(folder),
    }
    for given, sentence in (
        (["bundled", "bundled"], "already"),
        (["a b=bundled"], "is no name"),
        ([str(folder)], "is no name"),
    ):
        with pytest.raises(InputError, match=sentence):
            named(given)


def test_keys_are_read(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("abc\n")
    assert api_key(file, "other") == "abc"
    assert api_key(None, "other") == "other"
    assert api_key(None, None) is None
    file.write_text("two words")
    for where, variable in ((file, None), (None, ""), (tmp_path / "none", None)):
        with pytest.raises(InputError, match="key"):
            api_key(where, variable)


def test_an_address_that_is_taken_is_told() -> None:
    first = listen("127.0.0.1", 0)
    first.listen()
    with pytest.raises(InputError, match="cannot listen at 127"):
        listen("127.0.0.1", first.getsockname()[1])
    first.close()
    for host, port in (("no.such.host.invalid", 1), ("127.0.0.1", 99999)):
        with pytest.raises(InputError, match="cannot listen"):
            listen(host, port)


def test_a_local_service_knows_its_names() -> None:
    settings = Settings(models={}, limits=Limits(), host="MyHost", origins=("https://lab.example:8443", "null"))
    others = {"localhost", "127.0.0.1", "[::1]", "lab.example"}
    assert _own_names(settings, "127.0.1.1") == others | {"myhost", "127.0.1.1"}
    assert "[::2]" in _own_names(Settings(models={}, limits=Limits(), host="::2"), "::2")


def test_an_address_is_had_by_one() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(InputError, match=f"cannot listen at 127.0.0.1, port {port}: Address already in use"):
            listen("127.0.0.1", port)


def test_an_address_that_is_lost_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ready(Echo):
        def __init__(self, name: str, loading: Loading, limits: Limits, metrics: Metrics) -> None:
            super().__init__(limits, metrics)
            self.about["explore"] = {"index_folder": None}

        @asynccontextmanager
        async def started(self) -> AsyncIterator[ServedModel]:
            yield self

    async def lost(*_: object, **__: object) -> None:
        raise OSError(98, "Address already in use")

    monkeypatch.setattr(server, "ServedModel", Ready)
    monkeypatch.setattr(uvicorn.Server, "startup", lost)
    settings = Settings(models={"echo": Loading(model="echo")}, limits=Limits(), host="127.0.0.1")
    with (
        listen("127.0.0.1", 0) as listening,
        pytest.raises(InputError, match=r"cannot listen at 127.0.0.1, port \d+: Address already in use"),
    ):
        asyncio.run(server.run(settings, listening))


def test_limits_are_above_zero() -> None:
    with pytest.raises(InputError, match="limit queue must be above 0"):
        Limits(queue=0)
