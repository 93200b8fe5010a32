"""A trained model remembers the protocol in which its rows were written, in the run, its adapter and its export."""

import json

import jax
import numpy as np
import pytest

from jprm.config import load
from jprm.errors import UserError
from jprm.formats.protocols import PROTOCOL_FILE, ProtocolChoice, read_protocol
from jprm.models.hf_weights import from_hf
from jprm.train import load_params
from jprm.train.config import RunConfig
from jprm.train.run import run_training
from jprm.train.start import start_of
from jprm.train.weights import export_run
from tests.experiments.benchmark import checkpoint
from tests.train import launch

GENPRM = {"name": "genprm", "chat": "template", "style": "full", "overrides": ["quirks.first_user=training"]}
TAGS = {"name": "tags", "style": "direct"}


def settings(folder, protocols, *overrides, base=None):
    """The configuration of a tiny run, of whose rows each tells one of the protocols (None: none) in turn."""
    config = launch.write_config(folder, steps=1)
    rows = [json.loads(line) for line in (folder / "data.jsonl").read_text().splitlines()[:16]]
    for i, row in enumerate(rows):
        if (protocol := protocols[i % len(protocols)]) is not None:
            row["protocol"] = protocol
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if base is not None:
        config.write_text(config.read_text().replace('preset = "tiny-0.1m"', f'checkpoint = "{base}"'))
    return load(RunConfig, config, ["mesh.fsdp=1", "name=run", *overrides])


def test_run_adapter_and_export(tmp_path):
    base = checkpoint.make(tmp_path / "base", "qwen")
    config = settings(tmp_path, [GENPRM], "train.lora.rank=2", "train.row_tokens=192", "export=true", base=base)
    (tmp_path / "run" / "hf").mkdir(parents=True)  # of an attempt that was killed
    (tmp_path / "run" / "hf" / "config.json").touch()
    assert run_training(config) == 0
    export_run(tmp_path / "run", tmp_path / "exported")
    expected = ProtocolChoice.model_validate(GENPRM)
    for directory in (
        tmp_path / "run",
        *(tmp_path / "run" / name for name in ("adapter", "hf")),
        tmp_path / "exported",
    ):
        assert read_protocol(directory) == expected
    files = json.loads((tmp_path / "run" / "result.json").read_text())["files"]
    assert PROTOCOL_FILE in files and f"adapter/{PROTOCOL_FILE}" in files, "damage to them is seen"
    assert not any(name.startswith("hf/") for name in files), "it is made again from what is in them"
    _, held = from_hf(tmp_path / "run" / "hf")
    jax.tree.map(np.testing.assert_array_equal, held, load_params(tmp_path / "run")[0])


@pytest.mark.parametrize(
    ("protocols", "told"),
    [([None], 0), ([GENPRM, None], 1), ([GENPRM, TAGS], 2), ([TAGS, {**TAGS, "chat": "published"}], 1)],
)
def test_rows_that_agree(tmp_path, protocols, told):
    """What a row leaves out is the default; rows of another kind may stand among them."""
    start = start_of(settings(tmp_path, protocols))
    assert len(start.protocols) == told and (start.protocol is not None) == (told == 1)


def test_the_day_that_the_template_wrote_is_remembered(tmp_path):
    base = checkpoint.make(tmp_path / "base", "llama-dated")
    config = settings(tmp_path, [GENPRM], "data.date=2025-01-02", base=base)
    start = start_of(config, config.data.date)
    assert start.protocol is not None and start.protocol.overrides[-1] == "chat.date=2025-01-02"
    pieces = {"pieces": [["Is it?", False], ["Yes", True]], "protocol": GENPRM}
    (tmp_path / "data.jsonl").write_text(json.dumps(pieces) + "\n")
    start = start_of(config, config.data.date)
    assert start.protocol == ProtocolChoice.model_validate(GENPRM), "pieces are laid out already"


def test_a_protocol_of_another_form_names_its_line(tmp_path):
    with pytest.raises(UserError, match=r"line 2: 'protocol': name = 'prm'"):
        start_of(settings(tmp_path, [TAGS, {"name": "prm"}]))
