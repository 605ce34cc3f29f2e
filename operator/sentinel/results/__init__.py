"""The results API: logs and output of Builds for clients that reach the API server only (`sentinel results`).

An aggregated API (group `results.sentinel.wercker.com`): the API server authenticates and authorizes each request and
forwards it here. Not here: writing to the store, and following a box that runs.
"""

from __future__ import annotations
