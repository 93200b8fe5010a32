"""A session process: puts its jail on, then runs the snippets of one session until it is killed.

Invariant: every request gets exactly one reply, or the process ends. What a snippet writes to the
channel itself is no reply: the engine then ends this process.
"""

from __future__ import annotations

import builtins

__builtins__ = dict(vars(builtins))  # a snippet that patches `len` must not break this loop

import os
import random
from os import _exit, read, write
from typing import NoReturn

from jprm.execute.jail import Jail
from jprm.execute.resources import SESSION_OFFER, offer_to_be_killed
from jprm.execute.runner import Clock, new_namespace, run_snippet
from jprm.execute.wire import ALIVE, LETTERS, REPLY, REQUEST

CHANNEL = 3
ORPHANAGE = 1  # the process that adopts children whose parent is gone
ENDED_BY_ENGINE, NO_JAIL = 0, 78  # exit statuses


def become_guest(channel: int, jail: Jail, address_space_bytes: int, output_chars: int) -> NoReturn:
    """Turn a freshly forked process into a session that serves `channel`; never returns.

    The fork server's own socket stands at descriptor CHANNEL, where the session's replaces it.
    """
    try:
        random.seed(0)  # it seeds itself at a fork
        offer_to_be_killed(SESSION_OFFER)
        os.setsid()
        os.dup2(channel, CHANNEL)
        _close_all_but_channel(jail.ruleset)
        jail.enter(address_space_bytes)
    except BaseException as error:
        # The engine reads anything but ALIVE as the reason why there is no session here.
        write(CHANNEL, f"{type(error).__name__}: {error}"[:200].encode())
        _exit(NO_JAIL)
    if os.getppid() == ORPHANAGE:  # the server was gone before its end could be noticed
        _exit(ENDED_BY_ENGINE)
    _serve(output_chars)


def _close_all_but_channel(also_kept: int) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(CHANNEL):
        os.dup2(nothing, descriptor)
    first, last = CHANNEL + 1, os.sysconf("SC_OPEN_MAX")
    if also_kept >= first:
        os.closerange(first, also_kept)
        first = also_kept + 1
    os.closerange(first, last)


def _serve(output_chars: int) -> NoReturn:
    clock, namespace = Clock(), new_namespace()
    _write_all(ALIVE)
    while True:
        size, nonce = REQUEST.unpack(_read_exactly(REQUEST.size))
        code = _read_exactly(size).decode("utf-8", "surrogatepass")
        kind, text = run_snippet(code, namespace, clock, output_chars)
        body = text.encode()
        _write_all(REPLY.pack(len(body), nonce, LETTERS[kind]) + body)


def _read_exactly(size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = read(CHANNEL, size - len(data))
        if not part:
            _exit(ENDED_BY_ENGINE)
        data += part
    return data


def _write_all(data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[write(CHANNEL, rest) :]
