"""The channel of a session against a guest that writes what it likes."""

import contextlib
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.execute import PreloadLevel
from jprm.execute.outcome import ALIVE, KINDS, REPLY, REQUEST, largest_reply_bytes
from jprm.execute.preload import level_of, load
from jprm.execute.runner import TRUNCATED
from jprm.execute.session_process import Forgery, SessionProcess
from tests.execute.pools import plain_pool

OUTPUT_CHARS = 100


class Guest:
    """A server whose session is the test itself; `nonce` is what the last question carried."""

    def open_session(self, number):
        ours, self.end = socket.socketpair()
        ours.setblocking(False)
        return ours

    def receive(self):
        size, self.nonce = REQUEST.unpack(self.end.recv(REQUEST.size))
        return self.end.recv(size).decode("utf-8", "surrogatepass")


class NoHandle:
    process_id = 0

    def signal(self, number):
        pass

    def close(self):
        pass


@contextlib.contextmanager
def ready_pair():
    """A guest and the engine's process, which has heard that it lives; hypothesis takes no fixture for each example."""
    guest = Guest()
    process = SessionProcess(1, 1, guest, OUTPUT_CHARS)
    process.handle = NoHandle()
    with guest.end, process.channel:
        guest.end.send(ALIVE)
        assert process.hear() is None and process.ready
        yield guest, process


@pytest.fixture
def pair():
    with ready_pair() as both:
        yield both


def answer(guest, text=b"42", letter=b"o", nonce=None, size=None):
    return REPLY.pack(len(text) if size is None else size, nonce or guest.nonce, letter) + text


@pytest.mark.parametrize("letter", KINDS)
def test_an_answer_is_read_whole_or_in_pieces(pair, letter):
    guest, process = pair
    process.ask("print('\ud800')", 5.0)
    assert guest.receive() == "print('\ud800')"
    message = answer(guest, "π = 3".encode(), letter)
    for byte in message[:-1]:
        guest.end.send(bytes([byte]))
        assert process.hear() is None
    guest.end.send(message[-1:])
    assert process.hear() == (KINDS[letter], "π = 3")


@given(junk=st.binary(min_size=1, max_size=200))
def test_no_bytes_but_the_nonce_make_an_answer(junk):
    with ready_pair() as (guest, process):
        process.ask("1", 5.0)
        guest.end.send(junk)
        try:
            assert process.hear() is None and len(junk) < REPLY.size
        except Forgery:
            pass


@pytest.mark.parametrize(
    "forge",
    [
        lambda guest: answer(guest, nonce=os.urandom(16)),
        lambda guest: answer(guest, letter=b"x"),
        lambda guest: answer(guest, size=largest_reply_bytes(OUTPUT_CHARS) + 1),
        lambda guest: answer(guest) + b"!",
        lambda guest: answer(guest) + answer(guest),
    ],
    ids=["nonce", "kind", "size", "more", "twice"],
)
def test_a_forged_answer_is_no_answer(pair, forge):
    guest, process = pair
    process.ask("1", 5.0)
    guest.receive()
    guest.end.send(forge(guest))
    with pytest.raises(Forgery):
        process.hear()


LARGEST = largest_reply_bytes(OUTPUT_CHARS)


@pytest.mark.parametrize("letter", KINDS)
@pytest.mark.parametrize(
    "text",
    [b"x" * LARGEST, b"x" * (LARGEST - 1), b"\xff" * LARGEST, "𝔸".encode() * (LARGEST // 4)],
    ids=["letters", "one less", "no text", "wide letters"],
)
def test_the_bound_of_the_output_is_the_engine_s(pair, letter, text):
    """A guest that obeys sends no more than it may; a hostile one may know the nonce."""
    guest, process = pair
    process.ask("1", 5.0)
    guest.receive()
    guest.end.send(answer(guest, text, letter))
    kind, heard = process.hear()
    assert kind == KINDS[letter]
    assert heard == text.decode("utf-8", "replace")[:OUTPUT_CHARS] + TRUNCATED


@given(st.text(max_size=OUTPUT_CHARS), st.sampled_from(["", TRUNCATED]))
def test_what_an_obedient_guest_sends_is_not_cut(text, mark):
    with ready_pair() as (guest, process):
        process.ask("1", 5.0)
        guest.receive()
        sent = (text + mark).encode("utf-8", "replace")
        guest.end.send(answer(guest, sent))
        assert process.hear() == ("ok", sent.decode())


def test_an_answer_before_the_question_is_forged(pair):
    guest, process = pair
    process.ask("1", 5.0)
    guest.receive()
    guest.end.send(answer(guest))
    assert process.hear() == ("ok", "42")
    guest.end.send(answer(guest))  # the next question has another nonce
    with pytest.raises(Forgery):
        process.hear()


def test_an_end_is_an_end(pair):
    guest, process = pair
    process.ask("1", 5.0)
    assert not process.is_lost()  # at work: its end is read with its answer
    guest.end.close()
    with pytest.raises(EOFError):
        process.hear()


def test_a_long_snippet_is_sent_as_the_channel_takes_it(pair):
    guest, process = pair
    code = "#" * 3_000_000
    process.ask(code, 5.0)
    assert process.outgoing
    received = b""
    guest.end.setblocking(False)
    while len(received) < REQUEST.size + len(code):
        try:
            received += guest.end.recv(1 << 20)
        except BlockingIOError:
            process.flush()
    assert not process.outgoing and received[REQUEST.size :].decode() == code


@pytest.mark.parametrize(
    ("code", "level"),
    [
        ("print(3 + 4 == 7)", PreloadLevel.PLAIN),
        ("import math, itertools\nfrom fractions import Fraction as F", PreloadLevel.PLAIN),
        ("import math as m; import random", PreloadLevel.PLAIN),
        ("from collections.abc import Iterable", PreloadLevel.PLAIN),
        ("important = 1", PreloadLevel.PLAIN),
        ("import hashlib", PreloadLevel.SYMBOLIC),
        ("import math, sympy", PreloadLevel.SYMBOLIC),
        ("    from sympy import (\n        symbols,\n    )", PreloadLevel.SYMBOLIC),
        ("import sympy.abc", PreloadLevel.SYMBOLIC),
        ("__import__('nu' + 'mpy')", PreloadLevel.SYMBOLIC),
        ("import importlib", PreloadLevel.SYMBOLIC),
        ("exec('imp' + 'ort sympy')", PreloadLevel.SYMBOLIC),
        ("import numpy\nfrom scipy import optimize", PreloadLevel.SCIENTIFIC),
    ],
)
def test_level_of(code, level):
    assert level_of(code) == level


def test_sessions_begin_where_most_of_late_have_ended():
    with plain_pool() as pool:
        for _ in range(3):
            assert pool.session().run("import hashlib\nprint(1)").text == "1"
        forks = pool.stats.forks
        session = pool.session()
        session.run("a = 1")
        assert session.run("import hashlib\nprint(a)").text == "1"
        assert pool.stats.forks == forks + 1 and pool.stats.replayed == 0


def test_a_missing_module_is_an_error_and_a_missing_part_is_not():
    with pytest.raises(ImportError):
        load(PreloadLevel.SYMBOLIC, ["no_such_module"])
