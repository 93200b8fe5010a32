"""The settings of tasks, one frozen model per section of a configuration file.

They are read before JAX is imported, so that a mistake is answered at once. Each field says what it is; the reference
page of the configuration is made from these sentences.

Invariant: a section holds nothing that no task reads, and a task's `inputs` hold all that its result depends on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from jprm.config import Config
from jprm.label import label_rule
from jprm.records import ReadOut
from jprm.registry import load_plugins
from jprm.train.config import TrainConfig
from jprm.verify import CodeSettings, Overflow, protocol, votes_drawn
from jprm.worlds import world

EXACT = "exact"  # the labels that say what is true, where that is known; every other rule goes by values
Style = Literal["full", "code", "analysis", "direct"]
ExecutionMode = Literal["executed", "invented", "none"]
VoteMode = Literal["chain", "fork"]
Need = Literal["reads", "writes", "network", "processes", "signals", "memory"]


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str | Path) else value


def _absolute(files: tuple[Path, ...]) -> tuple[Path, ...]:
    """The files so that they are found from any folder: a run directory is opened from elsewhere, too."""
    return tuple(file.absolute() for file in files)


class PluginSection(Config):
    """The user's own files of scorers, strategies, worlds and the like, which run before anything is named by them."""

    plugins: Annotated[tuple[Path, ...], BeforeValidator(_listed), AfterValidator(_absolute)] = ()
    """Python files that register what is chosen by name, such as a world; one alone may stand without brackets."""

    @model_validator(mode="before")
    @classmethod
    def _run_first(cls, table: Any) -> Any:
        return with_plugins(table)


def with_plugins(table: Any) -> Any:
    """Returns the table of a configuration as it is, once its plugins have run. Raises UserError for one that fails."""
    files = _listed(table.get("plugins")) if isinstance(table, dict) else None
    if isinstance(files, list | tuple):
        load_plugins(Path(file) for file in files if isinstance(file, str | Path))
    return table


def check_label_rule(name: str | None) -> str | None:
    """Returns the name of a label rule as it is. Raises UserError, which names the nearest, for an unknown one."""
    if name not in (None, EXACT):
        label_rule[name]
    return name


class WorldSection(Config):
    """Where problems come from."""

    kind: str = "embedded"
    """The world: "embedded", which needs no files, "gsm8k", its text, "problems" of any file, or one of a plugin."""
    settings: dict[str, Any] = {}
    """The world's own settings, such as its difficulty."""

    @field_validator("kind")
    @classmethod
    def _a_world(cls, kind: str) -> str:
        world[kind]
        return kind


class DataSection(Config):
    """The files of a world that reads them."""

    root: Path | None = None
    """The folder that holds gsm8k/ and processbench/, and in which relative paths of `world.settings` begin."""


class ModelChoice(Config):
    """A model that was trained elsewhere; its name alone may stand for it."""

    model: str
    """The Hugging Face directory (or a name of the hub in the local cache); of a served model its tokenizer's."""
    base_url: str = ""
    """The address of a server that samples the model, such as http://localhost:8000/v1; "" for the engine here."""
    served_model: str = ""
    """The name of the model on the server; not needed where it serves one."""
    concurrency: int = Field(default=64, ge=1)
    """The requests to the server at a time."""
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """The type of weights and caches in sampling; by default float32 on CPUs, elsewhere that of the files."""
    tensor: int | None = Field(default=None, ge=1)
    """The devices that share the weights in sampling; by default one."""


