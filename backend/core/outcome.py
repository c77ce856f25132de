"""What a run amounts to: how each step stands, and the report that `run-action` prints."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from backend.core.errors import Missing, PgtuiError, Refused

StepStatus = Literal["waiting", "running", "done", "failed", "cancelled", "undone", "skipped"]


@dataclass(slots=True)
class StepState:
    """One step of a run: its text, how it stands, and how long it took in seconds."""

    kind: str
    text: str
    status: StepStatus = "waiting"
    seconds: float = 0
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """The step as scripts read it."""
        return {
            "kind": self.kind,
            "text": self.text,
            "status": self.status,
            "seconds": round(self.seconds, 3),
        }


@dataclass(slots=True)
class Report:
    """What a run, a dry run or a refusal amounts to, as `run-action` prints it."""

    action: str
    target: str
    status: Literal["ok", "failed", "refused", "dry-run"] = "ok"
    subject: str = ""
    danger: str = ""
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    seconds: float = 0
    steps: list[StepState] = field(default_factory=list)
    result: Any = None
    notices: list[str] = field(default_factory=list)
    error: PgtuiError | None = None
    plan: str | None = None

    @property
    def exit_code(self) -> int:
        """The exit code that this outcome has."""
        return self.error.exit_code if self.error else 0

    def fail(self, error: PgtuiError) -> Report:
        """Record the error and the status that goes with its kind."""
        self.error = error
        self.status = "refused" if isinstance(error, (Refused, Missing)) else "failed"
        return self

    def to_json(self) -> dict[str, Any]:
        """The report as scripts read it."""
        answer = {
            "action": self.action,
            "target": self.target,
            "status": self.status,
            "subject": self.subject,
            "danger": self.danger,
            "started_at": self.started_at,
            "seconds": round(self.seconds, 3),
            "steps": [s.to_json() for s in self.steps],
            "result": self.result,
            "notices": self.notices,
            "error": self.error.to_json() if self.error else None,
        }
        return answer | ({"plan": self.plan} if self.plan else {})
