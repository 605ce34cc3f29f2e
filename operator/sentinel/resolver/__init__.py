"""Working on a tenant's bytes outside the operator's process: git, archives, YAML, registries' answers, steps.

`server.py` runs in a container of its own, without a Kubernetes token or the object store's credentials, and forks one
limited child (`child.py`, `work.py`) per Build. `client.py` is the operator's side; `messages.py` is what the two
exchange, `wire.py` how. Not here: anything that decides what a Build becomes (`plan`, `engine`).
"""
