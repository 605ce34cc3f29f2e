"""Steps of a registry: found by what wercker.yml calls them, fetched, checked, and kept as archives with a digest.

`source.py` is the way in; each kind of registry has a module of its own. What a step does to a build (its variables,
its order) is not decided here, and nothing here runs a line of one.
"""

from __future__ import annotations

from sentinel.steps.manifest import Manifest, Property, read_manifest
from sentinel.steps.project import Project
from sentinel.steps.source import StepSource, find_all, step_source
from sentinel.steps.wanted import FoundStep, WantedStep

__all__ = [
    "FoundStep",
    "Manifest",
    "Project",
    "Property",
    "StepSource",
    "WantedStep",
    "find_all",
    "read_manifest",
    "step_source",
]
