"""What a model costs: parameters, and FLOPs of training, prefill and decode.

Counted are the matrix products, two operations for each multiply-add, and nothing else (norms,
softmax and rotations are a few per cent even of the tiny models). Attention is causal: a token at
position p reads p + 1 keys, so a document of n tokens makes n (n + 1) / 2 pairs, and packing adds
none.
"""

from collections.abc import Iterable

from jprm.models.config import ModelConfig


def parameter_count(config: ModelConfig) -> int:
    """All parameters, the embeddings included (once if tied)."""
    c = config
    layer = _layer_weights(c) + 2 * c.embed
    if c.qkv_bias:
        layer += (c.n_heads + 2 * c.n_kv_heads) * c.head_dim
    if c.qk_norm:
        layer += 2 * c.head_dim
    return c.n_layers * layer + c.embed + c.vocab_size * c.embed * (1 if c.tied else 2)


def forward_flops(config: ModelConfig, tokens: float, pairs: float, logits: float) -> float:
    """FLOPs forward: `tokens` through the layers, `pairs` (query, key) scored, `logits` rows."""
    c = config
    per_token = 2 * c.n_layers * _layer_weights(c)
    per_pair = 2 * 2 * c.n_layers * c.n_heads * c.head_dim  # the score, and the weighted sum of values
    return tokens * per_token + pairs * per_pair + logits * 2 * c.embed * c.vocab_size


def train_flops(config: ModelConfig, tokens: int, context: float) -> float:
    """Training FLOPs on documents of `context` tokens: forward, and twice that backward."""
    return 3 * forward_flops(config, tokens, tokens * (context + 1) / 2, tokens)


def document_train_flops(config: ModelConfig, lengths: Iterable[int]) -> float:
    """As `train_flops`, exactly, for documents of these lengths."""
    lengths = list(lengths)
    pairs = sum(n * (n + 1) / 2 for n in lengths)
    return 3 * forward_flops(config, sum(lengths), pairs, sum(lengths))


def prefill_flops(config: ModelConfig, tokens: int) -> float:
    """FLOPs of reading a prompt of `tokens` tokens; only its last position is read out."""
    return forward_flops(config, tokens, tokens * (tokens + 1) / 2, 1)


def decode_flops(config: ModelConfig, context: int, tokens: int) -> float:
    """FLOPs of generating `tokens` tokens after a context of `context` tokens."""
    return forward_flops(config, tokens, tokens * context + tokens * (tokens + 1) / 2, tokens)


def _layer_weights(c: ModelConfig) -> int:
    """Entries of one layer's matrices."""
    attention = c.embed * c.head_dim * (2 * c.n_heads + 2 * c.n_kv_heads)
    return attention + 3 * c.embed * c.mlp
