"""`pubmedbert serve`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from pubmedbert.infer.engine import Backend
from pubmedbert.infer.engines.forms import Precision

if TYPE_CHECKING:
    from socket import socket


def serve(
    *,
    model: Annotated[list[str] | None, Parameter(negative="")] = None,
    index: Annotated[list[Path] | None, Parameter(negative="")] = None,
    tagger: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    precision: Precision | None = None,
    backend: Backend = "auto",
    threads: int | None = None,
    batch_tokens: int = 2048,
    queue: int = 1024,
    max_inputs: int = 256,
    max_body: int = 1 << 20,
    timeout: float = 30.0,
    api_key_file: Path | None = None,
    allow_origin: Annotated[list[str] | None, Parameter(negative="")] = None,
) -> None:
    """Serve models over HTTP: Hugging Face's task APIs, and a page at /. SIGTERM drains and ends it.

    Parameters
    ----------
    model
        "bundled", a folder in Hugging Face layout or a hub id, if need be as NAME=MODEL; may be given several times.
        A model says by its config.json whether it fills masks, tags words, classifies texts or gives vectors.
    index
        A folder that `pubmedbert explore index` made with one of the models: what the explorer searches for words used
        alike; may be given several times, once for a model.
    tagger
        A fine-tuned model that finds entities, to count the words found by their types: the name of a model that is
        served, or a folder or a hub id.
    host
        The address to listen at; 0.0.0.0 for all of this machine's, where other machines may call, too: without an API
        key the service warns of that, and answers all of them.
    port
        The port to listen at; 0 for any that is free.
    precision
        Numbers to compute with; int8 where the model has such an export, if left out.
    backend
        What computes.
    threads
        Threads of each model; all cores if left out.
    batch_tokens
        Word pieces computed at once: more is faster in all, less is sooner for each.
    queue
        Texts that may wait for a model; a request beyond them is refused with 429.
    max_inputs
        Texts in a request.
    max_body
        Bytes in the body of a request.
    timeout
        Seconds until a request is refused with 504.
    api_key_file
        A file with the key to ask of requests; PUBMEDBERT_API_KEY holds it otherwise, and there is none without either.
    allow_origin
        An origin, such as https://example.org, whose pages may call this service; may be given several times.
    """
    import asyncio
    import os

    from pubmedbert.errors import InputError
    from pubmedbert.model.locate import locate
    from pubmedbert.serve.limits import Limits
    from pubmedbert.serve.logs import log_to_stderr
    from pubmedbert.serve.process import Loading
    from pubmedbert.serve.server import Settings, api_key, listen, named, origins, run

    if tagger is not None and not index:
        raise InputError("--tagger is for what the explorer finds in a corpus; name an index of one by --index")
    limits = Limits(batch_tokens=batch_tokens, queue=queue, inputs=max_inputs, body_bytes=max_body, seconds=timeout)
    places = named(model or ["bundled"])
    indexes = tuple(map(str, index or ()))
    found = None if tagger is None else str(locate(places.get(tagger, tagger)).resolve())
    models = {
        name: Loading(
            model=where,
            precision=precision,
            backend=backend,
            threads=threads,
            map_numbers=limits.map_numbers,
            indexes=indexes,
            tagger=found,
        )
        for name, where in places.items()
    }
    pages = origins(allow_origin or ())
    key = api_key(api_key_file, os.environ.get("PUBMEDBERT_API_KEY"))
    listening: socket = listen(host, port)
    log_to_stderr()
    settings = Settings(models=models, limits=limits, host=host, key=key, origins=pages, indexes=indexes, tagger=tagger)
    asyncio.run(run(settings, listening))
