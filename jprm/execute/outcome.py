"""What came of running one snippet, and the fixed sentences that the model then reads.

The sentences are those of the reference's executor, byte for byte: the published data was made
with them, so a verifier trained on it has learned to read exactly these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OutcomeKind = Literal["ok", "error", "timeout", "died", "memory", "sandbox"]

FINISHED: tuple[OutcomeKind, ...] = ("ok", "error")  # the kinds that become part of a history
TIMED_OUT = "Code execute time out: Code execution timed out"
DIED = "Code execute Error: ProcessDied: the process ended without a result"
NOT_REBUILT = "Code execute Error: ProcessDied: the earlier code of this session could not be re-run"
# Failures of the machine, for which the reference has no sentence.
NO_MEMORY = "Code execute Error: SandboxError: the machine had no memory left for this code"
NOT_STARTED = "Code execute Error: SandboxError: the machine could not start a process for this code"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one snippet.

    kind: "ok"; "error" (the snippet raised); "timeout" (it ran past the limit, or raised a
        TimeoutError itself); "died" (its process ended without a result). Two are failures of the
        machine and not of the code: "memory" (all sessions together needed more than there is, and
        this one held most of it; a session's own limit is an "error" of type MemoryError) and
        "sandbox" (no process could be had, for want of descriptors, processes or memory).
    text: what the model reads: stripped standard output, or one of the reference's sentences.
        Valid UTF-8, bounded in length.
    elapsed_s: wall-clock time of the run that produced it (a memoised answer keeps the first).
    """

    kind: OutcomeKind
    text: str
    elapsed_s: float
