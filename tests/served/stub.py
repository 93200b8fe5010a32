"""A server of the OpenAI kind on loopback: a model behind it, a dialect to answer in, faults on demand."""

import json
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

MODEL = "tiny"


class Stub:
    """Answers completions with `draw(prompt ids, body) -> (ids, log-probabilities [n, V], matched)`.

    dialect: "vllm" names token ids, "vllm-old" in place of token texts, "sglang" gives texts of
    tokens, "text" nothing but text. faults: what to do instead, in the order of requests. key: the
    bearer token it wants. takes_ids: whether a prompt may be token ids.
    """

    def __init__(self, draw, codec, dialect="vllm", key="", takes_ids=True):
        self.draw, self.codec, self.dialect, self.key = draw, codec, dialect, key
        self.takes_ids = takes_ids
        self.faults = deque()
        self.bodies = []
        self.closing = threading.Event()
        self.dropped = threading.Event()  # a client has gone while it was kept waiting
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler(self))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self):
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if not self.closing.is_set():
            self.close()

    def answer(self, body):
        """(status, answer) to a completion request."""
        if body["model"] != MODEL:
            return 404, {"message": f"The model `{body['model']}` does not exist.", "code": 404}
        prompt = body["prompt"]
        if not isinstance(prompt, str) and not self.takes_ids:
            return 400, {"error": {"message": "prompt must be a string"}}
        ids = self.codec.encode(prompt) if isinstance(prompt, str) else prompt
        drawn, log_probs, matched = self.draw(ids, body)
        choice = {
            "text": self.codec.spell(drawn),
            "finish_reason": "length" if matched == "" else "stop",
            "logprobs": self._logprobs(drawn, log_probs, body),
        }
        if self.dialect == "sglang":
            choice["matched_stop"] = matched or None
        elif self.dialect != "text":
            # vLLM tells no token where it was an end of text
            choice["stop_reason"] = matched if isinstance(matched, str) and matched else None
        if self.dialect == "vllm":
            choice["token_ids"] = drawn
        usage = {
            "prompt_tokens": len(ids),
            "prompt_tokens_details": {"cached_tokens": len(ids) - 1},
        }
        return 200, {"choices": [choice], "usage": usage}

    def _logprobs(self, drawn, log_probs, body):
        if self.dialect == "text":
            return None
        named = self.dialect.startswith("vllm")
        name = (lambda i: f"token_id:{i}") if named else (lambda i: self.codec.spell([i]))
        top = body["logprobs"]
        shown = [np.argsort(-row)[:top].tolist() for row in log_probs]
        if self.dialect == "vllm" and "logprob_token_ids" in body:
            shown = [body["logprob_token_ids"]] * len(drawn)
        return {
            "tokens": [name(i) for i in drawn],
            "top_logprobs": [
                {name(i): float(row[i]) for i in some}
                for row, some in zip(log_probs, shown, strict=True)
            ],
        }


def handler(stub):
    class Handler(BaseHTTPRequestHandler):
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

        def do_GET(self):
            if stub.key and self.headers["Authorization"] != f"Bearer {stub.key}":
                return self.send(401, {"error": "invalid api key"})
            self.send(200, {"data": [{"id": MODEL, "max_model_len": 4096}]})

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
                    pass
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
                                return
                        except TimeoutError:
                            continue
                case (status, answer, *headers):
                    self.send(status, answer, headers)
                case _:
                    raise AssertionError(fault)

    return Handler
