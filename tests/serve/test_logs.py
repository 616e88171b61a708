"""Logs as lines that every reader of logs can part."""

from __future__ import annotations

import json
import logging
import sys

from pubmedbert.serve.logs import JsonLines, log_to_stderr


def test_a_record_is_a_line_of_ascii() -> None:
    record = logging.LogRecord("a", logging.INFO, "file", 1, "naïve\u2028line\nother", (), None)
    record.fields = {"path": "/\x85"}
    line = JsonLines().format(record)
    assert line.isascii()
    assert len(line.splitlines()) == 1
    assert json.loads(line)["message"] == "naïve\u2028line\nother"


def test_a_traceback_is_in_its_line() -> None:
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        record = logging.LogRecord("a", logging.ERROR, "file", 1, "fault", (), sys.exc_info())
    assert "ZeroDivisionError" in json.loads(JsonLines().format(record))["traceback"]


def test_asyncio_says_what_it_says_in_lines_too() -> None:
    loggers = [logging.getLogger(name) for name in ("pubmedbert.serve", "uvicorn", "asyncio")]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    log_to_stderr()
    try:
        assert all(isinstance(logger.handlers[0].formatter, JsonLines) for logger in loggers)
    finally:
        for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.level, logger.propagate = handlers, level, propagate
