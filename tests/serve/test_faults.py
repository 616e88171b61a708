"""What goes wrong on the way: processes that end, clients that trickle or leave, floods, the end of the service."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from tests.serve.conftest import Service
from tests.serve.small import LARGE, running

TEXT = {"inputs": "[MASK] is a drug."}
QUEUE = 'pubmedbert_queue_texts{model="mask"}'

Start = Callable[..., Any]


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@contextmanager
def stopped(service: Service) -> Iterator[psutil.Process]:
    """The model's process, which does not get on until the end of the block."""
    (worker,) = service.workers()
    worker.suspend()
    try:
        yield worker
    finally:
        if worker.is_running():
            worker.resume()


def connection(service: Service) -> socket.socket:
    address = urlsplit(service.url)
    assert address.hostname
    assert address.port
    return socket.create_connection((address.hostname, address.port), timeout=30)


def waits(service: Service, count: int) -> Callable[[], bool]:
    return lambda: service.metric(QUEUE) == count


def asked(service: Service, pool: ThreadPoolExecutor, count: int) -> list[Future[httpx.Response]]:
    """Ask a process that is stopped: the first text is taken out of the queue, the others wait in it."""
    batches = 'pubmedbert_batch_tokens_count{model="mask"}'
    before = service.metric(batches)
    first = pool.submit(service.post, "/", TEXT)
    until(lambda: service.metric(batches) == before + 1)
    others = [pool.submit(service.post, "/", TEXT) for _ in range(count - 1)]
    until(waits(service, count - 1))
    return [first, *others]


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as made:
        yield made


def test_a_killed_process_is_replaced_and_its_texts_are_computed_again(one: Start, pool: ThreadPoolExecutor) -> None:
    with one() as service:
        expected = service.post("/", TEXT).json()
        with stopped(service) as worker:
            answers = asked(service, pool, 8)
            worker.kill()
            until(lambda: httpx.get(f"{service.url}/health").status_code == 503)
        for answer in answers:
            assert answer.result().json() == expected
        assert httpx.get(f"{service.url}/health").status_code == 200
        assert service.metric('pubmedbert_process_restarts_total{model="mask"}') == 1
        (idle,) = service.workers()
        idle.kill()
        until(lambda: httpx.get(f"{service.url}/health").status_code == 503)
        until(lambda: httpx.get(f"{service.url}/health").status_code == 200)
        assert service.post("/", TEXT).json() == expected


def test_sigterm_drains(one: Start, pool: ThreadPoolExecutor) -> None:
    with one() as service:
        expected = service.post("/", TEXT).json()
        with stopped(service):
            answers = asked(service, pool, 6)
            service.process.send_signal(signal.SIGTERM)
            until(lambda: refused(service))
            assert service.process.poll() is None
        assert [answer.result().json() for answer in answers] == [expected] * 6
        assert service.process.wait(20) == 0


def refused(service: Service) -> bool:
    try:
        connection(service).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_full_queue_refuses_and_says_when_to_come_back(one: Start, pool: ThreadPoolExecutor) -> None:
    with one("--queue", 4) as service, stopped(service):
        waiting = asked(service, pool, 5)
        response = service.post("/", TEXT)
        assert response.status_code == 429
        assert int(response.headers["retry-after"]) >= 1
        assert "4 texts wait" in response.json()["error"]
        assert service.metric('pubmedbert_rejected_total{reason="queue"}') == 1
        service.workers()[0].resume()
        assert [answer.result().status_code for answer in waiting] == [200] * 5


