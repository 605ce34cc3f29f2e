"""What the tests of this folder start."""

from tests.boxkit.conftest import boxkit

__all__ = ["boxkit"]
