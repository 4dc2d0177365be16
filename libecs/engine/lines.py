"""A line of a task's output: made fit for terminals and journals, and judged by what it begins with."""

from __future__ import annotations

import re

from libecs.wire.telemetry import MAX_LINE_BYTES, LogLine, Severity

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?", re.DOTALL)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LOOKED_AT = 120
"""Characters at the beginning of a line in which its severity is looked for."""
_CLEANED = 64 * 1024
"""Characters of a text that are looked at at all."""

_WORDS: dict[str, Severity] = {
    "FATAL": Severity.FATAL,
    "CRITICAL": Severity.FATAL,
    "ERROR": Severity.ERROR,
    "WARNING": Severity.WARNING,
    "WARN": Severity.WARNING,
    "INFO": Severity.INFO,
    "DEBUG": Severity.DEBUG,
    "TRACE": Severity.DEBUG,
}
_WORD = re.compile(rf"(?<![A-Za-z0-9_])({'|'.join(_WORDS)})(?![A-Za-z0-9_])")
_EXCEPTION = re.compile(r"(?:[A-Za-z_][\w.]*)?(?:Error|Exception)(?::|$)|(?:[\w./-]+: )?(?:fatal|error):", re.ASCII)
_USUAL = {"stderr": Severity.WARNING}


def clean(text: str) -> str:
    """Return a text as one line: no escape sequences, no control characters, at most MAX_LINE_BYTES of UTF-8.

    What a carriage return has overwritten is gone, as on a terminal.
    """
    text = text[:_CLEANED].rstrip()
    if not text.isprintable():
        text = text.rpartition("\r")[2].replace("\t", " ").replace("\n", " ")
        text = _CONTROLS.sub("", _ESCAPES.sub("", text))
        text = text.encode("utf-8", "replace").decode()  # lone surrogates have no UTF-8
    if len(text) * 4 > MAX_LINE_BYTES and len(data := text.encode()) > MAX_LINE_BYTES:
        text = data[: MAX_LINE_BYTES - 3].decode("utf-8", "ignore") + "…"
    return text


def severity_of(text: str, stream: str) -> Severity:
    """Return how bad a line of stdout or stderr is, by the word that most loggers write near its beginning.

    Without such a word, what is written to stderr is a warning.
    """
    head = text[:_LOOKED_AT]
    if (found := _WORD.search(head)) is not None:
        return _WORDS[found[1]]
    if _EXCEPTION.match(head) is not None:
        return Severity.ERROR
    return _USUAL.get(stream, Severity.INFO)


def output_line(text: str, stream: str, unix_ms: int) -> LogLine | None:
    """Return a line of stdout or stderr, None if there is nothing on it."""
    if not (text := clean(text)):
        return None
    return LogLine(severity=severity_of(text, stream), text=text, unix_ms=unix_ms, stream=stream)
