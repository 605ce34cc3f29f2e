"""Frames: any pieces, the limits, and what is nonsense."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.errors import ProtocolError
from sentinel.session.frames import (
    MAX_ENVIRONMENT,
    MAX_FRAME,
    MAX_HEARD,
    MAX_ITEMS,
    MAX_MESSAGE,
    FrameDecoder,
    JsonFrame,
    LogFrame,
    encode_json,
    encode_log,
)

texts = st.text(max_size=50)
frames = st.one_of(
    st.builds(JsonFrame, message=st.fixed_dictionaries({"type": texts, "n": st.integers()})),
    st.builds(
        LogFrame,
        ordinal=st.integers(0, 2**32 - 1),
        offset=st.integers(0, 2**64 - 1),
        data=st.binary(max_size=100),
    ),
)


def encode(frame: JsonFrame | LogFrame) -> bytes:
    if isinstance(frame, JsonFrame):
        return encode_json(frame.message)
    return encode_log(frame.ordinal, frame.offset, frame.data)


@given(st.lists(frames, max_size=8), st.lists(st.integers(0, 400), max_size=12))
def test_frames_arrive_in_order_whatever_pieces_the_bytes_come_in(
    sent: list[JsonFrame | LogFrame], cuts: list[int]
) -> None:
    wire = b"".join(encode(frame) for frame in sent)
    edges = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    decoder = FrameDecoder()
    heard = []
    for begin, end in pairwise(edges):
        heard += decoder.feed(wire[begin:end])
    assert heard == sent


@given(st.binary(max_size=200))
def test_any_bytes_give_frames_or_a_protocol_error(wire: bytes) -> None:
    decoder = FrameDecoder()
    try:
        heard = decoder.feed(wire)
    except ProtocolError:
        return
    assert sum(len(frame.data) for frame in heard if isinstance(frame, LogFrame)) <= len(wire)


def test_a_long_message_travels_in_parts_of_at_most_a_frame() -> None:
    message = {"type": "open", "env": ["x" * (2 * MAX_FRAME + 17)]}
    wire = encode_json(message)
    assert [wire[at + 4 : at + 5] for at in (0, MAX_FRAME + 4, 2 * (MAX_FRAME + 4))] == [
        b"P",
        b"P",
        b"J",
    ]
    assert FrameDecoder(largest=MAX_MESSAGE).feed(wire) == [JsonFrame(message=message)]


def test_a_large_message_that_is_expected_may_not_be_many_small_things() -> None:
    decoder = FrameDecoder(largest=MAX_ENVIRONMENT)
    many = encode_json({"type": "environment", "env": [["A", "x"]] * (MAX_ITEMS // 4)})
    assert len(decoder.feed(many)) == 1
    with pytest.raises(ProtocolError, match=f"more than {MAX_ITEMS} items"):
        decoder.feed(encode_json({"type": "environment", "env": [{}] * MAX_ITEMS}))


def frame(kind: bytes, payload: bytes) -> bytes:
    return (len(payload) + 1).to_bytes(4, "big") + kind + payload


@pytest.mark.parametrize(
    ("wire", "says"),
    [
        (bytes(4), "a frame of 0 bytes"),
        ((MAX_FRAME + 1).to_bytes(4, "big"), "a frame of 1048577 bytes; 1 to 1048576 are allowed"),
        (frame(b"X", b""), "unknown type 0x58"),
        (frame(b"L", b"short"), "no header"),
        (frame(b"J", b"{"), "not JSON"),
        (frame(b"J", b"[" * 60_000), "not JSON"),
        (frame(b"J", b"[]"), "not an object"),
        (frame(b"J", b"\xff"), "not JSON"),
        (frame(b"J", b'{"type":1}'), "not an object with a `type`"),
        (frame(b"P", bytes(MAX_FRAME - 1)), f"more than {MAX_HEARD} bytes"),
        (frame(b"J", b'{"type":"ping","x":[' + b"{}," * 30_000 + b"{}]}"), "more than"),
    ],
)
def test_nonsense_is_a_protocol_error(wire: bytes, says: str) -> None:
    with pytest.raises(ProtocolError, match=says):
        FrameDecoder().feed(wire)


def test_a_message_that_no_frame_can_carry_is_not_sent() -> None:
    with pytest.raises(ProtocolError, match="are allowed"):
        encode_json({"type": "open", "x": "x" * MAX_MESSAGE})
