"""The model card of an export: front matter like the original's, how it was trained, how to use it, whom to cite."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pubmedbert import runs
from pubmedbert.model.config import ModelConfig

EXAMPLE = "[MASK] is a tyrosine kinase inhibitor."
"""The text of the original card's widget."""

_FRONT_MATTER = """\
---
language: en
{license}tags:
- exbert
- fill-mask
- biomedical
library_name: transformers
pipeline_tag: fill-mask
widget:
- text: "{example}"
---
"""

_USE = """\
## Use

With pubmedbert:

```bash
pubmedbert fill-mask "{example}" --model {name}
```

```python
from pubmedbert import FillMask

FillMask("{name}")("{example}")
```

With transformers:

```python
from transformers import pipeline

pipeline("fill-mask", model="{name}")("{example}")
```

A text holds at most {max_positions} word pieces, `[CLS]` and `[SEP]` included. By default several masks in a text are
filled independently of each other, with single pieces of the vocabulary; pubmedbert also searches for words of several
pieces (`--pieces`) and fills masks together (`--joint`).
"""

_LIMITS = """\
## Limits

For research. A filled mask is a likely word, not a checked fact: do not use it for clinical decisions. The model has
the gaps and the biases of the text it was trained on, and knows nothing that was published later.
"""

_ELECTRA_FRONT_MATTER = """\
---
language: en
{license}tags:
- electra
- biomedical
library_name: transformers
---
"""

_ELECTRA_USE = """\
## Use

This is the discriminator of an ELECTRA (Clark et al. 2020, arXiv 2003.10555): an encoder to fine-tune. It was trained
to tell which word pieces of a text a small generator has replaced, so it fills no masks; where the folder `generator`
is there, that model does. With pubmedbert, on a data set of your own or of BLURB:

```bash
pubmedbert finetune --model {name} --dataset my-data.toml --out run
```

With transformers:

```python
from transformers import AutoModelForTokenClassification, ElectraForPreTraining

ElectraForPreTraining.from_pretrained("{name}")  # a logit for each piece: above 0 is "replaced"
AutoModelForTokenClassification.from_pretrained("{name}", num_labels=3)  # to fine-tune
```

A text holds at most {max_positions} word pieces, `[CLS]` and `[SEP]` included.
"""

_ELECTRA_LIMITS = """\
## Limits

For research. The model has the gaps and the biases of the text it was trained on, and knows nothing that was published
later.
"""

_CITATION = """\
## Citation

```bibtex
@article{gu2021domain,
  author  = {Yu Gu and Robert Tinn and Hao Cheng and Michael Lucas and Naoto Usuyama and Xiaodong Liu and
             Tristan Naumann and Jianfeng Gao and Hoifung Poon},
  title   = {Domain-Specific Language Model Pretraining for Biomedical Natural Language Processing},
  journal = {ACM Transactions on Computing for Healthcare},
  volume  = {3},
  number  = {1},
  year    = {2021},
  doi     = {10.1145/3458754},
  eprint  = {2007.15779},
  archivePrefix = {arXiv}
}

@article{tinn2023finetuning,
  author  = {Robert Tinn and Hao Cheng and Yu Gu and Naoto Usuyama and Xiaodong Liu and Tristan Naumann and
             Jianfeng Gao and Hoifung Poon},
  title   = {Fine-tuning large neural language models for biomedical natural language processing},
  journal = {Patterns},
  volume  = {4},
  number  = {4},
  year    = {2023},
  doi     = {10.1016/j.patter.2023.100729},
  eprint  = {2112.07869},
  archivePrefix = {arXiv}
}
```
"""


@dataclass(frozen=True)
class Training:
    """How a run went, up to the step that is exported."""

    step: int
    recipe: Mapping[str, object]
    """The run's config.toml, tables left out."""
    shards: Mapping[str, object]
    """The fingerprints of corpus and tokenizer."""
    evaluation: Mapping[str, object]
    """The last line of metrics.jsonl with an `eval_loss`; empty where there is none."""
    complete: bool
    """Whether the run was at its end."""


