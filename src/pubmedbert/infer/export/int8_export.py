"""Whether a model folder may be used in int8, with the figures that say so."""

from __future__ import annotations

import shutil
from pathlib import Path

from pubmedbert.files import sha256
from pubmedbert.infer.engine import thread_count
from pubmedbert.infer.engines.gate import ask
from pubmedbert.infer.engines.mixed_precision import Choice, choose
from pubmedbert.infer.engines.verdict import INT8_FILE, has_verdict, write_verdict
from pubmedbert.infer.engines.weights import fingerprint, read_checkpoint
from pubmedbert.infer.tokenizer import ModelTokenizer
from pubmedbert.progress import say


def judge_int8(folder: Path, tokenizer: ModelTokenizer, text: Path | None, older: Path) -> Choice | None:
    """Judge a model in int8, and write the verdict into its folder if it agrees with fp32.

    Args:
        folder: a complete model folder.
        tokenizer: the model's.
        text: a file of sentences to judge by; None for general ones of our own.
        older: the folder that it takes the place of, which may hold the verdict already.

    Returns:
        What became int8; None where the older verdict was kept, as it is on the same weights by the same text.

    Raises:
        InputError: it does not agree, or the text is too short or unreadable.
        ModelError: the model cannot fill masks.
        OSError: the disk is full.
    """
    judged_by = {"text": "general biomedical sentences", "text_sha256": None}
    if text is not None:
        judged_by = {"text": text.name, "text_sha256": sha256(text)}
    mark = fingerprint(folder)
    if has_verdict(older, mark, judged_by):
        shutil.copyfile(older / INT8_FILE, folder / INT8_FILE)
        say(f"{older / INT8_FILE} is up to date: int8 was judged for these weights before")
        return None
    checkpoint = read_checkpoint(folder, "mlm")
    questions = ask(tokenizer, text, checkpoint.config.max_positions)
    work = folder / ".judging"
    work.mkdir()
    choice = choose(checkpoint, questions, work, thread_count(None))
    shutil.rmtree(work)
    write_verdict(folder, mark, {**judged_by, **choice.report()}, choice.int8)
    return choice
