"""The one HTTP client: whatever a server does, an exchange ends in time, in bounds, without a key."""

import base64
import contextlib
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm import http
from jprm.errors import UserError, printable
from jprm.http import Call, Cancelled, Client, Failed, Refused
from tests.raw import OK, Raw

CLIENT = Client("http://localhost:1", "ours", "key")


def ask(server_or_url, key="", path="/x", **patience):
    url = getattr(server_or_url, "url", server_or_url)
    with contextlib.closing(
        Client(url, "ours", key, **dict(tries=2, first_wait_s=0.01, timeout_s=0.2) | patience)
    ) as client:
        return client.ask(path, {}, lambda answer: answer, Call())


@pytest.mark.parametrize(
    ("begins", "piece"),
    [
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\n", b"A"),
        (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"", b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b"{"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b" "),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"extension"),
        (b"HTTP/1.1 503 Later\r\n", b"Retry-After: 0\r\n"),
    ],
)
def test_nothing_is_gained_by_dripping(begins, piece):
    """In no phase: a status line, headers, interim answers, bodies of every kind."""
    with Raw(begins, piece) as server:
        with pytest.raises(Failed, match="no answer .*; given up after [12] tr") as failed:
            ask(server)
        assert not failed.value.answered
        assert "\n" not in str(failed.value)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n{}", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"b" * 10**6 + b"\r\n\r\n{}", "no answer"),
        (b"\x00\x1b[31m" * 100, "no answer"),
        (b"HTTP/1.1 9\r\n\r\n", "no answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", "encoding"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n" + b" " * 9000, "exceeds"),
    ],
    ids=range(8),
)
def test_what_is_no_answer_is_said_in_one_line(answer, said, monkeypatch):
    monkeypatch.setattr(http, "LARGEST_ANSWER_BYTES", 8192 if b"9000" in answer else 1 << 30)
    with Raw(answer) as server, pytest.raises(Failed, match=said) as failed:
        ask(server)
    assert "\n" not in str(failed.value) and "\x1b" not in str(failed.value)


def test_a_redirect_is_not_followed():
    with Raw(OK) as other:
        head = f"HTTP/1.1 302 Found\r\nLocation: {other.url}/y\r\nContent-Length: 0\r\n\r\n"
        with Raw(head.encode()) as server, pytest.raises(Refused) as refused:
            ask(server, key="sesame")
        assert f"it redirects to {other.url}/y" in str(refused.value)
        assert refused.value.status == 302 and not other.heads


@pytest.mark.parametrize(
    "spelled",
    [
        b"opense-same/",
        b"opense-same\\/",
        b"opense-same%2f",
        b"%6Fpense-same\\u002F",
        b"open%73e%2Dsame/",
        b"opense&#45;same&#x2F;",
        b'{"error": "opense-same/"}',
    ],
)
def test_a_key_is_never_shown(spelled):
    """Not even one that is cut in two by the length of a message."""
    for status in (b"401 No", b"503 Later", b"200 OK"):
        for before in (b"key: ", b"x" * (80 - 5), b"x" * (http.SHOWN_CHARS - 5)):
            body = before + spelled
            answer = b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)
            with (
                Raw(answer) as server,
                contextlib.closing(Client(server.url, "ours", "opense-same/", tries=1)) as client,
            ):
                with pytest.raises((Failed, Refused)) as error:
                    client.ask("/x", None, wrong, Call())
            assert "opense" not in str(error.value)
            assert b"Authorization: Bearer opense-same/\r\n" in server.heads[0]


def wrong(answer):
    raise ValueError(answer.decode())