def read_training(run: Path, step: int) -> Training:
    """Read how a run went.

    Args:
        run: its folder, with config.toml and metrics.jsonl.
        step: the step of the checkpoint that is exported; later lines are left out.

    Raises:
        InputError: config.toml cannot be read.
    """
    settings = runs.config(run)
    lines = [line for line in runs.metrics(run) if line["step"] <= step]
    evaluations = [line for line in lines if "eval_loss" in line]
    seconds = max((line.get("seconds", 0.0) for line in lines), default=0.0)
    minutes = settings.get("minutes")
    complete = seconds >= 60 * minutes if minutes else step >= settings.get("steps", step)
    recipe = {key: value for key, value in settings.items() if not isinstance(value, dict)}
    return Training(step, recipe, settings.get("shards", {}), evaluations[-1] if evaluations else {}, complete)


def model_card(
    name: str, config: ModelConfig, parameters: int, training: Training | str, *, electra: bool = False
) -> str:
    """The README.md of an export.

    Args:
        name: of the exported folder.
        config: the model's shape.
        parameters: how many numbers it has.
        training: how it was trained; the name of a model of which that is not known, and then no licence is claimed
            either.
        electra: whether it is the discriminator of an ELECTRA.
    """
    front, use, limits = (
        (_ELECTRA_FRONT_MATTER, _ELECTRA_USE, _ELECTRA_LIMITS) if electra else (_FRONT_MATTER, _USE, _LIMITS)
    )
    what = (
        "An ELECTRA discriminator of biomedical text"
        if electra
        else "A BERT that fills in masked words of biomedical text"
    )
    shape = (
        f"{config.layers} layers of width {config.width} with {config.heads} heads, a vocabulary of "
        f"{config.vocab_size:,} word pieces, {parameters / 1e6:,.1f} million parameters"
    )
    trained = "".join(_training(training)) if isinstance(training, Training) else ""
    values = {"example": EXAMPLE, "name": name, "max_positions": config.max_positions}
    parts = (
        front.format(license="license: mit\n" if trained else "", example=EXAMPLE),
        f"# {name}\n\n{what}: {shape}.\n",
        use.format(**values),
        "## Training\n\n" + (trained or _UNKNOWN.format(training)),
        limits,
        _CITATION,
    )
    return "\n".join(parts)


def renamed(card: str, name: str) -> str:
    """One of our cards for another folder, whose name its title and its examples then have; other cards as they are.

    Args:
        card: of the model that is exported.
        name: of the exported folder.
    """
    title = re.search(r"^# (.+)$", card, re.MULTILINE)
    if title is None or not re.search(rf"--model {re.escape(title[1])}\s", card):
        return card
    before = r'^# |--model |FillMask\("|from_pretrained\("|model="'
    named = re.compile(rf'({before}){re.escape(title[1])}(?=["\s])', re.MULTILINE)
    return named.sub(lambda match: match[1] + name, card)


_UNKNOWN = (
    "Converted by `pubmedbert export` from `{}`, which came without a card: training and licence are those of that "
    "model.\n"
)


_TASKS = {
    "mlm": "masked language modelling with whole-word masking",
    "mlm+nsp": "masked language modelling with whole-word masking, and next-sentence prediction",
    "electra": "replaced-token detection (Clark et al. 2020) with whole-word masking",
}


def _training(training: Training) -> Iterator[str]:
    """The paragraphs on a run."""
    task = _TASKS.get(str(training.recipe.get("objective")), _TASKS["mlm"])
    yield (
        "Pretrained from scratch with `pubmedbert pretrain`, a reproduction of PubMedBERT (Gu et al. 2020): an "
        f"in-domain vocabulary, {task}. "
        f"This is the model after step {training.step:,}{'' if training.complete else ', before the end of the run'}.\n"
    )
    if training.evaluation:
        measured = training.evaluation["step"]
        when = "" if measured == training.step else f", at step {measured:,}"
        yield f"\nHeld-out documents under frozen masks{when}: {', '.join(_evaluation(training.evaluation))}.\n"
    yield "\n| setting | value |\n| --- | --- |\n"
    for key, value in training.recipe.items():
        yield f"| {key} | {value} |\n"
    for key, value in training.shards.items():
        yield f"| {key} | `{value}` |\n"


def _evaluation(values: Mapping[str, object]) -> Iterator[str]:
    for key, text in (
        ("eval_loss", "loss {:.4f} nats"),
        ("unigram_loss", "unigram model {:.4f} nats"),
        ("eval_accuracy", "accuracy {:.2%}"),
    ):
        value = values.get(key)
        if isinstance(value, int | float):
            yield text.format(value)
