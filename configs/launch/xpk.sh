#!/usr/bin/env bash
# Workers on the hosts of a TPU pod, by xpk on GKE; the run directory is a file system that xpk mounts into each.
#     CLUSTER=my-cluster configs/launch/xpk.sh configs/sweep/laws.toml
# Preempted pods are started again by JobSet; a worker's exit code 75 counts as such.
set -euo pipefail
: "${CLUSTER:?name of the GKE cluster}" "${TPU_TYPE:=v5litepod-16}" "${SLICES:=1}" "${RUNS:=/runs}"

xpk workload create \
  --cluster "$CLUSTER" --workload "jprm-$(date +%m%d-%H%M%S)" \
  --tpu-type "$TPU_TYPE" --num-slices "$SLICES" --max-restarts 100 \
  --base-docker-image python:3.12-slim --script-dir . \
  --command "pip install --quiet -e '.[tpu]' && \
    TPU_CHIPS_PER_PROCESS_BOUNDS=2,2,1 TPU_PROCESS_BOUNDS=1,1,1 \
    python experiments/sweep.py $* directory=$RUNS launch.expiry_s=120 --worker"
