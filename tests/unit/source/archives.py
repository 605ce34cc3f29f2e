"""Archives for tests: entries described once, packed as each of the formats, by tools that are not ours."""

from __future__ import annotations

import gzip
import io
import stat
import subprocess
import tarfile
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path

FORMATS = ("tar", "tar.gz", "tar.zst", "zip")


@dataclass(frozen=True, kw_only=True)
class Made:
    """One entry: kind "file", "dir", "symlink", "hardlink", "device", "fifo"."""

    name: str
    kind: str = "file"
    data: bytes = b""
    target: str = ""
    mode: int = 0o644


_TYPES = {
    "file": tarfile.REGTYPE,
    "dir": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "hardlink": tarfile.LNKTYPE,
    "device": tarfile.CHRTYPE,
    "fifo": tarfile.FIFOTYPE,
}


def tar(
    *entries: Made, form: int = tarfile.PAX_FORMAT, headers: dict[str, str] | None = None
) -> bytes:
    """A tar by Python's tarfile; `headers` become its global pax header."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, pax_headers=headers) as archive:
        for each in entries:
            info = tarfile.TarInfo(each.name)
            info.type, info.linkname, info.mode = _TYPES[each.kind], each.target, each.mode
            info.mtime, info.uid, info.uname = 1_500_000_000, 12345, "somebody"
            info.size = len(each.data)
            archive.addfile(info, io.BytesIO(each.data))
    return out.getvalue()


def zipped(*entries: Made) -> bytes:
    """A zip by Python's zipfile. Zip has no hard links."""
    out = io.BytesIO()
    types = {
        "symlink": stat.S_IFLNK,
        "device": stat.S_IFCHR,
        "fifo": stat.S_IFIFO,
        "dir": stat.S_IFDIR,
    }
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        # Names that come twice are what we want.
        warnings.simplefilter("ignore")
        for each in entries:
            name = each.name + ("/" if each.kind == "dir" else "")
            info = zipfile.ZipInfo(name, (2017, 7, 14, 2, 40, 0))
            # zipfile itself cuts names at a NUL when it makes an entry.
            info.filename = name
            info.create_system = 3
            info.external_attr = (types.get(each.kind, stat.S_IFREG) | each.mode) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, each.target if each.kind == "symlink" else each.data)
    return out.getvalue()


def pack(form: str, *entries: Made) -> bytes:
    """The entries as an archive of one of FORMATS."""
    if form == "zip":
        return zipped(*entries)
    plain = tar(*entries)
    if form == "tar.gz":
        return gzip.compress(plain, mtime=0)
    if form == "tar.zst":
        return subprocess.run(["zstd", "-qc"], input=plain, check=True, capture_output=True).stdout
    return plain


def snapshot(directory: Path) -> dict[str, object]:
    """Everything below a directory that can be changed: kinds, modes, contents, targets, times."""
    found: dict[str, object] = {}
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        name = str(path.relative_to(directory))
        if path.is_symlink():
            found[name] = path.readlink()
        elif path.is_dir():
            found[name] = ("dir", stat.S_IMODE(status.st_mode))
        else:
            content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
            found[name] = (status.st_mode, status.st_nlink, status.st_mtime_ns, content)
    return found
