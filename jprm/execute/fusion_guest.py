"""The program that a SandboxFusion service runs: a session's whole history, then one new snippet.

Its source is sent with that of `runner`, so it imports the standard library only. On its standard
output it writes the request's nonce as a line when the new snippet begins, and a line of JSON with
nonce, kind and text when it is done. What snippets write to the descriptors themselves goes
nowhere, as in the local pool.
"""

import faulthandler
import importlib
import json
import os
import random
import resource
import sys

# The order of a printed set, and the threads of a library, are decided when a process starts.
ENVIRONMENT = {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
FINISHED = ("ok", "error")


def serve(runner, request):
    """Run everything and exit. `runner`: the names of that module; `request`: see `fusion`."""
    if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):
        command = [sys.executable, *sys.orig_argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **ENVIRONMENT})
    for name in request["preload"]:
        importlib.import_module(name)
    random.seed(0)
    if any("numpy" in code for code in [*request["history"], request["code"]]):
        importlib.import_module("numpy.random").seed(0)
    answers = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)
    limit_memory(request["memory_bytes"])
    clock = runner["Clock"](request["timeout_s"])
    namespace = runner["new_namespace"]()
    hard_limit_s = request["timeout_s"] + request["grace_s"]

    def run(code):
        # A thread of C code that needs no lock of the interpreter: it ends even `10**10**8`.
        faulthandler.dump_traceback_later(hard_limit_s, exit=True, file=answers)
        reply = runner["run_snippet"](code, namespace, clock, request["output_chars"])
        faulthandler.cancel_dump_traceback_later()
        return reply

    for code in request["history"]:
        kind, _ = run(code)
        if kind not in FINISHED:
            os._exit(1)
    write_line(answers, request["nonce"])
    kind, text = run(request["code"])
    # UTF-8, because a long text in escapes could fill the pipe of a service that reads it late.
    reply = {"nonce": request["nonce"], "kind": kind, "text": text}
    write_line(answers, json.dumps(reply, ensure_ascii=False))
    os._exit(0)


def limit_memory(memory_bytes):
    """Allow this much address space beyond what the interpreter itself has taken."""
    with open("/proc/self/statm") as statm:
        taken = int(statm.read().split()[0]) * resource.getpagesize()
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    allowed = taken + memory_bytes
    if most != resource.RLIM_INFINITY:
        allowed = min(allowed, most)
    resource.setrlimit(resource.RLIMIT_AS, (allowed, most))


def write_line(descriptor, line):
    """Write all of it, and its end."""
    rest = memoryview(f"{line}\n".encode())
    while rest:
        rest = rest[os.write(descriptor, rest) :]
