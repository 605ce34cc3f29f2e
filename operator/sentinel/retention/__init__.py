"""What builds leave behind, and what of it may go: objects of the store and images in registries.

Nothing here runs in the operator, but for the mark that its cluster has in the store. `sentinel prune` runs it, as a
CronJob of the chart. Finished Builds themselves are the operator's resync's (`plan/history.py`, `engine/sweep.py`).
"""
