"""Where a project comes from, git or an archive: one synchronous library, standard library only.

A child of the resolver resolves (`git.resolve`, `archive.inspect`), the init container of a build's pod checks
out (`fetch.main`), and `sentinel.steps` fetches steps with the same parts:

* `address`: every form of URL, once; names of refs. `access`, `gitcommand`: git's environment, credentials and route.
* `process`: one git process and its bounds. `repository`: git in one repository; `git`, `checkout` build on it.
* `http`: one GET, bounded; `download`: what it means for an archive. `packed`, `tarreader`, `zipreader`, `tree`,
  `unpack`: from an archive to a tree.
* `failure`: errors, the `Deadline` that every call takes, and the retry loop.

Every call takes a `network.Policy`, None for the strictest, and raises errors of `sentinel.errors` whose messages hold
no credential and nothing that a server sent.
"""

from __future__ import annotations
