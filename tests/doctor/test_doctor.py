"""The doctor's lines from facts that are made up, its facts from files that are made up, its exit."""

import json
import subprocess
import sys
import types
from dataclasses import dataclass, replace

import pytest

from jprm import cli, doctor
from jprm.doctor import MachineFacts, diagnose
from jprm.doctor.facts import accelerators, available_memory, gather, memory_limit

GIB = 1 << 30


@dataclass(frozen=True)
class Layer:
    name: str
    works: bool
    detail: str
    remedy: str = ""


@dataclass(frozen=True)
class Survey:
    kernel: str
    layers: dict[str, Layer]
    needs: dict[str, tuple[str, ...]]


SURVEY = Survey(
    "Linux 6.8",
    {
        "seccomp": Layer("seccomp", True, ""),
        "landlock": Layer("landlock", True, "version 7"),
        "bwrap": Layer("bwrap", False, "not installed", "apt-get install bubblewrap"),
    },
    {"reads": ("seccomp", "landlock"), "memory": ("limits",)},
)
FACTS = MachineFacts(
    python="3.11.7",
    system="Linux-6.8",
    cpus=2,
    load=0.25,
    packages={"jprm": ("0.1.0", ""), "jax": ("0.10.2", "<0.11,>=0.10.2"), "jaxlib": ("0.10.2", "")},
    extras={"cuda": ["jax-cuda13-plugin"], "ray": [], "peers": []},
    memory=16 * GIB,
    memory_available=12 * GIB,
    memory_limit=None,
    directory="/home/me",
    disk_free=40 * GIB,
    writable=True,
    devices=[("cpu", "cpu", None)],
    cache_directory="/home/me/compiled",
    cache_bytes=GIB // 2,
)


def lines(survey: Survey | None = SURVEY, **changes):
    """topic -> lines of that topic, each "verdict: text -> remedy"."""
    found: dict[str, list[str]] = {}
    for finding in diagnose(replace(FACTS, **changes), survey, "fork failed"):  # type: ignore
        line = f"{finding.verdict}: {finding.text}"
        line += f" -> {finding.remedy}" if finding.remedy else ""
        found.setdefault(finding.topic, []).append(line)
    return found


def test_a_machine_that_is_fit():
    assert lines() == {
        "system": ["ok: Python 3.11.7, Linux-6.8"],
        "packages": ["ok: jprm 0.1.0, jax 0.10.2, jaxlib 0.10.2"],
        "extras": ["ok: installed: ray, peers; not: cuda (jax-cuda13-plugin)"],
        "devices": ["ok: 1 x cpu"],
        "compiled": [
            "ok: programs are kept in /home/me/compiled, 0.5 GiB of at most 2.0 GiB; JPRM_CACHE=off turns it off"
        ],
        "processors": ["ok: 2, load 0.2"],
        "memory": ["ok: 16.0 GiB, 12.0 GiB available, no lower limit of a control group"],
        "disk": ["ok: 40.0 GiB free in /home/me"],
        "jail": [
            "ok: seccomp: works",
            "ok: landlock: version 7",
            "note: bwrap does not work: not installed -> apt-get install bubblewrap",
        ],
        "kept from": ["ok: reads, by seccomp, landlock", "ok: memory, by limits"],
    }


