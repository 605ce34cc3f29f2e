"""The variables by which wercker's services are known in the box, after Docker's links (wercker.md "Services").

All services share the pod's network, so every address is 127.0.0.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

ADDRESS = "127.0.0.1"

Port: TypeAlias = tuple[int, str]
"""Number and protocol, in lower case."""


def exposed(image: Sequence[str] = (), ports: Sequence[str] = ()) -> tuple[Port, ...]:
    """The ports of the image's EXPOSE entries and of the service's own `ports`, sorted, each once.

    Forms: `port`, `host:container`, `ip:host:container`, each with /tcp or /udp; ranges and other text are left out.
    """
    found: set[Port] = set()
    for entry in (*image, *ports):
        text, _, protocol = entry.partition("/")
        number = text.rpartition(":")[2]
        if number.isascii() and number.isdecimal() and 0 < int(number[:6]) < 65536:
            found.add((int(number), protocol.lower() or "tcp"))
    return tuple(sorted(found))


def link_prefix(alias: str) -> str:
    """What the names of a service's variables begin with; `my-db`, `my.db` and `MY_DB` have the same."""
    return alias.upper().replace("-", "_").replace(".", "_")


def link_bytes(*, alias: str, ports: Sequence[Port], env: Sequence[tuple[str, str]]) -> int:
    """About how many bytes `link_variables` of one service will take, without making them."""
    head = len(alias) + 8
    return len(ports) * 4 * (2 * head + 30) + sum(
        head + len(name) + len(value.encode("utf-8", "surrogatepass")) for name, value in env
    )


def link_variables(
    *,
    alias: str,
    ports: Sequence[Port],
    env: Sequence[tuple[str, str]],
    uid: str,
) -> tuple[tuple[str, str], ...]:
    """The variables of one service, in a fixed order. `env` is its container's whole environment."""
    prefix = link_prefix(alias)
    variables = [(f"{prefix}_NAME", f"/wercker-pipeline-{uid}/{alias}")]
    if ports:
        number, protocol = ports[0]
        variables.append((f"{prefix}_PORT", f"{protocol}://{ADDRESS}:{number}"))
    for number, protocol in ports:
        name = f"{prefix}_PORT_{number}_{protocol.upper()}"
        variables += [
            (name, f"{protocol}://{ADDRESS}:{number}"),
            (f"{name}_ADDR", ADDRESS),
            (f"{name}_PORT", str(number)),
            (f"{name}_PROTO", protocol),
        ]
    variables += [(f"{prefix}_ENV_{name}", value) for name, value in env]
    return tuple(variables)
