"""The command line: one app. The stages' commands are named here and imported only when they are called."""

from __future__ import annotations

import io
import os
import shlex
import sys
from inspect import signature

from cyclopts import App, CycloptsError, UnknownCommandError, UnknownOptionError, UnusedCliTokensError

from pubmedbert import __version__
from pubmedbert.errors import InputError, meant
from pubmedbert.model.config import ModelError

# Where each command lives and what a list of commands says of it; its own --help is its docstring. The modules named
# here import nothing heavy at the top, so that --help answers at once.
COMMANDS: dict[str, tuple[str, str] | dict[str, tuple[str, str]]] = {
    "quickstart": ("pubmedbert.sample.quickstart:quickstart", "The whole chain on a built-in sample, in minutes."),
    "sample": ("pubmedbert.sample.command:sample", "Write a generated sample of PubMed's files."),
    "fill-mask": ("pubmedbert.infer.masks.commands:fill_mask", "Fill the [MASK] in a text."),
    "serve": ("pubmedbert.serve.command:serve", "Serve models over HTTP, with a page."),
    "finetune": (
        "pubmedbert.blurb.commands:finetune",
        "Fine-tune on a BLURB data set or your own, over several seeds.",
    ),
    "blurb": ("pubmedbert.blurb.commands:blurb", "Fine-tune on all of BLURB and report its score."),
    "compare": ("pubmedbert.blurb.commands:compare", "Whether one fine-tuning run is better than another."),
    "predict": ("pubmedbert.infer.labels.predict_command:predict", "Label texts or words with a fine-tuned model."),
    "corpus": {
        "add": ("pubmedbert.corpus.commands:add", "Add XML or JSON-lines files to a store."),
        "screen": ("pubmedbert.corpus.commands:screen", "Decide which documents later stages read."),
        "report": ("pubmedbert.corpus.commands:report", "What a store holds: counts, years, reasons for dropping."),
    },
    "vocab": {
        "train": ("pubmedbert.vocab.commands:train", "Train an uncased WordPiece vocabulary on a store."),
        "compare": ("pubmedbert.vocab.commands:compare", "Compare tokenizers on biomedical terms and a text."),
    },
    "explore": {
        "index": ("pubmedbert.explore.command:index", "Index the words of a store, to search them in the explorer."),
    },
    "shards": ("pubmedbert.shards.commands:shards", "Tokenise what was kept into memory-mapped shards."),
    "pretrain": ("pubmedbert.pretrain.commands:pretrain", "Pretrain an encoder from scratch; resumes by itself."),
    "evaluate": ("pubmedbert.pretrain.commands:evaluate", "Held-out loss and accuracy under frozen masks."),
    "report": ("pubmedbert.pretrain.report_command:report", "Curves of pretraining runs beside each other, as a page."),
    "plan": ("pubmedbert.pretrain.planning.command:plan", "Memory, days and cost of a recipe, before it is run."),
    "export": ("pubmedbert.infer.export.export_command:export", "Write a run or model as a Hugging Face folder."),
}
GROUPS = {
    "corpus": "PubMed XML and JSON lines to a corpus store.",
    "vocab": "Train and compare WordPiece vocabularies.",
    "explore": "Make what the explorer searches.",
}


def build_app(tokens: list[str]) -> App:
    """The app with every command registered by name; nothing heavy is imported.

    Args:
        tokens: the command line. The command it names keeps its docstring as help, the others have their line.
    """
    app = App(
        name="pubmedbert",
        help="PubMedBERT rebuilt in the open: PubMed XML to corpus, vocabulary, pretraining and a filled mask.",
        version=__version__,
        print_error=False,  # main does, on one line
        exit_on_error=False,
    )
    for name, entry in COMMANDS.items():
        group = App(name=name, help=GROUPS[name]) if isinstance(entry, dict) else app
        for verb, (target, line) in entry.items() if isinstance(entry, dict) else [(name, entry)]:
            path = [verb] if group is app else [name, verb]
            group.command(target, name=verb, help=None if tokens[: len(path)] == path else line)
        if group is not app:
            app.command(group)
    return app


def main(tokens: list[str] | None = None) -> None:
    """Run the command line; bad input is one sentence on standard error and exit code 2, never a traceback."""
    given = sys.argv[1:] if tokens is None else tokens
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # where the terminal has no β
    try:
        build_app(given)(given, result_action="return_value")
    except CycloptsError as error:
        _fail(_usage(error))
    except (InputError, ModelError) as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        if error.name not in {"torch", "scipy", "optuna"}:
            raise
        _fail(f"this command needs {error.name}: pip install '.[train]' in the checkout")
    except BrokenPipeError:  # the reader of our output, such as `head`, has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _fail(f"{error.filename or 'input/output'}: {error.strerror or error}")


def _usage(error: CycloptsError) -> str:
    """What is wrong with a command line, and what may have been meant."""
    chain = list(error.command_chain or ())
    words = " ".join(["pubmedbert", *chain])
    otherwise = f"see {words} --help"
    if isinstance(error, UnknownCommandError) and error.unused_tokens:
        given = error.unused_tokens[0]
        known = COMMANDS[chain[0]] if chain else COMMANDS
        return f"there is no command {' '.join([*chain, given])}; {meant(given, known, otherwise)}"
    if isinstance(error, UnknownOptionError):
        given = str(error.token.keyword or error.token.value)
        options = [name for argument in error.argument_collection for name in argument.names]
        return f"there is no option {given}; {meant(given, options, otherwise)}"
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        given = shlex.quote(error.unused_tokens[0])
        takes_model = error.target is not None and "model" in signature(error.target).parameters
        return f"{words} has no place for {given}; {f'write --model {given}' if takes_model else otherwise}"
    return str(error)


def _fail(sentence: str) -> None:
    print(f"error: {' '.join(sentence.split())}", file=sys.stderr)
    sys.exit(2)
