"""The two conversations of the pool, as fixed binary layouts. Nothing is ever unpickled.

Engine and session process, on a stream of their own: a request is REQUEST and then the code; its
answer is REPLY, repeating the request's nonce, and then the text. A nonce is drawn for each request,
so an answer written in advance fits no question.

Engine and fork server, on one packet socket: CONTROL packets, with a descriptor attached where the
kind says so.
"""

from __future__ import annotations

import struct

from jprm.execute.outcome import OutcomeKind

REQUEST = struct.Struct("!I16s")  # bytes of code, nonce
REPLY = struct.Struct("!I16sc")  # bytes of text, nonce, kind
ALIVE = b"R"  # first byte of a session: its layers are on

KINDS: dict[bytes, OutcomeKind] = {b"o": "ok", b"e": "error", b"t": "timeout"}
LETTERS = {kind: letter for letter, kind in KINDS.items()}

CONTROL = struct.Struct("!cqq")  # kind, session, value
READY = b"R"  # server to engine: modules are loaded; process id, with a pidfd
OPEN = b"N"  # engine to server, with the session's channel: fork; limit of its address space
OPENED = b"P"  # server to engine: process id, with a pidfd (where the kernel has them)
SIGNAL = b"K"  # engine to server: send signal number `value`
FAILED = b"F"  # server to engine: no process could be forked; errno
ENDED = b"X"  # server to engine: wait status


def largest_reply_bytes(output_chars: int) -> int:
    """What a text of `output_chars` characters and its end mark can take in UTF-8."""
    return 4 * output_chars + 256
