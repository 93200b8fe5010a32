"""The sampling engine and its peers side by side: one command, JSON and a table.

    python tools/bench_sampling.py [--quick] [--json FILE] [--part jprm] ...

A process for each library, each pinned to one core with one thread; with two cores or more, jprm and
CTranslate2 run on one while transformers, which takes longest, runs on another. All make the same
tokens with a 6M-parameter Qwen2 (f32, random weights) and the same sampling parameters; compared are
tokens per second of CPU time of the process, which depends little on who else uses the machine; of up
to five runs the median.
(Little is not nothing: caches and memory are shared. Ratios of one run on a quiet machine count.)

decode_pP   64 votes of 128 tokens on one prompt of P tokens
tools       prompts of 160 to 256 tokens with 8 votes each; analysis of about 48 tokens, 8 forced
            ones, code of about 24, a tool that takes 20 ms, 16 forced ones, a judgement of 8

Peers need the extra `peers`; one that is not installed is left out, and so are its ratios. `--quick`
shortens what is a rate anyway: fewer sequences of the slow peers, no curve in N.

The rows `rollouts` and `verification` are the workloads of the default sweep (`--model`,
`--lanes`); they have no peer, and are kept to see that the sweep gets no slower.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PARTS = ("jprm", "ctranslate2", "transformers")
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",  # torch and XLA alike take memory anew at each call
    "JAX_PLATFORMS": "cpu",
}
RATIOS = {  # name: (row of jprm, row of the peer), (engine, workload) each
    "decode_p256_vs_hf": (("jprm", "decode_p256"), ("hf generate", "decode_p256")),
    "decode_p1024_vs_hf": (("jprm", "decode_p1024"), ("hf generate", "decode_p1024")),
    "decode_p256_vs_ctranslate2": (("jprm", "decode_p256"), ("ctranslate2", "decode_p256")),
    "tools_vs_lockstep": (("jprm", "tools"), ("hf lock step", "tools")),
    "tools_vs_one_at_a_time": (("jprm", "tools"), ("hf one at a time", "tools")),
}
FLOORS = {
    "decode_p256_vs_hf": 4,
    "decode_p1024_vs_hf": 10,
    "decode_p256_vs_ctranslate2": 2.5,
    "tools_vs_lockstep": 8,
    "tools_vs_one_at_a_time": 14,
}
VOTE_COST = "vote_cost_n64_over_n1"
VOTE_COST_CEILING = 0.2


def run_part(args) -> None:
    """Measure one library in this process, and write its rows."""
    import sampling_workloads

    sampling_workloads.pin(args.core)
    found: dict = {"rows": []}
    if args.part == "jprm":
        import sampling_engine

        found["ceilings"] = sampling_engine.ceilings()
        found["flops_per_token"] = {f"decode_p{p}": sampling_engine.matmul_flops_per_token(p) for p in (256, 1024)}
        rows = sampling_engine.engine(args.quick, args.model, args.lanes)
    else:
        import sampling_peers

        rows = sampling_peers.PEERS[args.part](args.quick)
    try:
        for row in rows:
            found["rows"].append(row.as_dict())
            print(f"{row.engine}: {row.workload}", file=sys.stderr, flush=True)
    except ModuleNotFoundError as error:
        found["missing"] = f"{args.part}: {error}; install the extra `peers`"
    args.json.write_text(json.dumps(found))


def start_part(part: str, core: int, args, folder: Path) -> dict:
    """Run one library in a process of its own; returns what it measured."""
    file = folder / f"{part}.json"
    command = [sys.executable, __file__, "--part", part, "--core", str(core), "--json", str(file)]
    command += ["--model", args.model, "--lanes", str(args.lanes)]
    command += ["--quick"] if args.quick else []
    subprocess.run(command, check=True, env=os.environ | ONE_THREAD)
    return json.loads(file.read_text())


def rate(rows: list[dict], engine: str, workload: str) -> float | None:
    """Tokens per CPU second of an engine; of its fastest way, if it has several."""
    rates = [
        row["tokens_per_cpu_s"] for row in rows if row["engine"].startswith(engine) and row["workload"] == workload
    ]
    return max(rates, default=None)


def ratios(rows: list[dict]) -> dict[str, float]:
    """What is compared; higher is better, but for the cost of a vote."""
    found = {}
    for name, (ours, theirs) in RATIOS.items():
        a, b = rate(rows, *ours), rate(rows, *theirs)
        if a and b:
            found[name] = round(a / b, 2)
    one, many = rate(rows, "jprm", "decode_p1024_n1"), rate(rows, "jprm", "decode_p1024")
    if one and many:
        found[VOTE_COST] = round(one / many, 3)
    return found


def table(found: dict) -> str:
    """Rows, ratios with their floors, and the share of what the core can do."""
    lines = [f"{'engine':26} {'workload':18} {'tokens/CPU-s':>13} {'tokens/s':>9} {'CPU-s/vote':>11}"]
    lines += [
        f"{row['engine']:26} {row['workload']:18} {row['tokens_per_cpu_s']:13,.0f} "
        f"{row['tokens_per_s']:9,.0f} {row['cpu_s_per_vote']:11.4f}"
        for row in found["rows"]
    ]
    lines.append("")
    for name, value in found["ratios"].items():
        bound = f"at most {VOTE_COST_CEILING}" if name == VOTE_COST else f"floor {FLOORS[name]}"
        lines.append(f"{name:28} {value:7.2f}   ({bound})")
    peak = found.get("ceilings", {}).get("matmul_gflops")
    for workload, flops in found.get("flops_per_token", {}).items():
        ours = rate(found["rows"], "jprm", workload)
        if peak and ours:
            share = ours * flops / (peak * 1e9)
            lines.append(f"{workload}: {share:.0%} of the core's {peak:.0f} GFLOP/s in f32 products")
    return "\n".join(lines + found["missing"])


def main() -> None:
    """Measure every part, print the table, write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under 4 minutes on two cores")
    parser.add_argument("--json", type=Path, help="write rows and ratios to this file")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="libraries to run")
    parser.add_argument("--model", default="tiny-0.3m", help="preset of the sweep's workloads")
    parser.add_argument("--lanes", type=int, default=128, help="slots of the sweep's workloads")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--core", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        run_part(args)
        return
    queues = [[p for p in PARTS if p in args.only and (p == "transformers") == t] for t in (0, 1)]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as threads:

        def run(core: int) -> list[dict]:
            return [start_part(part, core, args, Path(folder)) for part in queues[core]]

        parts = [part for found in threads.map(run, range(2)) for part in found]
    found: dict = {"rows": [row for part in parts for row in part["rows"]]}
    found["ratios"] = ratios(found["rows"])
    for part in parts:
        found |= {key: part[key] for key in ("ceilings", "flops_per_token") if key in part}
    found["missing"] = [part["missing"] for part in parts if "missing" in part]
    found |= {"quick": args.quick, "cpus": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}
    print(table(found))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