class PromptSection(Config):
    """How a policy that was trained elsewhere is asked for a solution."""

    style: Literal["auto", "chat", "plain"] = "auto"
    """Whether the instruction is a user's turn of the chat template ("chat") or a text alone ("plain"); "auto" takes
    the chat where the model has a template."""
    instruction: str = (
        "{problem}\n\nSolve the problem step by step. Write every step as a paragraph of its own, with an empty line "
        "between two steps. End the last step with the final answer in \\boxed{}."
    )
    """What is asked, with the problem at the place {problem}."""
    system: str = ""
    """The system prompt of the chat; "" for that of the template."""
    begin: str = ""
    """How every solution begins, such as "Step 1:"."""
    options: dict[str, Any] = {}
    """Options of the chat template, such as enable_thinking."""
    top_k: int = Field(default=0, ge=0)
    """So many of the likeliest tokens are drawn from; 0 sets no limit."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """The likeliest tokens that together have this probability are drawn from."""

    @field_validator("instruction")
    @classmethod
    def _one_place(cls, instruction: str) -> str:
        if instruction.count("{problem}") != 1:
            raise ValueError("must hold the place {problem} once")
        return instruction


class TeacherSection(PromptSection):
    """How a teacher is asked for rationales, and which of its attempts are learnt from."""

    system: str = "You check solutions of mathematical problems with care, and you use Python where it helps."
    """The system prompt of the chat; "" for that of the template."""
    instruction: str = (
        "Here is a problem, and a solution of it in numbered paragraphs.\n\n{problem}\n\n"
        "Go through the paragraphs one by one, from the first, until you have found one that is wrong. Write a "
        "section of this form for each:\n\n"
        "### Paragraph N\n<analyze>\n"
        "Say what the paragraph claims, and whether the problem and the paragraphs before it bear it out: what it "
        "reads out of the problem, how it reasons, what it calculates.\n"
        "</analyze>\n<verify>\n```python\n# a short program that finds out what the paragraph claims, and prints "
        "it\n```\n</verify>\n\n"
        "As soon as a program ends you are shown, under [Code Output], what it really printed. Never write that "
        "yourself; read it, and correct a program that failed. Behind the section on the first wrong paragraph, or "
        "on the last one if all are right, stop and write its number as \\boxed{N}, or \\boxed{-1} if all "
        "paragraphs are right."
    )
    """What is asked, with the problem and the numbered paragraphs of a solution at the place {problem}."""
    begin: str = ""
    """How every attempt begins, before its first section, such as "<think>\\n" where the template leaves that out."""
    attempts: int = Field(default=4, ge=1)
    """The attempts at a solution at most; the next one begins where too few were kept."""
    keep: int = Field(default=1, ge=1)
    """The attempts at a solution that are learnt from at most."""
    temperature: float = Field(default=0.6, ge=0)
    """The temperature at which the teacher is sampled."""
    top_k: int = Field(default=40, ge=0)
    """So many of the likeliest tokens are drawn from; 0 sets no limit."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """The likeliest tokens that together have this probability are drawn from."""
    max_tokens: int = Field(default=4096, ge=1)
    """The tokens that the teacher writes between two pieces of code at most."""
    attempt_tokens: int = Field(default=24_576, ge=1)
    """The tokens of one attempt at most, with what its code printed."""
    context_tokens: int = Field(default=32_768, ge=16)
    """The tokens of a prompt and an attempt together at most."""
    max_rounds: int = Field(default=64, ge=1)
    """The pieces of code of one attempt at most."""


class ModelSection(Config):
    """The models by role, and how many sequences are decoded side by side."""

    policy: str | ModelChoice = "tiny-0.3m"
    """The policy, which writes the solutions: a preset, a directory, or a table of `ModelChoice`."""
    prompt: PromptSection = PromptSection()
    """How a policy that is no preset is asked."""
    teacher: str | ModelChoice | None = None
    """The teacher, which writes the rationales: a directory, or a table of `ModelChoice`; by default the world's
    annotator writes them."""
    slots: int = Field(default=256, ge=8)
    """The sequences that an engine decodes side by side; fewer where the memory does not hold them."""


class BaseSection(TrainConfig):
    """Pretraining from scratch, once for each model size and seed."""

    documents: int = Field(default=30_000, ge=1)
    """The documents of the world to train on."""
    steps: int = Field(default=1000, ge=1)
    """The training steps."""
    batch_rows: int = Field(default=10, ge=1)
    """The packed rows of one step."""
    row_tokens: int = Field(default=208, ge=2)
    """The tokens of one packed row."""


class TrainSection(TrainConfig):
    """Fine-tuning of a base model into a verifier."""

    learning_rate: float = Field(default=0.01, gt=0)
    """The highest learning rate."""


class LabelSection(Config):
    """Monte-Carlo labels of solutions, and the annotator's rationales."""

    source: Literal["rollouts", "planted", "file"] = "rollouts"
    """Whether values come from rollouts of the policy or from `file`, or solutions whose truth is known by construction
    are taken."""
    file: Path | None = None
    """The file of labelled solutions for the source "file", as `python -m jprm label` writes it."""
    problems: int = Field(default=290, ge=1)
    """The problems of the train split."""
    first_samples: int = Field(default=16, ge=1)
    """The solutions of a problem that are sampled first, to choose how many rollouts its states get."""
    rollout_divisor: int = Field(default=1, ge=1)
    """What the paper's numbers of rollouts (128, 64, 32) are divided by."""
    right_solutions: int = Field(default=1, ge=0)
    """The solutions of the policy with a right answer that are labelled, per problem."""
    wrong_solutions: int = Field(default=1, ge=0)
    """The solutions of the policy with a wrong answer that are labelled, per problem."""
    planted_solutions: int = Field(default=2, ge=0)
    """The solutions with a planted error that are labelled, per problem."""
    min_steps: int = Field(default=2, ge=1)
    """The steps of a labelled solution at least."""
    max_steps: int = Field(default=12, ge=1)
    """The steps of a labelled solution at most."""
    draw: int = Field(default=0, ge=0)
    """Another number values the same solutions by rollouts of their own, to tell how far values can be trusted."""
    temperature: float = Field(default=1.0, ge=0)
    """The temperature at which the policy is sampled; at 0 all rollouts of a state are the same."""
    max_tokens: int = Field(default=80, ge=1)
    """The tokens of one rollout at most."""
    context_tokens: int = Field(default=128, ge=16)
    """The tokens of a problem and a rollout together at most."""
    epsilon: float = Field(default=0.8, gt=0)
    """The threshold of relative progress, MC(s_t, a_t) / MC(s_t), below which a step is labelled wrong."""
    difference_epsilon: float = Field(default=-0.3, ge=-1, le=1)
    """The threshold of the difference of values, for the rule "difference"."""
    annotator_noise: float = Field(default=0.1, ge=0, le=1)
    """The probability that the annotator writes a bad rationale."""

    @model_validator(mode="after")
    def _file_for_its_source(self) -> LabelSection:
        if (self.source == "file") != (self.file is not None):
            raise ValueError('source = "file" and file = PATH belong together')
        return self

    @property
    def solutions(self) -> int:
        """The labelled solutions of one problem at most."""
        policy = self.right_solutions + self.wrong_solutions if self.source == "rollouts" else self.right_solutions > 0
        return policy + self.planted_solutions


