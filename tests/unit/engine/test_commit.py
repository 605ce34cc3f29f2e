"""What a Build tells of its image."""

from __future__ import annotations

from sentinel.api.imagecommit import ExcludedPath, ImageCommitStatus
from sentinel.engine.commit import not_in_image


def test_each_entry_of_exclude_paths_says_how_much_it_left_out() -> None:
    excluded = [ExcludedPath(path="/opt/c", entries=3), ExcludedPath(path="/root/.npmrc")]

    assert not_in_image(ImageCommitStatus(excluded=excluded, left_out=["1 socket"])) == (
        "excludePaths left out of the image: /opt/c (3 entries), /root/.npmrc (matched nothing); "
        "not in the image: 1 socket"
    )
    assert not_in_image(ImageCommitStatus()) == ""
