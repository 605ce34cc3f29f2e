"""Whatever names and links an archive has, nothing outside its destination is created, changed or reachable."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.source.archives import Made, snapshot, tar, zipped

from sentinel.source.unpack import ArchiveLimits, Refused, unpack

# Few names, so that they meet: links below links, files through links, names that come again.
PARTS = st.sampled_from(["a", "b", "c", "..", ".", "", "outside", "precious", "dest"])
PATHS = st.builds(
    lambda start, parts: start + "/".join(parts),
    st.sampled_from(["", "", "", "/", "./", "../"]),
    st.lists(PARTS, min_size=1, max_size=5),
)
ENTRIES = st.lists(
    st.builds(
        lambda name, kind, target, data, mode: Made(
            name=name, kind=kind, target=target, data=data if kind == "file" else b"", mode=mode
        ),
        PATHS,
        st.sampled_from(["file", "file", "dir", "symlink", "symlink", "hardlink"]),
        PATHS,
        st.sampled_from([b"", b"evil"]),
        st.sampled_from([0o000, 0o644, 0o755, 0o4777]),
    ),
    max_size=8,
)


@settings(max_examples=500)
@given(entries=ENTRIES, as_zip=st.booleans(), strip=st.sampled_from(["auto", "none", "one"]))
def test_nothing_outside_the_destination_is_touched(
    entries: list[Made], as_zip: bool, strip: str
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        (root / "outside").mkdir()
        (root / "outside" / "precious").write_text("precious")
        (root / "precious").write_text("precious")
        if as_zip:
            entries = [each for each in entries if each.kind != "hardlink"]
        (root / "archive").write_bytes(zipped(*entries) if as_zip else tar(*entries))
        before = snapshot(root)
        dest = root / "place" / "dest"
        with contextlib.suppress(Refused):
            unpack(str(root / "archive"), str(dest), limits=ArchiveLimits(), strip=strip)
        after = snapshot(root)
        for path in [name for name in after if name == "place" or name.startswith("place/")]:
            del after[path]
        assert after == before
        assert [path.name for path in (root / "place").iterdir()] == ["dest"]
        inside = os.path.realpath(dest)
        for path in dest.rglob("*"):
            real = os.path.realpath(path)
            assert real == inside or real.startswith(f"{inside}/"), (path, real)
            if not path.is_symlink():
                assert path.lstat().st_mode & 0o7000 == 0
