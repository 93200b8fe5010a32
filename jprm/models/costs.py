"""What a model costs: parameters, and FLOPs of training, of a forward pass and of decoding.

Counted are the matrix products, two operations for each multiply-add, and nothing else (norms, softmax and rotations
are a few per cent even of the tiny models). Attention is causal: a token at position p reads p + 1 keys, so a document
of n tokens makes n (n + 1) / 2 pairs, and packing adds none.
"""

from jprm.models.config import ModelConfig


def parameter_count(config: ModelConfig) -> int:
    """Counts all parameters; tied embeddings count once."""
    c = config
    layer = _layer_weights(c) + 2 * c.embed
    if c.qkv_bias:
        layer += (c.n_heads + 2 * c.n_kv_heads) * c.head_dim
    if c.qk_norm:
        layer += 2 * c.head_dim
    return c.n_layers * layer + c.embed + c.vocab_size * c.embed * (1 if c.tied else 2)


def forward_flops(config: ModelConfig, tokens: float, pairs: float, logits: float) -> float:
    """Counts the FLOPs of a forward pass of so many tokens, scored (query, key) pairs, and rows of logits."""
    c = config
    per_token = 2 * c.n_layers * _layer_weights(c)
    per_pair = 2 * 2 * c.n_layers * c.n_heads * c.head_dim  # the score, and the weighted sum of values
    return tokens * per_token + pairs * per_pair + logits * 2 * c.embed * c.vocab_size


def train_flops(config: ModelConfig, tokens: int, context: float) -> float:
    """Counts the FLOPs of training on documents of `context` tokens each: the forward pass, and twice that backward."""
    return 3 * forward_flops(config, tokens, tokens * (context + 1) / 2, tokens)


def decode_flops(config: ModelConfig, context: int, tokens: int) -> float:
    """Counts the FLOPs of generating `tokens` tokens after a context of `context` tokens."""
    return forward_flops(config, tokens, tokens * context + tokens * (tokens + 1) / 2, tokens)


def _layer_weights(c: ModelConfig) -> int:
    """Counts the entries of one layer's matrices."""
    attention = c.embed * c.head_dim * (2 * c.n_heads + 2 * c.n_kv_heads)
    return attention + 3 * c.embed * c.mlp
