"""How git is called: its environment, its credentials, its route, an empty repository to work in.

No process is started here. Standard library only: the init container imports it.

A repository is not ours, and its server may not be either. Therefore: no configuration but ours, no hooks, no prompts,
no protocol that runs a command, connections to checked addresses only, and credentials that are offered to the one
server they were given for. They travel in the environment of git alone: never in an argument, a URL, a file of the
repository or an error.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from sentinel.egress import Proxy
from sentinel.source.address import SCHEMES, Address

_KEPT = (
    "PATH",
    "TMPDIR",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)

_CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where systems keep the authorities that the system trusts, in one file: Debian, Fedora, SUSE, Alpine."""

# Answers `get` only; git also calls it with `store` and `erase`, which are none of its business.
_HELPER = (
    '!f() { if test "$1" = get; then '
    'printf \'username=%s\\npassword=%s\\n\' "$SENTINEL_GIT_USERNAME" "$SENTINEL_GIT_PASSWORD"; '
    "fi; }; f"
)


def environment(
    *,
    address: Address,
    username: str = "",
    password: str = "",
    token: str = "",
    key_file: str = "",
    known_hosts_file: str = "",
    ca_file: str = "",
    allow_file: bool = False,
    inherited: Mapping[str, str] | None = None,
    pinned: Sequence[str] = (),
    proxy: Proxy | None = None,
    instead_of: str = "",
) -> dict[str, str]:
    """The whole environment of git and its children, secrets included: never print it.

    Of our own environment only the path and certificate authorities are passed on. Without `proxy` git connects
    directly. The user name and password are offered to `address`'s scheme, host and port only. A `token` is sent as
    `Authorization: Bearer`, unasked, instead of them. `ca_file` replaces the system's authorities. `pinned` are the
    addresses to connect to, in place of what name servers answer git; `address` is used where the repository's URL is
    `instead_of`. No redirect is followed: it would lead to an address that was not checked.
    """
    source = os.environ if inherited is None else inherited
    result = {name: source[name] for name in _KEPT if source.get(name)}
    settings = [
        ("core.hooksPath", os.devnull),
        ("core.fsmonitor", "false"),
        ("credential.helper", ""),
        ("credential.interactive", "false"),
        ("http.followRedirects", "false"),
        ("http.lowSpeedLimit", "1000"),
        ("http.lowSpeedTime", "30"),
        ("protocol.version", "2"),
        ("gc.auto", "0"),
        ("maintenance.auto", "false"),
        ("submodule.recurse", "false"),
        ("advice.detachedHead", "false"),
        # A blob larger than this goes to disk in pieces; the default, 512 MiB, is what a small bomb unpacks to.
        ("core.bigFileThreshold", "16m"),
        ("pack.threads", "2"),
    ]
    if proxy is not None:
        # Only the one that counts, and no no_proxy: whether there is a proxy for this server is decided already.
        result[f"{address.scheme}_proxy"] = proxy.full_url
    if ca_file:
        # The variable would win over the setting.
        result.pop("GIT_SSL_CAINFO", None)
        settings.append(("http.sslCAInfo", ca_file))
    if token and address.is_http:
        base = f"http.{address.scheme}://{address.host}/"
        settings.append((f"{base}.extraHeader", f"Authorization: Bearer {token}"))
    elif password or username:
        # A token alone is common; servers ignore the name, but it must not be empty.
        result["SENTINEL_GIT_USERNAME"] = username or "git"
        result["SENTINEL_GIT_PASSWORD"] = password
        settings.append((f"credential.{address.scheme}://{address.host}.helper", _HELPER))
        # Saves the round trip that ends in 401 (git 2.46 and later; ignored before).
        settings.append(("http.proactiveAuth", "basic"))
    url = address.url
    if pinned and address.is_http:
        place = f"{address.hostname}:{address.port_number}"
        settings.append(("http.curloptResolve", f"{place}:{','.join(pinned)}"))
    elif pinned and address.scheme == "git":
        result["GIT_OVERRIDE_VIRTUAL_HOST"] = address.host
        numeric = f"[{pinned[0]}]" if ":" in pinned[0] else pinned[0]
        path = address.url.partition("://")[2].partition("/")[2]
        instead_of = instead_of or url
        url = f"git://{numeric}:{address.port_number}/{path}"
    if instead_of and instead_of != url:
        settings.append((f"url.{url}.insteadOf", instead_of))
    result |= {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_ALLOW_PROTOCOL": ":".join(SCHEMES + (("file",) if allow_file else ())),
        "GIT_SSH_COMMAND": _ssh(address, key_file, known_hosts_file, pinned),
        "GIT_SSH_VARIANT": "ssh",
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GIT_CONFIG_COUNT": str(len(settings)),
    }
    for index, (name, value) in enumerate(settings):
        result[f"GIT_CONFIG_KEY_{index}"] = name
        result[f"GIT_CONFIG_VALUE_{index}"] = value
    return result