class VerifySection(Config):
    """How a verifier is sampled, and where its code runs."""

    n_votes: int = Field(default=8, ge=1)
    """N: the votes on each step. All smaller numbers of votes are computed from them."""
    temperature: float = Field(default=1.1, ge=0)
    """The temperature at which votes are sampled."""
    mode: VoteMode = "chain"
    """Whether each vote reads its own earlier rationales ("chain"), or all votes read those of the first ("fork")."""
    readout: ReadOut = "prob_raw"
    """What the reward of a vote is: P(Yes) before or after the temperature, or the sampled word."""
    protocol: str = "auto"
    """How rationales are written, in training and in use: "tags", the compact ones, "genprm", as the published GenPRM,
    or a protocol of a plugin; "auto" takes the tags for presets and GenPRM for checkpoints."""
    chat: Literal["auto", "published", "template"] = "auto"
    """Whose turns a GenPRM conversation has: the published chat's, or those of the checkpoint's own template; "auto"
    takes the template where there is one."""
    overrides: tuple[str, ...] = ()
    """`key=value` of the GenPRM protocol (configs/verify/genprm.toml), such as sampling.top_k=0."""
    max_tokens: int = Field(default=64, ge=1)
    """The tokens of one step's rationale at most."""
    context_tokens: int = Field(default=304, ge=16)
    """The tokens of a whole conversation at most; longer ones end without a verdict."""
    max_rounds: int = Field(default=2, ge=1)
    """The pieces of code of one rationale at most."""
    workers: int = Field(default=2, ge=1)
    """The programs that run code side by side."""
    timeout_s: float = Field(default=5.0, gt=0)
    """The seconds of one piece of code at most."""
    place: str = "local"
    """Where code runs: local, ray, or the URL of a SandboxFusion service."""
    uncovered: tuple[Need, ...] = ()
    """What code is run in spite of, although nothing keeps it from that."""
    code: CodeSettings = CodeSettings()
    """How code is read and its output shown."""

    @field_validator("protocol")
    @classmethod
    def _a_protocol(cls, name: str) -> str:
        if name == "thinkprm":
            raise ValueError("ThinkPRM judges whole solutions, and no sweep trains it; choose tags or genprm")
        if name != "auto":
            protocol[name]
        return name

    @field_validator("place")
    @classmethod
    def _a_place(cls, place: str) -> str:
        if place not in ("local", "ray") and not place.startswith(("http://", "https://")):
            raise ValueError("no place to run code; choose local, ray, or a URL such as http://host:8080")
        return place

    def draws(self, votes: int) -> int:
        """The votes that are drawn where `votes` are asked for: one at temperature 0."""
        return votes_drawn(votes, self.temperature)


