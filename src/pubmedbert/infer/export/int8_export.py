"""The int8 form of a model folder, with the figures that let it stand for the fp32 one."""

from __future__ import annotations

import shutil
from pathlib import Path

from pubmedbert.errors import InputError
from pubmedbert.files import write_json
from pubmedbert.infer.engine import INT8_FOLDER, exact_int8, thread_count
from pubmedbert.infer.engines.converted import convert
from pubmedbert.infer.engines.gate import ask
from pubmedbert.infer.engines.mixed_precision import Choice, choose
from pubmedbert.infer.engines.weights import fingerprint, read_checkpoint
from pubmedbert.infer.tokenizer import ModelTokenizer

AGREEMENT = "agreement.json"
"""The figures, in the folder of the int8 form."""


def write_int8(folder: Path, tokenizer: ModelTokenizer, text: Path | None) -> Choice:
    """Write the int8 form into a model folder, if it agrees with fp32.

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
    made, work = folder / INT8_FOLDER, folder / ".judging"
    work.mkdir()
    choice = choose(checkpoint, questions, work, thread_count(None))
    shutil.rmtree(work)
    made.mkdir()
    convert(checkpoint, made, fingerprint(folder), choice.int8)
    judged = "general biomedical sentences" if text is None else text.name
    write_json(made / AGREEMENT, {"text": judged, **choice.report()})
    return choice