def _ssh(address: Address, key_file: str, known_hosts_file: str, pinned: Sequence[str]) -> str:
    options = [
        "BatchMode=yes",
        "ConnectTimeout=15",
        "ServerAliveInterval=15",
        "ServerAliveCountMax=3",
        "StrictHostKeyChecking=yes",
        f"UserKnownHostsFile={known_hosts_file or os.devnull}",
        f"GlobalKnownHostsFile={os.devnull}",
        "IdentityAgent=none",
        f"IdentityFile={key_file or 'none'}",
        "IdentitiesOnly=yes",
    ]
    if pinned and address.scheme == "ssh":
        # known_hosts has the name, with its port where that is not ssh's own.
        name, port = address.hostname, address.port_number
        alias = name if port == 22 else f"[{name}]:{port}"
        options += [f"HostName={pinned[0]}", f"HostKeyAlias={alias}", "CheckHostIP=no"]
    return "ssh -F none " + " ".join(f"-o '{option}'" for option in options)


def write_ssh_files(directory: str, *, key: str, known_hosts: str) -> tuple[str, str]:
    """Write the private key and known hosts as ssh wants them; the paths, or "" for what is not given.

    A key that lost its last newline or gained carriage returns on its way into a Secret is mended: ssh refuses it.
    """
    paths = []
    for name, text in (("key", key), ("known_hosts", known_hosts)):
        if not text.strip():
            paths.append("")
            continue
        path = f"{directory}/{name}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text.replace("\r\n", "\n").strip() + "\n")
        paths.append(path)
    return paths[0], paths[1]


def write_ca_file(directory: str, *authorities: str) -> str:
    """Write a file of the system's certificate authorities and `authorities`, texts in PEM; its path, "" without any.

    ValueError where a text that is not empty holds no certificate.
    """
    given = [text.replace("\r\n", "\n").strip() for text in authorities if text.strip()]
    if not given:
        return ""
    if any("-----BEGIN CERTIFICATE-----" not in text for text in given):
        raise ValueError(
            "no certificate in PEM form, which begins with -----BEGIN CERTIFICATE-----"
        )
    chosen = [os.environ.get(name) or "" for name in ("GIT_SSL_CAINFO", "SSL_CERT_FILE")]
    for path in (*filter(None, chosen), *_CERTIFICATES):
        try:
            given.insert(0, Path(path).read_text("utf-8", "replace").strip())
        except OSError:
            continue
        break
    path = f"{directory}/ca.crt"
    _write(path, "\n".join(given) + "\n")
    return path


def write_repository(
    git_dir: str, *, url: str, bare: bool, partial: bool, branch: str = "", fetch: bool = False
) -> None:
    """Make an empty repository with remote `origin`, as `git init` would, without paying for a process.

    `partial` allows filters (extensions.partialClone); `fetch` sets the remote's usual refspec, for people.
    """
    for name in ("objects/info", "objects/pack", "refs/heads", "refs/tags", "info"):
        Path(git_dir, name).mkdir(parents=True, exist_ok=True)
    quoted = url.replace("\\", "\\\\").replace('"', '\\"')
    lines = ["[core]", f"\trepositoryformatversion = {1 if partial else 0}", "\tfilemode = true"]
    lines += [f"\tbare = {'true' if bare else 'false'}"]
    if not bare:
        # boxkit copies the checkout and keeps times: owner, inode and change time differ, the content does not.
        lines += ["\tlogallrefupdates = true", "\tcheckStat = minimal"]
    if partial:
        lines += ["[extensions]", "\tpartialClone = origin"]
    lines += ['[remote "origin"]', f'\turl = "{quoted}"']
    if fetch:
        lines.append("\tfetch = +refs/heads/*:refs/remotes/origin/*")
    if partial:
        lines.append("\tpromisor = true")
    _write(f"{git_dir}/config", "\n".join(lines) + "\n")
    _write(f"{git_dir}/HEAD", f"ref: refs/heads/{branch or 'main'}\n")


def write_submodule(git_dir: str, *, name: str, url: str) -> None:
    """Note a submodule as one that people's git looks after, as `git submodule init` does."""
    quoted = [text.replace("\\", "\\\\").replace('"', '\\"') for text in (name, url)]
    with Path(git_dir, "config").open("a", encoding="utf-8", errors="surrogateescape") as file:
        file.write(f'[submodule "{quoted[0]}"]\n\tactive = true\n\turl = "{quoted[1]}"\n')


def write_ref(git_dir: str, name: str, commit: str) -> None:
    """Point the ref `name` (refs/heads/main) at a commit. The name must be `valid_ref`."""
    path = Path(git_dir, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, commit + "\n")


def _write(path: str | Path, text: str) -> None:
    Path(path).write_text(text, encoding="utf-8")