def test_who_leaves_leaves_the_queue_and_who_waits_too_long_is_told(one: Start, pool: ThreadPoolExecutor) -> None:
    with one("--timeout", 2) as service, stopped(service):
        (first,) = asked(service, pool, 1)
        with connection(service) as client:
            body = b'{"inputs": ["[MASK] a", "[MASK] b"]}'
            client.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            until(waits(service, 2))
        until(waits(service, 0), 1.5)
        assert first.result().status_code == 504
        assert "no answer within 2 s" in first.result().json()["error"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_huge_body_is_refused_before_it_is_read(service: Service, chunked: bool) -> None:
    body = b"x" * 1_100_000
    with httpx.Client(timeout=30) as client:
        response = client.post(service.url, content=iter([body[:600_000], body[600_000:]]) if chunked else body)
        assert response.status_code == 413
        assert "1,048,576 bytes" in response.json()["error"]
        assert client.post(service.url, json=TEXT).status_code == 200


def test_a_client_that_still_sends_gets_its_refusal(service: Service) -> None:
    """Closing on it would lose it the answer: what it sends meets a closed connection, which throws all away."""
    with connection(service) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000000\r\n\r\n")
        for _ in range(40):
            client.sendall(b"x" * 100_000)
            time.sleep(0.005)
        assert client.recv(100).startswith(b"HTTP/1.1 413")
        while client.recv(1 << 16)[-1:] != b"}":
            pass
        client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200")


def test_who_waits_to_be_asked_for_a_body_is_told_that_it_is_not(service: Service) -> None:
    with connection(service) as client:
        head = b"POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 4000000\r\n\r\n"
        client.sendall(head)
        answer = b"".join(iter(lambda: client.recv(1 << 16), b""))
        assert answer.startswith(b"HTTP/1.1 413")
        assert b"connection: close" in answer.lower()


def test_a_claimed_length_is_enough_to_be_refused(service: Service) -> None:
    with connection(service) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 413")


def test_slow_clients_do_not_hold_connections() -> None:
    with running(body_seconds=0.5) as address:
        for beginning in (b"", b"POST / HT", b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "):
            with socket.create_connection(address, timeout=10) as client:
                client.sendall(beginning)
                began = time.monotonic()
                assert client.recv(100) == b""
                assert 0.3 < time.monotonic() - began < 5
        with socket.create_connection(address, timeout=10) as client:
            client.sendall(b"POST /fill-mask HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{")
            assert client.recv(1000).startswith(b"HTTP/1.1 408")
        with socket.create_connection(address, timeout=10) as client:  # a request, then another that trickles
            client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.recv(5000).startswith(b"HTTP/1.1 200")
            client.sendall(b"GET /heal")
            received = b"x"
            while received:
                received = client.recv(5000)


def test_a_body_after_the_answer_does_not_hold_the_connection() -> None:
    with running(body_seconds=0.5) as address, socket.create_connection(address, timeout=10) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n")
        answer = b""
        while not answer.endswith(b"}}"):
            answer += client.recv(5000)
        assert answer.startswith(b"HTTP/1.1 200")
        client.sendall(b"x")
        began = time.monotonic()
        assert client.recv(5000) == b""
        assert time.monotonic() - began < 3


def test_who_does_not_take_an_answer_is_cut_and_who_does_slowly_is_not() -> None:
    body = b'{"inputs": "large"}'
    request = b"POST /fill-mask HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    with running(body_seconds=0.3) as address:
        with socket.create_connection(address, timeout=10) as client:
            client.sendall(request)
            received = 0
            while received < len(LARGE):  # for longer than 0.3 s
                received += len(client.recv(1 << 18))
                time.sleep(0.02)
        with socket.create_connection(address, timeout=10) as client:
            client.sendall(request)
            time.sleep(1.5)
            received = sum(map(len, iter(lambda: client.recv(1 << 20), b"")))
            assert received < len(LARGE)


def test_large_answers_wait_for_those_that_nobody_takes() -> None:
    body = b'{"inputs": "large"}'
    request = b"POST /fill-mask HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    with running(untaken_bytes=len(LARGE) + 1000) as (host, port):
        url = f"http://{host}:{port}/fill-mask"
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)  # the system is not to take it all
            client.settimeout(10)
            client.connect((host, port))
            client.sendall(request)
            assert client.recv(1000).startswith(b"HTTP/1.1 200")
            refused = httpx.post(url, json={"inputs": "large"})
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "1"
            assert "waits for its clients" in refused.json()["error"]
            assert httpx.post(url, json={"inputs": "small"}).status_code == 200
        for _ in range(50):  # until the end of that connection is seen
            found = httpx.post(url, json={"inputs": "large"})
            if found.status_code == 200:
                break
            time.sleep(0.1)
        assert found.content == LARGE


def test_connections_beyond_the_limit_are_refused() -> None:
    with running(connections=3) as address:
        held = [socket.create_connection(address, timeout=10) for _ in range(3)]
        with socket.create_connection(address, timeout=10) as client:
            answer = client.recv(1000)
            assert answer.startswith(b"HTTP/1.1 503")
            assert b"Retry-After: 1" in answer
        for client in held:
            client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert client.recv(5000).startswith(b"HTTP/1.1 200")
            client.close()


def test_what_is_not_answered_when_the_service_ends_is_told() -> None:
    with ThreadPoolExecutor(1) as pool:
        with running() as (host, port):
            hanging = pool.submit(httpx.post, f"http://{host}:{port}/fill-mask", json={"inputs": "hang"}, timeout=30)
            time.sleep(0.5)
        response = hanging.result()
    assert response.status_code == 503
    assert response.headers["retry-after"]
    assert "the service ends" in response.json()["error"]


def test_sigterm_ends_a_process_whose_large_answer_nobody_takes(one: Start) -> None:
    with one("--max-inputs", 2000, "--batch-tokens", 100_000, "--timeout", 1) as service:
        request = {"inputs": ["[MASK] is a drug."] * 1500, "parameters": {"top_k": 100}}
        with stopped(service):
            assert service.post("/", request).status_code == 504
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(30) == 0


def test_noise_is_no_request(service: Service) -> None:
    for noise in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"\x00" * 5000):
        with connection(service) as client:
            client.sendall(noise)
            client.shutdown(socket.SHUT_WR)
            assert client.recv(100)[:12] in (b"", b"HTTP/1.1 400")
    assert service.post("/", TEXT).status_code == 200