@pytest.mark.parametrize(
    ("topic", "changes", "line"),
    [
        (
            "packages",
            {"packages": {"jax": ("0.11.0", "<0.11"), "flax": (None, ">=0.12.8")}},
            "bad: jax 0.11.0; wanted: jax<0.11 (0.11.0), flax>=0.12.8 (missing) -> In jprm's folder: pip install -e .",
        ),
        ("code memory", {"code_memory": 3 * GIB}, "ok: 3.0 GiB for all sessions of generated code"),
        (
            "code memory",
            {"code_memory": GIB // 4},
            "note: 0.2 GiB for all sessions of generated code"
            " -> End other programs, or raise the limit of this container's memory.",
        ),
        (
            "code memory",
            {"code_memory": -GIB},
            "note: 0.0 GiB for all sessions of generated code"
            " -> End other programs, or raise the limit of this container's memory.",
        ),
        ("devices", {"devices": [("gpu", "NVIDIA H200", 140 * GIB)] * 8}, "ok: 8 x gpu NVIDIA H200 of 140.0 GiB"),
        (
            "devices",
            {"accelerators": ("cuda",), "environment": {"JAX_PLATFORMS": "cpu"}},
            "note: 1 x cpu only, though there is a device for cuda, JAX_PLATFORMS=cpu"
            " -> In jprm's folder: pip install -e '.[cuda]'",
        ),
        (
            "devices",
            {"devices_error": "RuntimeError: busy"},
            "bad: RuntimeError: busy -> Look whether another process holds the device, "
            "or set JAX_PLATFORMS=cpu; a slow start may need `doctor --wait 60`.",
        ),
        (
            "compiled",
            {"cache_directory": None, "cache_why": "JPRM_CACHE=off"},
            "note: programs are not kept between runs (JPRM_CACHE=off) -> "
            "Leave JPRM_CACHE unset, or set it to a folder, and later runs start faster.",
        ),
        (
            "compiled",
            {"cache_why": "JAX_COMPILATION_CACHE_DIR"},
            "ok: programs are kept in /home/me/compiled, 0.5 GiB, as JAX_COMPILATION_CACHE_DIR says",
        ),
        (
            "memory",
            {"memory_limit": 4 * GIB, "memory_available": None},
            "note: 16.0 GiB; the control group allows 4.0 GiB",
        ),
        (
            "disk",
            {"disk_free": GIB // 2},
            "bad: 0.5 GiB free in /home/me, less than 1.0 GiB"
            " -> Work in another directory, or give one: directory=PATH.",
        ),
        (
            "disk",
            {"writable": False},
            "bad: /home/me cannot be written to -> Work in another directory, or give one: directory=PATH.",
        ),
    ],
)
def test_a_fact_that_matters_is_judged(topic, changes, line):
    found = lines(**changes)
    assert found.pop(topic) == [line]
    assert found == {key: value for key, value in lines().items() if key != topic}


def test_a_need_that_no_layer_covers_is_bad():
    survey = replace(SURVEY, needs={"reads": (), "memory": ("limits",)})
    assert lines(survey)["kept from"] == [
        "bad: reads: by nothing -> One more layer of the jail must work (see above), or another place run the code.",
        "ok: memory, by limits",
    ]
    assert lines(None)["jail"] == [
        "bad: cannot be tried: fork failed -> Code that models write is not run here; choose another place for it."
    ]


@pytest.mark.parametrize(
    ("groups", "files", "limit"),
    [
        ("0::/job/task\n", {"job/task/memory.max": "max", "job/memory.max": "4096\n"}, 4096),
        ("0::/job\n", {"job/memory.max": "8192", "memory.max": "4096"}, 4096),
        ("0::/\n", {"memory.max": "max\n"}, None),
        (
            "5:cpu:/\n4:memory:/job\n0::/\n",
            {"memory/job/memory.limit_in_bytes": "512", "memory/memory.limit_in_bytes": "2048"},
            512,
        ),
        # A container may see its own group as the root of the tree, under another name.
        ("4:memory:/docker/4f\n", {"memory/memory.limit_in_bytes": "2048"}, 2048),
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712"}, None),
    ],
)
def test_the_memory_limit_is_the_least_of_the_groups(tmp_path, groups, files, limit):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert memory_limit(tmp_path) == limit


def test_what_the_kernel_tells(tmp_path):
    assert available_memory(tmp_path) is None and memory_limit(tmp_path) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal:  99 kB\nMemAvailable:   7 kB\n")
    assert available_memory(tmp_path) == 7 << 10
    assert accelerators(tmp_path) == ()
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidiactl").touch()  # a driver without a card
    assert accelerators(tmp_path) == ()
    (tmp_path / "dev/nvidia0").touch()
    assert accelerators(tmp_path) == ("cuda",)


def test_the_facts_of_this_machine(monkeypatch):
    """Versions against what the packages themselves say; and a wait that ends."""
    import jax

    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=3")
    facts = gather(60.0)
    assert facts.devices == [("cpu", "cpu", None)] * 3 and facts.devices_error is None
    assert facts.packages["jax"][0] == jax.__version__ and facts.packages["flax"][1]
    assert {"test", "cuda", "tpu"} <= facts.extras.keys() and "pytest" not in facts.extras["test"]
    assert 0 < facts.disk_free and facts.writable and 0 < facts.memory
    monkeypatch.setattr(doctor.facts, "JAX_QUESTION", "while True: pass")
    assert gather(0.2).devices_error == "JAX did not name its devices within 0.2 s"
    monkeypatch.setattr(doctor.facts, "JAX_QUESTION", "import no_such_module")
    assert "no_such_module" in (gather(60.0).devices_error or "")


def test_the_exit_code_and_both_outputs(monkeypatch, capsys):
    probe = types.ModuleType("jprm.execute.probe")
    monkeypatch.setitem(sys.modules, "jprm.execute.probe", probe)
    monkeypatch.setattr(doctor, "gather", lambda wait_s: FACTS)
    vars(probe)["survey"] = lambda: SURVEY
    monkeypatch.setattr(sys, "argv", ["jprm", "doctor"])
    assert cli.main() == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "ok    system      Python 3.11.7, Linux-6.8"
    assert "note  jail        bwrap does not work: not installed" in shown
    assert "                  -> apt-get install bubblewrap" in shown
    assert shown[-1] == "The main command can run here."

    vars(probe)["survey"] = lambda: replace(SURVEY, needs={"reads": ()})
    assert cli.main() == 1
    assert capsys.readouterr().out.splitlines()[-1] == "The main command cannot run here."

    monkeypatch.setattr(sys, "argv", ["jprm", "doctor", "--json"])
    assert cli.main() == 1
    table = json.loads(capsys.readouterr().out)
    assert table["fit"] is False and table["facts"]["python"] == "3.11.7"
    assert table["jail"]["needs"] == {"reads": []}
    assert table["findings"][0]["topic"] == "system"


def test_the_command_itself():
    done = subprocess.run(
        [sys.executable, "-m", "jprm", "doctor", "--json", "--wait", "60"], capture_output=True, text=True, timeout=120
    )
    table = json.loads(done.stdout)
    assert done.returncode == (0 if table["fit"] else 1) and table["jail"]["layers"]
