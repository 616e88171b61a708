"""Whether a model folder may be used in int8, with the figures that say so."""

from __future__ import annotations

import shutil
from pathlib import Path

from pubmedbert.errors import InputError
from pubmedbert.infer.engine import exact_int8, thread_count
from pubmedbert.infer.engines.gate import ask
from pubmedbert.infer.engines.mixed_precision import Choice, choose
from pubmedbert.infer.engines.verdict import write_verdict
from pubmedbert.infer.engines.weights import fingerprint, read_checkpoint
from pubmedbert.infer.tokenizer import ModelTokenizer


def judge_int8(folder: Path, tokenizer: ModelTokenizer, text: Path | None) -> Choice:
    """Judge a model in int8, and write the verdict into its folder if it agrees with fp32.

    Args:
        folder: a complete model folder.
        tokenizer: the model's.
        text: a file of sentences to judge by; None for general ones of our own.

    Raises:
        InputError: it does not agree, the text is too short or unreadable, or this processor cannot judge it.
        ModelError: the model cannot fill masks.
        OSError: the disk is full.
    """
    if not exact_int8():
        raise InputError("int8 products overflow on this processor, which has no VNNI instructions; export on another")
    checkpoint = read_checkpoint(folder, "mlm")
    questions = ask(tokenizer, text, checkpoint.config.max_positions)
    work = folder / ".judging"
    work.mkdir()
    choice = choose(checkpoint, questions, work, thread_count(None))
    shutil.rmtree(work)
    judged = "general biomedical sentences" if text is None else text.name
    write_verdict(folder, fingerprint(folder), {"text": judged, **choice.report()}, choice.int8)
    return choice
