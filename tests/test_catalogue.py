"""What `python -m jprm list` names, it names all of, and a user's scorer with it."""

from jprm import cli
from jprm.formats import FORMATS, benchmark
from jprm.models import PRESETS
from jprm.score import scorer
from jprm.worlds import world


def test_everything_is_named_on_a_line_of_its_own(monkeypatch, capsys, tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from jprm.score import scorer\n"
        '@scorer("listed")\n'
        "def listed(problem, steps, seed):\n"
        '    """Likes short steps."""\n'
        "    return [1.0 / len(step) for step in steps]\n"
    )
    monkeypatch.setattr("sys.argv", ["jprm", "list", "--plugin", str(plugin)])
    assert cli.main() == 0
    lines = capsys.readouterr().out.splitlines()
    names = {line.split()[0] for line in lines if line.startswith("  ")}
    assert names >= {*scorer, *benchmark, *FORMATS, *world, *PRESETS, "qwen3"}
    [mine] = [line for line in lines if line.split()[0] == "listed"]
    assert mine.endswith("  Likes short steps.")
