"""What comes of a snippet: its kind, the text that the model reads, and how both travel between processes.

The sentences are those of the reference's executor, byte for byte: the published data was made with
them, so a verifier trained on it has learned to read exactly these.

Two conversations have fixed binary layouts; nothing is ever unpickled. The engine and a session process
share a stream: a request is REQUEST and then the code; its answer is REPLY, which repeats the request's nonce, and then
the text. A nonce is drawn for each request, so an answer written in advance fits no question. The engine and a fork
server share a packet socket: it carries CONTROL packets, with a descriptor attached where the kind says so.
"""

import struct
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

REQUEST = struct.Struct("!I16s")  # bytes of code, nonce
REPLY = struct.Struct("!I16sc")  # bytes of text, nonce, kind
ALIVE = b"R"  # first byte of a session: its jail is on
KINDS: dict[bytes, OutcomeKind] = {b"o": "ok", b"e": "error", b"t": "timeout"}
LETTERS = {kind: letter for letter, kind in KINDS.items()}

CONTROL = struct.Struct("!cqq")  # kind, session, value
READY = b"R"  # server to engine: the modules are loaded; process id, with a pidfd
OPEN = b"N"  # engine to server, with the session's channel: fork; limit of its address space
OPENED = b"P"  # server to engine: process id, with a pidfd (where the kernel has them)
SIGNAL = b"K"  # engine to server: send signal number `value`
FAILED = b"F"  # server to engine: no process could be forked; errno
ENDED = b"X"  # server to engine: wait status


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one snippet.

    kind: "ok"; "error" (the snippet raised); "timeout" (it ran past the limit, or raised a TimeoutError itself); "died"
        (its process ended without a result). Two are failures of the machine and not of the code: "memory" (all
        sessions together needed more than there is, and this one held most of it; a session's own limit is an "error"
        of type MemoryError) and "sandbox" (no process could be had, for want of descriptors, processes or memory).
    text: what the model reads: stripped standard output, or one of the reference's sentences.
        Valid UTF-8, bounded in length.
    elapsed_s: wall-clock time of the run that produced it (a memoised answer keeps the first).
    """

    kind: OutcomeKind
    text: str
    elapsed_s: float


def largest_reply_bytes(output_chars: int) -> int:
    """Returns what a text of `output_chars` characters and its end mark can take in UTF-8."""
    return 4 * output_chars + 256
