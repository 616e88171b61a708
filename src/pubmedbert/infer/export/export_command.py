"""`pubmedbert export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


def export(
    source: str,
    *,
    out: Path,
    dtype: Literal["float32", "float16"] = "float32",
    int8: Annotated[bool, Parameter(negative="")] = False,
    text: Path | None = None,
) -> None:
    """Write a run or a model as a Hugging Face folder that transformers and pubmedbert load.

    Parameters
    ----------
    source
        A run made by 'pubmedbert pretrain' (its newest checkpoint), "bundled", a model folder, or a hub id.
    out
        The folder to make; an older export there is replaced.
    dtype
        Numbers of the weights; float16 halves the size.
    int8
        Also judge the model in 8 bits, which is about three times as fast (twice, where a processor lacks VNNI
        instructions) and is then used by fill-mask and serve. It is refused if it fills fewer than 97% of the masks in
        a text as the full model does. The folder is no smaller: it holds the full weights and the verdict, which
        another export of the same weights to it keeps.
    text
        A file with a sentence in each line to judge int8 by, of the kind the model will be used on; without it,
        general biomedical sentences.
    """
    from pubmedbert.infer.export.export import export as run
    from pubmedbert.infer.export.export import is_discriminator
    from pubmedbert.progress import say

    choice = run(source, out, dtype, int8=int8, text=text)
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    if choice is not None:
        kept = f"; {len(choice.fp32)} of its matrices stay in fp32: {', '.join(choice.fp32)}" if choice.fp32 else ""
        say(f"int8 against fp32: {choice.agreement}{kept}")
    use = "finetune --help" if is_discriminator(out) else f"fill-mask 'Aspirin inhibits [MASK].' --model {out}"
    say(f"{out}: a model of {size / 1e6:,.1f} MB; try: pubmedbert {use}")
