"""The command line: one app. The stages' commands are named here and imported only when they are called."""

from __future__ import annotations

import os
import sys

from cyclopts import App, CycloptsError

from pubmedbert import __version__
from pubmedbert.errors import InputError
from pubmedbert.model.config import ModelError

# Where each command lives. Modules named here import nothing heavy at the top, so that --help answers at once.
COMMANDS = {
    "quickstart": ("pubmedbert.sample.quickstart:quickstart", "The whole chain on a built-in sample, in minutes."),
    "fill-mask": ("pubmedbert.infer.commands:fill_mask", "Fill the [MASK] in a text."),
    "corpus": {
        "": "PubMed XML and JSON lines to a corpus store.",
        "add": ("pubmedbert.corpus.commands:add", "Add XML or JSON-lines files to a store."),
        "screen": ("pubmedbert.corpus.commands:screen", "Decide which documents later stages read."),
        "report": ("pubmedbert.corpus.commands:report", "What a store holds: counts, years, reasons for dropping."),
    },
    "vocab": {
        "": "Train and compare WordPiece vocabularies.",
        "train": ("pubmedbert.vocab.commands:train", "Train an uncased WordPiece vocabulary on a store."),
        "compare": ("pubmedbert.vocab.commands:compare", "Compare tokenizers on biomedical terms and a text."),
    },
    "shards": ("pubmedbert.shards.commands:shards", "Tokenise what was kept into memory-mapped shards."),
    "pretrain": ("pubmedbert.pretrain.commands:pretrain", "Pretrain an encoder from scratch; resumes by itself."),
    "evaluate": ("pubmedbert.pretrain.commands:evaluate", "Held-out loss and accuracy under frozen masks."),
    "export": ("pubmedbert.infer.commands:export", "Write a run or model as a Hugging Face folder."),
}


def build_app() -> App:
    """The app with every command registered by name; nothing heavy is imported."""
    app = App(
        name="pubmedbert",
        help="PubMedBERT rebuilt in the open: PubMed XML to corpus, vocabulary, pretraining and a filled mask.",
        version=__version__,
        error_formatter=_sentence,
    )
    for name, entry in COMMANDS.items():
        if isinstance(entry, dict):
            group = App(name=name, help=entry[""])
            for verb, (target, text) in ((v, e) for v, e in entry.items() if v):
                group.command(target, name=verb, help=text)
            app.command(group)
        else:
            target, text = entry
            app.command(target, name=name, help=text)
    return app


def main(tokens: list[str] | None = None) -> None:
    """Run the command line; bad input is one sentence on standard error and exit code 2, never a traceback."""
    try:
        build_app()(tokens, result_action="return_value")
    except (InputError, ModelError) as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        if error.name not in {"torch", "matplotlib"}:
            raise
        _fail(f"this command needs {error.name}: pip install 'pubmedbert[train]'")
    except BrokenPipeError:  # the reader of our output, such as `head`, has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _fail(f"{error.filename or 'input/output'}: {error.strerror or error}")


def _sentence(error: CycloptsError) -> str:
    """A usage error as one sentence."""
    return f"error: {' '.join(str(error).split())}"


def _fail(sentence: str) -> None:
    print(f"error: {' '.join(sentence.split())}", file=sys.stderr)
    sys.exit(2)
