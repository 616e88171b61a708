"""The commands `pubmedbert corpus add`, `screen` and `report`. Nothing heavy is imported before one of them runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from pubmedbert.errors import InputError
from pubmedbert.progress import progress, say

if TYPE_CHECKING:
    from pubmedbert.corpus.overlap import HeldOut

MEGABYTE = 1_000_000
SKIPS_TOLD = 5  # of a thousand files added again nobody reads a thousand lines


def add(*sources: Path, store: Path) -> None:
    """Add NLM XML or JSON-lines files to a store; what was added before is skipped.

    Args:
        sources: .xml, .xml.gz, .jsonl or .jsonl.gz files, or folders that are searched for them.
        store: the folder of the store; it is made where it is missing.
    """
    from pubmedbert.corpus.store import Store

    files = _files(sources)
    target = Store(store, create=True)
    total = sum(file.stat().st_size for file in files) / MEGABYTE
    added = skipped = citations = deletions = warned = 0
    with progress("adding", total, "MB") as advance:
        for file in files:
            read = 0

            def count(amount: int, file: Path = file) -> None:
                nonlocal read
                read += amount
                advance(amount / MEGABYTE, note=file.name)

            try:
                result = target.add(file, count)
            except InputError as error:
                stay = "1 file added before it stays" if added == 1 else f"{added} files added before it stay"
                raise InputError(f"{error}; {stay} in {store}" if added else str(error)) from error
            advance((file.stat().st_size - read) / MEGABYTE)
            if result.skipped:
                skipped += 1
                if skipped <= SKIPS_TOLD:
                    say(f"{file}: nothing to do, {result.reason}")
            else:
                added += 1
                citations += result.citations
                deletions += result.deletions
                warned += bool(result.namesakes)
                if result.namesakes and warned <= SKIPS_TOLD:
                    before = ", ".join(map(str, result.namesakes))
                    say(
                        f"warning: {file} has the name of a file added before, with other bytes; the rows of that one "
                        f"stay: if this one is to replace it, delete {before}"
                    )
    say(f"{store}: {added} files added ({citations:,} citations, {deletions:,} deletions), {skipped} already there")


def screen(
    *,
    store: Path,
    min_words: int = 128,
    exclude_pmids: Path | None = None,
    exclude_source: Annotated[list[str] | None, Parameter(negative=())] = None,
    exclude_blurb: Path | None = None,
    reset: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Decide which documents later stages read; write screen.parquet.

    A document is dropped for the first of these reasons: no abstract, not in English, retracted, excluded by source or
    PMID, a held-out text of BLURB in it, an abstract of too few words, the same title and abstract as another document.

    Args:
        store: the folder of the store.
        min_words: drop abstracts with fewer words (the default is that of Gu et al. 2020).
        exclude_pmids: a file with one PMID a line; their texts are dropped under other ids, too.
        exclude_source: drop the documents with a row of this source, be it an older one; may be repeated.
        exclude_blurb: the folder of the BLURB data sets; drop the documents in which a text of a dev or test set stands
            (at least half of the runs of eight words of it or of a piece of 20 words or more), and say how many texts
            of each set were found.
        reset: go ahead where the last screen had exclusions that this one has not.
    """
    from pubmedbert.corpus.screen import Settings, read_pmids, undone
    from pubmedbert.corpus.screen import screen as run
    from pubmedbert.corpus.store import Store

    pmids = read_pmids(exclude_pmids) if exclude_pmids else frozenset()
    target = Store(store)
    held_out = _held_out(exclude_blurb) if exclude_blurb else None
    settings = Settings(min_words, pmids, frozenset(exclude_source or ()), held_out)
    if not reset and (options := undone(target, settings)):
        raise InputError(
            f"the last screen of {store} had {', '.join(options)}, and this one has not: repeat that one with "
            f"'{target.last_screen.command()}', or add --reset to let in what it left out"
        )
    given = {"exclude_pmids": exclude_pmids, "exclude_blurb": exclude_blurb}
    if not run(target, settings, {name: str(path.absolute()) for name, path in given.items() if path}):
        say(f"{store}: nothing to do, the same parts were screened with the same settings")
    for line in _contamination(target.contamination()):
        say(line)
    say(
        f"{store}: {target.kept():,} documents kept; pubmedbert corpus report --store {store} tells why others were not"
    )


def _held_out(data: Path) -> HeldOut:
    """The dev and test texts of the BLURB data sets in a folder; says which of these are not there."""
    from pubmedbert.blurb.datasets import held_out, lacking
    from pubmedbert.blurb.registry import NAMES
    from pubmedbert.corpus.overlap import HeldOut

    texts = {name: held_out(name, data) for name in NAMES}
    if not any(texts.values()):
        raise InputError(f"--exclude-blurb {data}: the folder holds no dev or test file of a BLURB data set")
    for name in NAMES:
        for split, path in lacking(name, data).items():
            say(f"{name}: {split} is not compared, {path} is missing")
    return HeldOut(texts)


def _contamination(counts: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """A line for each data set: how many of its held-out texts the corpus holds."""
    for name, of in counts.items():
        short = of["texts"] - of["judged"]
        more = f"; {short:,} more are too short to tell" if short else ""
        share = f"{of['found']:,} of {of['judged']:,} dev and test texts"
        yield f"{name}: {share} are in {of['documents']:,} documents{more}"


def report(*, store: Path, json: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Show what a store holds, and write report.json into it.

    Args:
        store: the folder of the store.
        json: print JSON instead of tables.
    """
    from pubmedbert.corpus.report import show, summarize
    from pubmedbert.corpus.store import Store
    from pubmedbert.files import write_json

    result = summarize(Store(store))
    write_json(store / "report.json", result)
    if json:
        print((store / "report.json").read_text(encoding="utf-8"), end="")
    else:
        show(result, str(store))


def _below(folder: Path) -> Iterator[Path]:
    """All files in a folder and those in it, links to folders followed; what can't be read in it is named.

    Raises:
        InputError: the folder itself can't be read.
    """

    def tell(error: OSError) -> None:
        sentence = f"cannot read {error.filename}: {error.strerror}"
        if Path(error.filename) == folder:
            raise InputError(sentence) from error
        say(f"warning: {sentence}; what is in it is left out")

    seen: set[tuple[int, int]] = set()
    for place, folders, names in os.walk(folder, onerror=tell, followlinks=True):
        stat = Path(place).stat()
        if (stat.st_dev, stat.st_ino) in seen:  # links that lead in a circle
            folders.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        yield from (Path(place, name) for name in names)


def _files(sources: tuple[Path, ...]) -> list[Path]:
    """The files that the sources name, each once, folders searched; all are checked before anything is read."""
    from pubmedbert.corpus.source import ENDINGS, stem_of

    if not sources:
        raise InputError(f"name at least one file or folder to add: {', '.join(ENDINGS)}")
    files: dict[Path, None] = {}
    for source in sources:
        if source.is_dir():
            found = sorted(path for path in _below(source) if path.name.lower().endswith(ENDINGS))
            if bad := [path for path in found if not path.is_file()]:
                raise InputError(f"{bad[0]} is no file, or a link that leads to none: delete or mend it")
            if not found:
                raise InputError(f"the folder {source} holds no file that ends in {', '.join(ENDINGS)}")
            files.update(dict.fromkeys(found))
        elif source.is_file():
            stem_of(source)
            files[source] = None
        else:
            raise InputError(f"{source} does not exist: name a file or a folder")
    return list(files)