class CheckpointSection(PluginSection):
    """A checkpoint as a verifier: who judges with it, what samples it, and where its code runs."""

    scorer: str = "genprm"
    """The scorer that judges, by the name that `python -m jprm list` tells."""
    mode: VoteMode = "chain"
    """Whether each vote reads its own earlier rationales ("chain"), or all votes read those of the first ("fork")."""
    seed: int = 0
    """The seed of the votes."""
    readout: ReadOut | None = None
    """What the reward of a vote is: P(Yes) before or after the temperature, or the word; the scorer has a default."""
    overflow: Overflow = "give_up"
    """What becomes of a conversation that outgrows the context (see `Overflow` in `jprm.verify.conversation`)."""
    backend: Literal["own", "openai"] = "own"
    """What samples the model: the engine of this project, or a server that speaks OpenAI's protocol."""
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """The type of weights and caches; by default float32 on CPUs, elsewhere that of the files."""
    slots: int | None = Field(default=None, ge=1)
    """The conversations that the engine decodes side by side; by default what the memory holds."""
    context: int | None = Field(default=None, ge=1)
    """The tokens of the longest conversation; by default what the texts need."""
    prefix_rows: int | None = Field(default=None, ge=0)
    """The engine's rows of shared prompts; by default those that pay: on CPUs half as many as slots in fork mode."""
    tensor: int | None = Field(default=None, ge=1)
    """The devices that share the weights of one model; by default one."""
    base_url: str = ""
    """The address of the server, such as http://localhost:8000/v1."""
    served_model: str = ""
    """The name of the model on the server; not needed where it serves one."""
    concurrency: int = Field(default=64, ge=1)
    """The requests to the server at a time."""
    place: str = "local"
    """Where code runs: local, ray, or the URL of a SandboxFusion service."""
    workers: int | None = Field(default=None, ge=1)
    """The programs that run code side by side; by default one per processor."""
    uncovered: tuple[str, ...] = ()
    """What code is run in spite of, although nothing keeps it from that (see `jprm.execute.open_place`)."""
