"""What the image's build removes is never imported: tools/strip.py."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]

IMPORT_ALL = """
import importlib, json, pkgutil, sys
import kopf, sentinel
for module in pkgutil.walk_packages(sentinel.__path__, "sentinel."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(json.dumps([m.__file__ for m in list(sys.modules.values()) if getattr(m, "__file__", None)]))
"""


def strip() -> ModuleType:
    spec = importlib.util.spec_from_file_location("strip", ROOT / "tools" / "strip.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_nothing_that_sentinel_imports_is_removed() -> None:
    found = subprocess.run([sys.executable, "-c", IMPORT_ALL], check=True, capture_output=True)
    imported = {Path(name) for name in json.loads(found.stdout)}
    removed = strip().dispensable(Path(sys.prefix))
    assert len(removed) > 1000
    assert imported.isdisjoint(removed)
    assert not [
        path
        for path in imported
        if "site-packages" in path.parts and any(parent in removed for parent in path.parents)
    ]
