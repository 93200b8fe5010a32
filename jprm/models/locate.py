"""The files of a checkpoint: found by the name that a user gives, and the tensors that lie in each.

A name is a directory, or one of the Hugging Face hub whose files are in the local cache; an adapter
(PEFT) stands for its base with the adapter merged. Nothing is downloaded and no weights are read, so
that a mistake is answered, with what to do, before JAX and transformers are loaded.
"""

import contextlib
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from jprm.errors import UserError
from jprm.models.hf_config import CAUSAL_LM, read_config
from jprm.models.hf_fields import FILE
from jprm.paths import nearest_name
from jprm.strict_json import read_object

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
HUB_ADDRESS = re.compile(r"(?:https?:/+huggingface\.co/|hf:/+)")
POINTER = b"version https://git-lfs.github.com/spec/v1"
POINTER_BYTES = 1024  # no pointer is longer
CONVERTED = (
    'python -c "from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; '
    "[c.from_pretrained('{source}').save_pretrained('NEW') for c in (M, T)]\""
)
RUN_WEIGHTS = "weights.safetensors"  # by which the directory of a training run is known
EXPORTED = "hf"  # where a training run may hold its model as a checkpoint
GGUF_TOOL = Path(__file__).resolve().parents[2] / "tools" / "from_gguf.py"  # only a checkout has it
# transformers opens the weights dequantised, and yet refuses to save them as long as it knows where they came from.
CONVERTED_GGUF = (
    'python -c "from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; '
    "m, t = [c.from_pretrained('{folder}', gguf_file='{name}') for c in (M, T)]; "
    "m.hf_quantizer = None; del m.config.quantization_config; [x.save_pretrained('NEW') for x in (m, t)]\""
)


@dataclass(frozen=True)
class Checkpoint:
    """A directory with config.json, weights and tokenizer, and the adapters that are merged on it in their order."""

    directory: Path
    adapters: tuple[Path, ...] = ()


def find_checkpoint(name: Path | str, option: str, weights: bool = True, ending: str = CAUSAL_LM) -> Checkpoint:
    """Finds the checkpoint that a user calls `name`, given as `option`.

    weights: whether the weights are read as well as the tokenizer; then their files are looked at.
    ending: how its architecture's name has to end (see `read_config`).
    Raises UserError saying what is there instead, and how to make it a checkpoint.
    """
    return _found(name, option, weights, ending, ())


def _found(name: Path | str, option: str, weights: bool, ending: str, above: tuple[Path, ...]) -> Checkpoint:
    directory = find_directory(name, option)
    where = f"{option} {directory}"
    if directory in above:
        raise UserError(f"{where}: this adapter names itself as its base; mend its {ADAPTER}")
    _refuse_pointers(directory, where)
    if (directory / ADAPTER).is_file() and not (directory / FILE).is_file():
        if not (directory / ADAPTER_WEIGHTS).is_file():
            raise UserError(f"{where}: an adapter without {ADAPTER_WEIGHTS}; copy that file as well")
        base = read_object(directory / ADAPTER, "copy it again").get("base_model_name_or_path")
        if not isinstance(base, str) or not base:
            raise UserError(
                f"{directory / ADAPTER}: base_model_name_or_path = {base!r:.40} must name the "
                "checkpoint that the adapter was trained on"
            )
        beside = directory / base
        base = beside if beside.is_dir() else base
        found = _found(base, f"{where}: an adapter; its base", weights, ending, (*above, directory))
        return Checkpoint(found.directory, (*found.adapters, directory))
    _refuse_others(directory, where, weights)
    if weights:
        read_config(directory, ending)
        weight_files(directory)
    return Checkpoint(directory)


def names_checkpoint(name: str) -> bool:
    """Says whether a name that may also be a preset's is a directory, or a name on the hub."""
    return "/" in name or Path(name).expanduser().is_dir()


def find_directory(name: Path | str, option: str) -> Path:
    """Finds the directory of that name, or of its snapshot in the local cache of the hub. Raises UserError for none.

    The directory of a training run stands for the checkpoint that it holds, where there is one.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        if (path / RUN_WEIGHTS).is_file() and (path / EXPORTED).is_dir():
            return path / EXPORTED
        return _snapshot(path) if path.name.startswith("models--") else path
    if path.exists():
        raise UserError(f"{option} {path}: {_about_file(path)}")
    nearest = nearest_name(path)
    hub_name = HUB_ADDRESS.sub("", str(name)).rstrip("/")
    if HUB_NAME.fullmatch(hub_name):
        cached = _cache() / f"models--{hub_name.replace('/', '--')}"
        if cached.is_dir():
            return _snapshot(cached)
        if not nearest:
            raise UserError(
                f"{option} {hub_name}: no such directory, and not in the local Hugging Face cache "
                f"({_cache()}); download it first: hf download {hub_name}"
            )
    raise UserError(f"{option} {path}: no such directory{nearest}")


def _cache() -> Path:
    from huggingface_hub import constants  # it reads HF_HOME and HF_HUB_CACHE, and knows their defaults

    return Path(constants.HF_HUB_CACHE)


def _snapshot(folder: Path) -> Path:
    """Finds the snapshot in a folder of the cache, `models--owner--name`: main's, or the only one."""
    snapshots = sorted(path for path in (folder / "snapshots").glob("*") if path.is_dir())
    main = folder / "refs" / "main"
    if main.is_file():
        commit = main.read_text(encoding="utf-8", errors="replace").strip()
        snapshots = [path for path in snapshots if path.name == commit] or snapshots
    return snapshots[0] if len(snapshots) == 1 else folder


