"""What an archive's URL says of the project in it. Whether it may be fetched is not decided here."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

_SUFFIXES = re.compile(r"\.(tar\.gz|tar\.zst|tgz|tzst|tar|zip)$", re.I)


def archive_name(url: str) -> str:
    """The file's name without what tells its format, of characters that an image's name may have; "" for none.

    `https://host/v1/hello-1.0.tar.gz?signature=…` is `hello-1.0`.
    """
    try:
        path = urlsplit(url).path
    except ValueError:
        return ""
    name = _SUFFIXES.sub("", unquote(path.rstrip("/").rpartition("/")[2]))
    return re.sub(r"[^A-Za-z0-9._-]+|[._-]{2,}", "-", name).strip("._-")
