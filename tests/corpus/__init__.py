"""Real files, as data for comparison. The files themselves are not ours to publish and lie beside the checkout."""

from __future__ import annotations

from pathlib import Path

REAL = Path(__file__).parents[3] / "shared/corpus/real"
"""NNN.yml and NNN.expected.json, in the form that FORM.md there describes."""
