"""Benchmarks on the lab: `make bench` prints a table and writes build/bench.json.

Machines are shared and noisy, so times are ratios within one run: each pair of a Build and its floor is taken in turn.
The *floor* is the same pod without us: same containers, same init command fetching the same commit, a box command that
reports its start.
"""
