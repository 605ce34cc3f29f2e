"""The figures that `make bench` prints for wercker.yml stay within their goals by a wide margin of noise."""

from __future__ import annotations

from tests.bench.config import hostile, long_file

from sentinel.config.load import load


def test_the_file_that_is_measured_is_sound_and_5000_lines_long() -> None:
    text = long_file()

    assert text.count("\n") == 5000
    assert load(text.encode()).diagnostics == ()


def test_each_hostile_file_is_answered_with_a_finding() -> None:
    codes = {name: load(make()).diagnostics[0].code for name, make in hostile().items()}

    assert codes == {
        "brackets_40000": "WY006",
        "alias_bomb": "WY007",
        "dashes_100000": "WY003",
        "scalar_1_mib": "WY106",
        "keys_100000": "WY007",
    }
