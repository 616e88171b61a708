"""The API as clients see it: shapes, parameters, errors, the real client of the hub."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from pubmedbert import FillMask, Predictor
from tests.serve.conftest import Service
from tests.serve.test_faults import until

TEXT = "[MASK] is a tyrosine kinase inhibitor."
NOTE = "Imatinib is given for chronic myeloid leukaemia, and aspirin for pain."


def test_fill_mask_by_the_hub_client(service: Service, folders: dict[str, Path]) -> None:
    expected: Any = FillMask(folders["mask"])(TEXT, top_k=3)
    for address in ("/fill-mask", "/models/mask", "/models/mask/pipeline/fill-mask", ""):
        answers = InferenceClient(model=service.url + address).fill_mask(TEXT, top_k=3)
        assert [(answer.token, answer.token_str, answer.sequence) for answer in answers] == [
            (answer["token"], answer["token_str"], answer["sequence"]) for answer in expected
        ]
        assert np.allclose([answer.score for answer in answers], [answer["score"] for answer in expected], atol=1e-6)
    chosen = InferenceClient(base_url=service.url).fill_mask(TEXT, targets=["aspirin", "drug"])
    assert {answer.token_str for answer in chosen} == {"aspirin", "drug"}


def test_token_classification_by_the_hub_client(service: Service, folders: dict[str, Path]) -> None:
    client = InferenceClient(model=f"{service.url}/token-classification")
    found = client.token_classification(NOTE, aggregation_strategy="first")
    predicted: Any = Predictor(folders["tags"]).predict_texts([NOTE])[0]["entities"]
    assert found
    assert {(one.entity_group, one.start, one.end) for one in found} == {
        (one["entity"], one["start"], one["end"]) for one in predicted
    }
    pieces = client.token_classification(NOTE, aggregation_strategy="none")
    assert all(piece.entity and piece.entity != "O" and piece["index"] >= 1 for piece in pieces)
    assert client.token_classification(NOTE, aggregation_strategy="none", stride=2) == pieces
    kept = client.token_classification(NOTE, aggregation_strategy="none", ignore_labels=[])
    assert len(kept) >= len(pieces)
    grouped = client.token_classification(NOTE)
    assert all(one.entity_group for one in grouped)


def test_text_classification_by_the_hub_client(service: Service, folders: dict[str, Path]) -> None:
    client = InferenceClient(model=f"{service.url}/text-classification")
    predicted: Any = Predictor(folders["single"]).predict_texts([NOTE])[0]["scores"]
    answers = client.text_classification(NOTE)
    assert {answer.label: pytest.approx(answer.score, abs=1e-6) for answer in answers} == predicted
    assert [answer.score for answer in answers] == sorted((answer.score for answer in answers), reverse=True)
    assert len(client.text_classification(NOTE, top_k=1)) == 1
    sigmoid = client.text_classification(NOTE, function_to_apply="sigmoid")
    assert sum(answer.score for answer in sigmoid) != pytest.approx(1.0, abs=1e-3)


def test_feature_extraction_by_the_hub_client(service: Service) -> None:
    client = InferenceClient(model=f"{service.url}/models/encoder")
    vector = client.feature_extraction(NOTE)
    assert vector.shape == (1, 32)
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5)
    both = client.feature_extraction([NOTE, TEXT], normalize=False)  # type: ignore[arg-type,unused-ignore]
    assert both.shape == (2, 32)
    assert np.allclose(both[0] / np.linalg.norm(both[0]), vector[0], atol=1e-5)
    with pytest.raises(HfHubHTTPError):
        client.feature_extraction("a " * 100)
    assert client.feature_extraction("a " * 100, truncate=True).shape == (1, 32)


def test_feature_extraction_pooling(service: Service) -> None:
    request = {"inputs": "a drug", "parameters": {"pooling": "none"}}
    states = np.array(service.post("/models/encoder", request).json())
    assert states.shape == (1, 4, 32)
    for pooling, expected in (("mean", states[0].mean(axis=0)), ("cls", states[0, 0])):
        request = {"inputs": "a drug", "parameters": {"pooling": pooling, "normalize": False}}
        assert np.allclose(service.post("/models/encoder", request).json()[0], expected, atol=1e-6)
    right = {"inputs": "a " * 100, "truncate": True, "pooling": "none"}
    left = right | {"truncation_direction": "left"}
    assert len(service.post("/models/encoder", right).json()[0]) == len(service.post("/models/encoder", left).json()[0])


def test_lists_are_answered_as_transformers_answers_them(service: Service) -> None:
    one, two = "a [MASK] b", "[MASK] and [MASK]"
    single, double = (service.post("/fill-mask", {"inputs": text}).json() for text in (one, two))
    assert isinstance(single[0], dict)
    assert isinstance(double[0], list)
    assert [len(mask) for mask in double] == [5, 5]
    assert service.post("/fill-mask", {"inputs": [one]}).json() == single
    both = service.post("/fill-mask", {"inputs": [one, two]}).json()
    assert [len(answer) for answer in both] == [5, 2]
    entities = service.post("/token-classification", {"inputs": NOTE}).json()
    assert service.post("/token-classification", {"inputs": [NOTE]}).json() == [entities]
    labels = service.post("/text-classification", {"inputs": NOTE}).json()
    assert service.post("/text-classification", {"inputs": [NOTE, {"text": NOTE}]}).json() == labels * 2
    paired = service.post("/text-classification", {"inputs": {"text": NOTE, "text_pair": TEXT}}).json()
    assert paired != labels


@pytest.mark.parametrize(
    ("path", "body", "sentence"),
    [
        ("/fill-mask", '{"inputs": "no mask"}', "has no [MASK]"),
        ("/fill-mask", '{"inputs": ["a [MASK]", "none"]}', "inputs[1]: the text 'none' has no [MASK]"),
        ("/fill-mask", '{"inputs": " "}', "is empty"),
        ("/fill-mask", '{"inputs": []}', "inputs must be a text"),
        ("/fill-mask", '{"inputs": 5}', "inputs must be a text"),
        ("/fill-mask", '{"inputs": "[MASK]", "top_k": 3}', "there is no field top_k; /docs says what is"),
        ("/fill-mask", '{"input": "[MASK]"}', "there is no field input; did you mean inputs?"),
        (
            "/fill-mask",
            '{"inputs": "[MASK]", "parameters": {"topk": 3}}',
            "there is no field parameters.topk; did you mean top_k?",
        ),
        (
            "/fill-mask",
            '{"inputs": "[MASK]", "parameters": {"top_k": "3"}}',
            "parameters.top_k should be a valid integer",
        ),
        ("/fill-mask", '{"inputs": "[MASK]", "parameters": {"top_k": 101}}', "top_k is 101"),
        ("/fill-mask", '{"inputs": "[MASK]", "parameters": {"targets": []}}', "parameters.targets should"),
        ("/fill-mask", json.dumps({"inputs": "[MASK] " * 17}), "has 17 times [MASK]; this service fills at most 16"),
        ("/fill-mask", json.dumps({"inputs": "[MASK] " + "a " * 70}), "too long: 73 word pieces"),
        ("/fill-mask", json.dumps({"inputs": ["[MASK]"] * 257}), "inputs has 257 texts"),
        (
            "/fill-mask",
            json.dumps({"inputs": "[MASK] a " * 16, "parameters": {"targets": ["acetylsalicylic acid"] * 64}}),
            "word pieces of work",
        ),
        ("/fill-mask", "{", "the body is not JSON"),
        ("/fill-mask", "", 'the body must be a JSON object, such as {"inputs": "..."}'),
        ("/fill-mask", "5", 'the body must be a JSON object, such as {"inputs": "..."}'),
        ("/fill-mask", "{}", "inputs must be a text"),
        ("/fill-mask", "[" * 100_000, "not JSON"),
        ("/fill-mask", b'{"inputs": "\xff [MASK]"}', "not JSON in UTF-8"),
        ("/fill-mask", '{"inputs": "\\ud800 [MASK]"}', "inputs must be a text"),
        ("/token-classification", json.dumps({"inputs": "a " * 9000}), "has 9002 word pieces"),
        (
            "/token-classification",
            json.dumps({"inputs": "a", "parameters": {"ignore_labels": ["a" * 100] * 100}}),
            "ignore_labels has 10,000 characters in all",
        ),
        ("/token-classification", '{"inputs": "a", "parameters": {"stride": -1}}', "parameters.stride"),
        (
            "/token-classification",
            '{"inputs": "a", "parameters": {"aggregation_strategy": "best"}}',
            "aggregation_strategy",
        ),
        ("/models/encoder", json.dumps({"inputs": "a " * 100}), 'ask for "truncate": true'),
    ],
)
def test_bad_requests_are_one_sentence(service: Service, path: str, body: str | bytes, sentence: str) -> None:
    response = httpx.post(service.url + path, content=body, timeout=30)
    assert response.status_code == 400
    error = response.json()["error"]
    assert sentence in error
    assert "\n" not in error


def test_what_is_not_there(service: Service) -> None:
    assert httpx.get(f"{service.url}/nothing").status_code == 404
    assert service.post("/models/nobody", {"inputs": TEXT}).json() == {
        "error": "no model 'nobody' is served; served are mask, tags, single, encoder"
    }
    assert service.post("/models/mask/pipeline/summarization", {"inputs": TEXT}).json() == {
        "error": "the model mask has no task 'summarization'; it has fill-mask, feature-extraction"
    }
    assert service.post("/model/mask", {"inputs": TEXT}).json() == {
        "error": "there is nothing at this address; /docs says what there is"
    }
    for method, path, allowed in (
        ("GET", "/fill-mask", "POST"),
        ("PUT", "/models/mask", "POST"),
        ("POST", "/page/a", "GET, HEAD"),
    ):
        refused = httpx.request(method, f"{service.url}{path}")
        assert refused.status_code == 405
        assert refused.json() == {"error": f"{method} is not answered at this address; send {allowed}"}


@pytest.mark.parametrize("path", ["/page/../app.py", "/page/%2e%2e/app.py", "/page/..%2fapp.py", "/page//etc/passwd"])
def test_files_outside_the_page_are_not_served(service: Service, path: str) -> None:
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=30) as client:
        client.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())  # httpx would write it otherwise
        answer = b"".join(iter(lambda: client.recv(1 << 16), b""))
    assert answer.startswith(b"HTTP/1.1 404")
    assert b"import" not in answer


def test_health_models_and_metrics(service: Service) -> None:
    health = httpx.get(f"{service.url}/health")
    assert health.json() == {"status": "ready", "models": dict.fromkeys(("mask", "tags", "single", "encoder"), True)}
    models = {model["name"]: model for model in httpx.get(f"{service.url}/models").json()}
    assert models["mask"]["tasks"] == ["fill-mask", "feature-extraction"]
    assert models["tags"]["max_tokens"] is None
    name = 'pubmedbert_requests_total{status="200",task="fill-mask"}'
    before = service.metric(name)
    service.post("/fill-mask", {"inputs": TEXT})
    assert service.metric(name) == before + 1
    assert service.metric('pubmedbert_queue_texts{model="mask"}') == 0


def test_ids_and_logs_without_texts(service: Service) -> None:
    secret = "pheochromocytoma [MASK]"
    kept = service.post("/fill-mask", {"inputs": secret}, headers={"X-Request-ID": "run-7/a"})
    assert kept.headers["x-request-id"] == "run-7/a"
    made = service.post("/fill-mask", {"inputs": secret}, headers={"X-Request-ID": 'x" y'})
    assert len(made.headers["x-request-id"]) == 32
    both = {"run-7/a", made.headers["x-request-id"]}
    until(lambda: both <= {line.get("request_id") for line in service.log})
    line = next(line for line in reversed(service.log) if line.get("request_id") == "run-7/a")
    assert (line["status"], line["task"], line["model"], line["texts"]) == (200, "fill-mask", "mask", 1)
    assert "pheochromocytoma" not in json.dumps(service.log)


def test_headers_keep_other_pages_out(service: Service) -> None:
    response = service.post("/fill-mask", {"inputs": TEXT}, headers={"Origin": "https://elsewhere.example"})
    assert response.status_code == 403
    assert "access-control-allow-origin" not in response.headers
    rebound = service.post("/fill-mask", {"inputs": TEXT}, headers={"Host": "rebound.example"})
    assert rebound.status_code == 403
    assert "localhost" in rebound.json()["error"]
    assert "default-src 'none'" in response.headers["content-security-policy"]
    asked = httpx.options(
        f"{service.url}/fill-mask",
        headers={"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"},
    )
    assert asked.status_code == 403


def test_many_at_once_are_not_mixed_up(service: Service, folders: dict[str, Path]) -> None:
    words = ["pain", "drug", "heart", "lung", "cancer", "cell", "gene", "fever", "liver", "blood"]
    texts = [f"{' and '.join(words[: 1 + number % 10])} of {number} [MASK]." for number in range(60)]
    expected: Any = FillMask(folders["mask"]).fill(texts, top_k=2)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda text: service.post("/fill-mask", {"inputs": text}).json(), texts))
    for answer, (mask,) in zip(answers, expected, strict=True):
        assert answer[0]["sequence"] == mask[0]["sequence"]
        assert answer[0]["score"] == pytest.approx(mask[0]["score"], abs=1e-5)
