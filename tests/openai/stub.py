"""A server of the OpenAI kind on loopback: a model behind it, a dialect to answer in, faults on demand."""

import contextlib
import dataclasses
import json
import socket
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

MODEL = "tiny"


@dataclasses.dataclass(frozen=True)
class Dialect:
    """tells: ids, names (ids in place of token texts), content (ids beside log-probabilities), texts
    of tokens, or nothing but a text. stops: named, kept, removed or ignored. fields: None takes any.
    """

    tells: str
    stops: str
    most_logprobs: int = 20
    takes_ids: bool = True
    fields: tuple[str, ...] | None = None


OPENAI = ("model", "prompt", "max_tokens", "temperature", "top_p", "seed", "stop", "logprobs")
DIALECTS = {
    "vllm": Dialect("ids", "named"),
    "vllm-old": Dialect("names", "named"),
    "sglang": Dialect("texts", "named"),
    "text": Dialect("text", "named"),
    "kept": Dialect("ids", "kept"),
    "llama.cpp": Dialect("content", "removed"),
    "openai": Dialect("texts", "removed", 5, takes_ids=False, fields=OPENAI),
    "transformers": Dialect("text", "removed", 0, takes_ids=False, fields=OPENAI[:-1]),
    "no stops": Dialect("ids", "ignored"),
    "strict": Dialect("ids", "named", 1, fields=(*OPENAI, "return_token_ids")),
}


class Stub:
    """Answers completions with `draw(prompt ids, body) -> (ids, log-probabilities [n, V], matched)`.

    dialect: one of DIALECTS. faults: what to do instead, in the order of requests. key: the bearer
    token it wants. takes_ids: False where a prompt may be no token ids, whatever the dialect says.
    """

    def __init__(self, draw, codec, dialect="vllm", key="", takes_ids=True):
        self.draw, self.codec, self.dialect, self.key = draw, codec, dialect, key
        self.takes_ids = takes_ids
        self.models = {"data": [{"id": MODEL, "max_model_len": 4096}]}
        self.faults = deque()
        self.bodies = []
        self.closing = threading.Event()
        self.dropped = threading.Event()  # a client has gone while it was kept waiting
        self.connections = 0
        self.server = Server(("127.0.0.1", 0), handler(self))
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self):
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()
        self.server.drop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if not self.closing.is_set():
            self.close()

    def answer(self, body):
        """(status, answer) to a completion request."""
        speaks = DIALECTS[self.dialect]
        unknown = [name for name in body if speaks.fields and name not in speaks.fields]
        if unknown:
            said = [{"type": "extra_forbidden", "loc": ["body", name]} for name in unknown]
            return 422, {"detail": said}
        if body["model"] != MODEL:
            return 404, {"message": f"The model `{body['model']}` does not exist.", "code": 404}
        if body.get("logprobs", 0) > speaks.most_logprobs:
            return 400, {"message": f"logprobs must be at most {speaks.most_logprobs}"}
        prompt = body["prompt"]
        if not isinstance(prompt, str) and not (self.takes_ids and speaks.takes_ids):
            return 400, {"error": {"message": "prompt must be a string"}}
        ids = self.codec.encode(prompt) if isinstance(prompt, str) else prompt
        asked = body if speaks.stops != "ignored" else {**body, "stop": []}
        drawn, log_probs, matched = self.draw(ids, asked)
        text, usage = self.codec.spell(drawn), {"prompt_tokens": len(ids)}
        if speaks.stops == "removed" and isinstance(matched, str) and matched:
            text = text[: text.index(matched)]
            while self.codec.spell(drawn) != text and len(self.codec.spell(drawn)) > len(text):
                drawn, log_probs = drawn[:-1], log_probs[:-1]
        choice = {
            "text": text if speaks.stops != "removed" else self.codec.decode(self.codec.encode(text)),
            "finish_reason": "length" if matched == "" else "stop",
            "logprobs": self._logprobs(drawn, log_probs, body, speaks),
        }
        if self.dialect == "sglang":
            choice["matched_stop"] = matched or None
        elif speaks.stops == "named":
            # vLLM tells no token where it was an end of text
            choice["stop_reason"] = matched if isinstance(matched, str) and matched else None
        if speaks.tells == "ids":
            choice["token_ids"] = drawn
        usage["prompt_tokens_details"] = {"cached_tokens": len(ids) - 1}
        return 200, {"choices": [choice], "usage": usage}

    def _logprobs(self, drawn, log_probs, body, speaks):
        top = body.get("logprobs", 0)
        if speaks.tells == "text" or (speaks.tells == "content" and not top):
            return None
        named = speaks.tells in ("ids", "names")
        name = (lambda i: f"token_id:{i}") if named else (lambda i: self.codec.spell([i]))
        shown = [np.argsort(-row)[:top].tolist() for row in log_probs]
        if self.dialect == "vllm" and "logprob_token_ids" in body:
            shown = [body["logprob_token_ids"]] * len(drawn)
        tops = [{i: float(row[i]) for i in some} for row, some in zip(log_probs, shown, strict=True)]
        if speaks.tells == "content":
            token = lambda i, value: {"id": i, "token": name(i), "logprob": value}  # noqa: E731
            content = [
                token(i, float(row[i])) | {"top_logprobs": [token(j, v) for j, v in top.items()]}
                for i, row, top in zip(drawn, log_probs, tops, strict=True)
            ]
            return {"content": content}
        return {
            "tokens": [name(i) for i in drawn],
            "top_logprobs": [{name(i): value for i, value in top.items()} for top in tops],
        }


class Server(ThreadingHTTPServer):
    """Keeps connections alive, and drops them when it is told to."""

    daemon_threads = True
    request_queue_size = 256

    def process_request(self, request, client_address):
        self.__dict__.setdefault("open", set()).add(request)
        super().process_request(request, client_address)

    def drop(self):
        for request in self.__dict__.get("open", ()):
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)


def handler(stub):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self):
            stub.connections += 1
            super().setup()

        def log_message(self, *_):
            pass

        def send(self, status, answer, headers=(), cut=False):
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if cut else data)
            self.close_connection |= cut

        def do_GET(self):
            if stub.key and self.headers["Authorization"] != f"Bearer {stub.key}":
                return self.send(401, {"error": "invalid api key"})
            self.send(200, stub.models)

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            stub.bodies.append(body)
            fault = stub.faults.popleft() if stub.faults else None
            match fault:
                case None:
                    self.send(*stub.answer(body))
                case "drop":
                    self.send(*stub.answer(body), cut=True)
                case "nothing":  # the line is closed without a word
                    self.close_connection = True
                case bytes():  # as it is, whatever it may be
                    self.close_connection = True
                    self.wfile.write(fault)
                case "drip", begins, piece:  # bytes that come one by one, without an end
                    self.close_connection = True
                    with contextlib.suppress(OSError):
                        self.wfile.write(begins)
                        while not stub.closing.wait(0.02):
                            self.wfile.write(piece)
                case "garbage":
                    self.send(200, b"<html>bad gateway</html>")
                case "empty":
                    self.send(200, {"choices": []})
                case "hang":
                    self.connection.settimeout(0.01)
                    while not stub.closing.is_set():
                        try:
                            if self.connection.recv(1) == b"":
                                stub.dropped.set()
                                self.close_connection = True
                                return
                        except TimeoutError:
                            continue
                case (status, answer, *headers):
                    self.send(status, answer, headers)
                case _:
                    raise AssertionError(fault)

    return Handler
