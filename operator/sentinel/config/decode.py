"""The bytes of a file → its text, or the error that says why there is none."""

from __future__ import annotations

from sentinel.config.codes import Code
from sentinel.config.diagnostics import Diagnostic, Severity

SIZE_LIMIT = 1024 * 1024
"""Bytes of a file."""


class DocumentError(Exception):
    """The bytes are no document that can be worked with."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


def decode(data: bytes) -> str:
    """The text of a file, without byte order mark. Raises DocumentError for one too big or not UTF-8."""
    if len(data) > SIZE_LIMIT:
        raise refused(
            Code.TOO_BIG,
            f"the file has {len(data)} bytes, more than {SIZE_LIMIT}",
            line=0,
            column=0,
        )
    try:
        return data.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError as error:
        before = data[: error.start]
        wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        raise refused(
            Code.NOT_UTF8,
            "the file is UTF-16 text, not UTF-8"
            if wide
            else f"the file is not UTF-8 text: byte {data[error.start]:#04x} at offset {error.start}",
            line=before.count(b"\n") + 1,
            column=error.start - (before.rfind(b"\n") + 1) + 1,
            hint="save it as UTF-8",
        ) from error


def refused(code: Code, message: str, *, line: int, column: int, hint: str = "") -> DocumentError:
    """An error to raise."""
    return DocumentError(
        Diagnostic(
            line=line,
            column=column,
            code=code,
            severity=Severity.ERROR,
            message=message,
            hint=hint,
        )
    )
