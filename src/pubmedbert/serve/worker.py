"""The process of a model: batches of jobs on standard input, answers on standard output, until the input ends.

It is a process of its own so that what kills it (the memory of a machine, a fault in native code) kills no connection,
and so that reading HTTP and computing do not share an interpreter.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from typing import IO

from pubmedbert.errors import InputError
from pubmedbert.model.config import ModelError
from pubmedbert.serve import frames
from pubmedbert.serve.given_up import Listener
from pubmedbert.serve.process import Loading


def main() -> None:
    """Load the model that the first argument describes, say what it is, and answer.

    The second argument is the descriptor that tells what nobody waits for any more.
    """
    # The front decides when a process ends: a terminal's Ctrl-C or a service manager's signal to the whole group must
    # not take away the model from requests that are being drained.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints goes to the log, not between the frames
    with suppress(BrokenPipeError):  # nobody is there to be answered
        serve(Loading(**json.loads(sys.argv[1])), sys.stdin.buffer, answers, Listener(int(sys.argv[2])))
    sys.stderr.flush()
    os._exit(0)  # without waiting for the threads of an engine


def serve(loading: Loading, jobs: IO[bytes], answers: IO[bytes], given_up: Listener) -> None:
    """Answer batches from one stream on another, until the first ends."""
    from pubmedbert.serve.tasks import answer_all, load

    try:
        loaded = load(loading)
    except (InputError, ModelError, OSError) as error:
        _say(answers, frames.packed(frames.REFUSED, str(error).encode("utf-8", "replace")))
        return
    _say(answers, frames.packed(frames.OK, json.dumps(loaded.about).encode()))
    loaded.deadline.given_up = given_up
    while (frame := frames.read(jobs)) is not None:
        given_up.at_hand += 1
        batch = frames.jobs_from_json(frame[1])
        _say(answers, b"".join(frames.packed(*answer) for answer in answer_all(loaded, batch)))


def _say(stream: IO[bytes], frame: bytes) -> None:
    stream.write(frame)
    stream.flush()


if __name__ == "__main__":
    main()
