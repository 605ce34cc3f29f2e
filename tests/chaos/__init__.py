"""Faults by the hundred: `python -m tests.chaos` counts them and what they did. A tenth of each runs as tests.

A fault's module has one coroutine that takes how many faults to inject and a seed, and returns an object of
build/chaos.json: `count`, and findings that must all be 0.
"""
