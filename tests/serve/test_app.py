"""Who may call, and what the application says when it fails itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from pubmedbert.errors import InputError
from pubmedbert.serve import schemas
from pubmedbert.serve.limits import Limits
from pubmedbert.serve.server import Settings, _own_names, api_key, listen, named, origins
from tests.serve.small import small_app

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
    assert _own_names(settings) == {"localhost", "127.0.0.1", "[::1]", "myhost", "lab.example"}
    assert "[::2]" in _own_names(Settings(models={}, limits=Limits(), host="::2"))


def test_limits_are_above_zero() -> None:
    with pytest.raises(InputError, match="limit queue must be above 0"):
        Limits(queue=0)
