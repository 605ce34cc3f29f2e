"""The resources: Build and ImageCommit as data, their conditions and reasons, and the CRDs made from them.

Pure: no I/O, no clock, no Kubernetes client. What a field means stands on the field: it becomes `kubectl explain`.
"""

from __future__ import annotations

GROUP = "sentinel.wercker.com"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
