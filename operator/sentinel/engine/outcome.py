"""How a build ended. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from sentinel.api.reasons import Reason


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a build ended. `reason` is Passed exactly when `succeeded`; it may be one that only another release knows."""

    succeeded: bool
    reason: Reason | str
    message: str

    @property
    def head(self) -> tuple[str, str]:
        """The result in a word, and what follows it: "passed", ""; "failed", " (ExitCode)"; "cancelled", ""."""
        if self.succeeded:
            return "passed", ""
        if self.reason == Reason.CANCELLED:
            return "cancelled", ""
        return "failed", f" ({self.reason})"

    @classmethod
    def passed(cls, message: str) -> Outcome:
        return cls(succeeded=True, reason=Reason.PASSED, message=message)

    @classmethod
    def failed(cls, reason: Reason | str, message: str) -> Outcome:
        return cls(succeeded=False, reason=reason, message=message)
