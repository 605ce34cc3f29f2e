"""The lab: a real kind cluster on this machine, and the servers our users have beside theirs.

`python -m tests.lab up` brings it up, `down` takes it away without a trace, `env` prints what
a shell needs to use it. Tests read :class:`tests.lab.state.Lab`.

Everything comes from Debian packages and Go modules, because the machines we work on reach no
container registry: Docker Engine where none answers (`engine`), a node image of our own
(`nodeimage`), kind and its cluster (`cluster`), a registry, a git server and an S3 server
(`services`), and images to test with (`images`). Standard library only: the lab runs before
the project's virtual environment exists.

What must not live here: anything that the product imports, and tests of anything but the lab.
"""
