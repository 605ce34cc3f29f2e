"""The container runtimes that the agent can commit from, siblings behind `base.Runtime`."""

from __future__ import annotations
