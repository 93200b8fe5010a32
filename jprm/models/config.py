"""Shapes of the one Transformer, and the named sizes.

Model families (Qwen2, Qwen3, Llama 3, Mistral, Gemma-like embedding scale) differ by fields here, never by a copy of
the model's file.
"""

import dataclasses
import difflib

from jprm.errors import UserError


@dataclasses.dataclass(frozen=True)
class Llama3Scaling:
    """Llama 3's slower rotary positions for contexts beyond `original_context` tokens.

    Pairs that turn fewer than `low_freq_factor` times over the original context turn `factor` times
    slower; those that turn more than `high_freq_factor` times stay; between, a linear blend.
    """

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_context: int

    def __post_init__(self):
        """Raises UserError for factors that leave no band to blend over."""
        if not (self.factor >= 1 and 0 < self.low_freq_factor < self.high_freq_factor):
            raise UserError(
                f"model: rope scaling wants factor >= 1 and 0 < low_freq_factor < high_freq_factor, not {self}"
            )


@dataclasses.dataclass(frozen=True)
class YarnScaling:
    """YaRN's slower rotary positions for contexts beyond `original_context` tokens (arXiv 2309.00071).

    Pairs that turn at least `beta_fast` times over the original context stay; those that turn at most `beta_slow` times
    turn `factor` times slower; between, a blend that is linear in the number of the pair. `truncate` widens that band
    to whole pairs. Cosine and sine are multiplied by `attention_factor`.
    """

    factor: float
    original_context: int
    attention_factor: float
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True

    def __post_init__(self):
        """Raises UserError for numbers that leave no band to blend over."""
        if not (self.factor >= 1 and self.attention_factor > 0 and 0 < self.beta_slow <= self.beta_fast):
            raise UserError(
                f"model: YaRN wants factor >= 1, attention_factor > 0 and 0 < beta_slow <= beta_fast, not {self}"
            )


RopeScaling = Llama3Scaling | YarnScaling


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A decoder-only Transformer: RMSNorm, rotary positions, SwiGLU, grouped key/value heads.

    `embed` is the width of the residual stream, `mlp` that of the gated layer. `embed_scale` multiplies the token
    embeddings on entry (1 in Qwen; sqrt(embed) in Gemma and in the tiny presets, which are trained from scratch with a
    tied head: the head wants entries of embed**-0.5, the residual stream wants entries of 1). `induction_init` starts
    with heads that look back, match and copy (see `induction.py`).
    """

    vocab_size: int
    n_layers: int
    embed: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    mlp: int
    rope_theta: float = 1e6
    rope_scaling: RopeScaling | None = None
    qkv_bias: bool = True
    qk_norm: bool = False
    tied: bool = True
    norm_eps: float = 1e-6
    embed_scale: float = 1.0
    induction_init: bool = False

    def __post_init__(self):
        """Raises UserError for shapes that cannot be built."""
        if self.n_heads % self.n_kv_heads:
            raise UserError(f"model: n_heads = {self.n_heads} is no multiple of n_kv_heads = {self.n_kv_heads}")
        if self.head_dim % 2:
            raise UserError(f"model: head_dim = {self.head_dim} is odd; rotary positions turn pairs")
        if self.induction_init and not self.qkv_bias:
            raise UserError("model: induction_init works through the query and key biases: set qkv_bias = true")

    @property
    def group(self) -> int:
        """How many query heads share a key/value head."""
        return self.n_heads // self.n_kv_heads


def _tiny(n_layers: int, embed: int, n_heads: int = 4) -> dict:
    # Of 4 heads three look back and one is free; with fewer, lookups are not learnt.
    return dict(
        n_layers=n_layers,
        embed=embed,
        n_heads=n_heads,
        n_kv_heads=n_heads,  # grouped heads would save memory, and cost time on a CPU
        head_dim=embed // n_heads,
        mlp=2 * embed,
        embed_scale=embed**0.5,
        induction_init=True,
    )


def _qwen(n_layers, embed, n_heads, n_kv_heads, head_dim, mlp, tied) -> dict:
    return dict(
        n_layers=n_layers, embed=embed, n_heads=n_heads, n_kv_heads=n_kv_heads, head_dim=head_dim, mlp=mlp, tied=tied
    )


# The fields of ModelConfig without the vocabulary, which the tokenizer decides.
PRESETS: dict[str, dict] = {
    "tiny-0.1m": _tiny(3, 64),
    "tiny-0.3m": _tiny(3, 96),
    "tiny-0.5m": _tiny(3, 128),
    "tiny-1m": _tiny(3, 192),
    "tiny-3m": _tiny(4, 256),
    "small-10m": _tiny(6, 416, 8),
    "small-30m": _tiny(8, 608, 8),
    "small-100m": _tiny(12, 896, 14),
    # as in config.json of Qwen/Qwen2.5-* on huggingface.co
    "qwen2.5-0.5b": _qwen(24, 896, 14, 2, 64, 4864, tied=True),
    "qwen2.5-1.5b": _qwen(28, 1536, 12, 2, 128, 8960, tied=True),
    "qwen2.5-3b": _qwen(36, 2048, 16, 2, 128, 11008, tied=True),
    "qwen2.5-7b": _qwen(28, 3584, 28, 4, 128, 18944, tied=False),
    "qwen2.5-32b": _qwen(64, 5120, 40, 8, 128, 27648, tied=False),
}


def preset(name: str, vocab_size: int) -> ModelConfig:
    """Returns the configuration called `name`. Raises UserError naming the nearest preset."""
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=1) or sorted(PRESETS)[:1]
        raise UserError(f"model: no preset {name!r}; nearest is {near[0]!r} (all: {', '.join(PRESETS)})")
    return ModelConfig(vocab_size=vocab_size, **PRESETS[name])