def test_a_user_and_password_of_a_url_are_sent_and_not_shown():
    with Raw(b"HTTP/1.1 403 No\r\nContent-Length: 8\r\n\r\npa%40 p@") as server:
        url = server.url.replace("://", "://ann:p%40@")
        with pytest.raises(Refused) as refused:
            ask(url)
        token = base64.b64encode(b"ann:p@")
        assert b"Authorization: Basic " + token in server.heads[0]
    assert "p@" not in str(refused.value) and "p%40" not in str(refused.value)
    for wrong_url in ("ftp://ann:pass@x", "http://ann:pass@x:no", "http://ann:pass@x/?q=pass", "http://ann:pass@[x"):
        with pytest.raises(UserError) as error:
            Client(wrong_url, "ours")
        assert "pass" not in str(error.value)


def test_a_proxy_of_the_environment_is_used_but_for_this_machine(monkeypatch):
    with Raw(OK) as proxy, Raw(OK) as server:
        monkeypatch.setenv("http_proxy", proxy.url.replace("://", "://ann:word@"))
        monkeypatch.setenv("no_proxy", "near.example")
        assert ask("http://far.example:81/v1") == b"{}"
        assert proxy.heads[0].startswith(b"POST http://far.example:81/v1/x HTTP/1.1\r\n")
        assert b"Proxy-Authorization: Basic " + base64.b64encode(b"ann:word") in proxy.heads[0]
        assert ask(server) == b"{}" and server.heads[0].startswith(b"POST /x HTTP/1.1\r\n")
        with pytest.raises(Failed):
            ask("http://near.example")
        assert len(proxy.heads) == 1
        monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
        with pytest.raises(UserError, match="proxy for http://far.example is no http:// or https"):
            ask("http://far.example")


def test_connections_are_used_again():
    with Raw(OK) as server, contextlib.closing(Client(server.url, "ours")) as client:
        accepted, accept = [], server.answer
        server.answer = lambda line: (accepted.append(line), accept(line))
        for _ in range(5):
            assert client.ask("/x", {"a": 1}, lambda answer: answer, Call()) == b"{}"
        assert len(accepted) == 1 and len(server.heads) >= 5


def test_a_call_that_is_cancelled_ends_at_once():
    with Raw(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n") as server:
        client, call, found = Client(server.url, "ours", timeout_s=60.0), Call(), []

        def wait():
            with pytest.raises(Cancelled) as found_error:
                client.ask("/x", {}, lambda answer: answer, call)
            found.append(found_error)

        thread = threading.Thread(target=wait)
        thread.start()
        while not server.heads:
            time.sleep(0.005)
        call.cancel()
        thread.join(10)
        assert found and client.retried == 0
        client.close()


def test_a_wait_beyond_the_limit_is_not_begun():
    head = b"HTTP/1.1 429 Slow\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n"
    with Raw(head) as server, pytest.raises(Failed, match="429, asks to wait 3600 s; given up"):
        ask(server, tries=8, total_s=60.0)


@pytest.mark.parametrize("value", ["nan", "inf", "1e400", "-3", "soon", "Wed, 99 Oct", ""])
def test_a_wait_that_makes_no_sense_is_none(value):
    assert http._asked_wait_s(value) == 0.0


def test_a_wait_without_end_can_be_shown():
    assert http._asked_wait_s("1e308") == http.LONGEST_ASKED_WAIT_S


def test_names_of_encodings_have_no_case():
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: Identity\r\nContent-Length: 2\r\n\r\n{}"
    with Raw(head) as server:
        assert ask(server) == b"{}"


def test_what_was_not_modified_is_no_redirect():
    with Raw(b"HTTP/1.1 304 Not Modified\r\n\r\n") as server, pytest.raises(Refused) as refused:
        ask(server)
    assert "redirect" not in str(refused.value)


def test_a_wait_may_be_a_date():
    at = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 100))
    assert 90 < http._asked_wait_s(at) <= 100


@given(data=st.binary(max_size=200))
def test_any_bytes_are_an_error_in_one_line(data):
    said = CLIENT.safe(http._message(data))
    assert said == printable(said) and "\n" not in said and len(said) <= http.SHOWN_CHARS
