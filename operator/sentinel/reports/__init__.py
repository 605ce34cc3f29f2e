"""Reports of builds to the outside: wercker-api, CloudEvents, commit statuses.

A process of its own (`sentinel reporter`) watches Builds and sends what their status implies. Nothing here takes part
in a build: the operator knows nothing of reports, and a dead endpoint costs it nothing. `sequence`, `wercker`,
`cloudevents`, `commitstatus` and `logs` are pure; `outbox`, `lane` and `sender` deliver; `cursors` remembers what was
delivered.
Why it is done like this: docs/design/2026-11-28-reports.md.
"""
