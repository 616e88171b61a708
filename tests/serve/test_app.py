"""Who may call, and what the application says when it fails itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from pubmedbert.errors import InputError
from pubmedbert.serve.limits import Limits
from pubmedbert.serve.server import api_key, listen, named
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
    for path in ("/metrics", "/models"):
        assert call(app, "GET", path).status_code == 401
    for path in ("/health", "/", "/docs", "/page/main.js", "/openapi.json"):
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
    assert "access-control-allow-origin" not in other.headers


def test_a_fault_is_one_sentence() -> None:
    response = call(small_app(), "POST", "/fill-mask", json={"inputs": "fault"})
    assert response.status_code == 500
    assert response.json() == {"error": "a fault of the service; its log says more"}
    assert len(response.headers["x-request-id"]) == 32


def test_any_content_type_is_read_as_json() -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}  # what `curl -d` says
    assert call(small_app(), "POST", "/", content='{"inputs": "[MASK]"}', headers=headers).status_code == 200


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


def test_limits_are_above_zero() -> None:
    with pytest.raises(InputError, match="limit queue must be above 0"):
        Limits(queue=0)