def _about_file(path: Path) -> str:
    if path.suffix == ".gguf":
        return _about_gguf(path)
    if path.suffix in (".safetensors", ".bin", ".pt", ".pth", ".json"):
        return f"a file; name the directory that holds it with {FILE} and the tokenizer: {path.parent}"
    return "a file; name the directory of a Hugging Face checkpoint"


def _about_gguf(path: Path) -> str:
    if GGUF_TOOL.is_file():
        line = shlex.join(["python", str(GGUF_TOOL), str(path), "NEW"])
    else:
        line = CONVERTED_GGUF.format(folder=path.parent, name=path.name)
    return (
        "GGUF files hold quantised weights for llama.cpp; convert it once, with torch, gguf and "
        f"accelerate installed, and name the new directory: {line}"
    )


def _refuse_pointers(directory: Path, where: str) -> None:
    for path in sorted(directory.iterdir()):
        if not path.is_file() or path.stat().st_size > POINTER_BYTES:
            continue
        with open(path, "rb") as file:
            if file.read(len(POINTER)) == POINTER:
                raise UserError(
                    f"{where}: {path.name} is a git-lfs pointer of {path.stat().st_size} bytes, which "
                    f"stands for the file itself; fetch it: git -C {directory} lfs pull"
                )


def _refuse_others(directory: Path, where: str, weights: bool) -> None:
    """Raises UserError for a directory that is no checkpoint, saying what it is."""
    names = {path.name for path in directory.iterdir()}
    ggufs = sorted(name for name in names if name.endswith(".gguf"))
    if not names:
        raise UserError(f"{where}: is empty; copy the files of a Hugging Face checkpoint into it")
    if not weights:
        return
    if FILE not in names:
        if RUN_WEIGHTS in names:
            raise UserError(
                f"{where}: a training run; train again with export=true, or export it, and name the new directory: "
                f"python -m jprm export --run {directory} --out NEW"
            )
        if ggufs:
            raise UserError(f"{where}: {_about_gguf(directory / ggufs[0])}")
        inside = sorted(path.parent for path in directory.glob(f"*/{FILE}"))
        hint = f"; did you mean {inside[0]}?" if inside else "; copy it from the checkpoint"
        raise UserError(f"{where}: no {FILE} there{hint}")
    if WEIGHTS in names or INDEX in names:
        return
    if any(name.startswith("pytorch_model") and name.endswith(".bin") for name in names):
        line = CONVERTED.format(source=directory)
        raise UserError(
            f"{where}: pytorch_model.bin is a pickle, which can run code and is not read; convert it "
            f"once, with torch installed, and name the new directory: {line}"
        )
    if ggufs:
        raise UserError(f"{where}: {_about_gguf(directory / ggufs[0])}")
    if shards := sorted(name for name in names if name.endswith(".safetensors")):
        raise UserError(f"{where}: {shards[0]} without {INDEX}; copy that file as well")
    raise UserError(f"{where}: neither {WEIGHTS} nor {INDEX} there; fetch the weights as well")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Opens a safetensors file. Raises UserError where it is missing, truncated or damaged."""
    try:
        with safe_open(path, "numpy") as file:
            yield file
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: truncated or damaged ({error}); fetch it again") from None


def weight_files(directory: Path) -> dict[str, Path]:
    """Finds the file of each tensor. Raises UserError where an index and its shards disagree."""
    single, index = directory / WEIGHTS, directory / INDEX
    if single.is_file():
        with opened(single) as file:
            return dict.fromkeys(file.keys(), single)
    if not index.is_file():
        raise UserError(f"{directory}: neither {WEIGHTS} nor {INDEX} there; other formats are not read")
    listed = read_object(index, "fetch it again").get("weight_map")
    if not isinstance(listed, dict) or not all(isinstance(shard, str) for shard in listed.values()):
        raise UserError(f"{index}: the field 'weight_map' must map tensor names to file names")
    for shard in sorted(set(listed.values())):
        expected = {name for name, place in listed.items() if place == shard}
        if shard != Path(shard).name:
            raise UserError(f"{index}: {shard!r} is not the name of a file in this directory")
        if not (directory / shard).is_file():
            raise UserError(
                f"{directory / shard}: no such file; {INDEX} lists it for {len(expected)} tensors, "
                f"{min(expected)} among them"
            )
        with opened(directory / shard) as file:
            found = set(file.keys())
        for name in sorted(expected ^ found):
            fault = "is listed there but not in it" if name in expected else "is not listed there"
            raise UserError(f"{directory / shard}: does not match {INDEX}: tensor {name} {fault}")
    return {name: directory / shard for name, shard in listed.items()}
