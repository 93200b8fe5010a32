"""Splash attention is a Pallas kernel for TPU whose scores never lie in memory as a whole.

The einsum's f32 scores of a row of T tokens take 4 T^2 bytes a head: 12.9 GB for 12 heads at 16,384 tokens. The kernel
is JAX's (`jax.experimental.pallas.ops.tpu.splash_attention`, after FlashAttention-2), with segment ids beside the
causal mask and grouped heads; forward and backward skip the blocks above the diagonal.
"""

from typing import Any

import jax
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernel
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

BLOCKS = (512, 256, 128)  # tokens of a block: the largest that divides the row


def splash_attention(
    q_BTNH: jax.Array, k_BTKH: jax.Array, v_BTKH: jax.Array, segments_BT: jax.Array, interpret: bool = False
) -> jax.Array:
    """Computes causal attention within each segment, softmax in f32: BTNH.

    T has to be a multiple of the smallest block. interpret: runs the kernel as plain JAX, anywhere and slowly.
    """
    tokens, heads, head_dim = q_BTNH.shape[1:]
    attend = _kernel(heads, tokens, interpret)
    q_BNTH, k_BKTH, v_BKTH = (x.transpose(0, 2, 1, 3) for x in (q_BTNH * head_dim**-0.5, k_BTKH, v_BTKH))
    o_BNTH: Any = jax.vmap(attend)(q_BNTH, k_BKTH, v_BKTH, kernel.SegmentIds(segments_BT, segments_BT))
    return o_BNTH.transpose(0, 2, 1, 3).astype(q_BTNH.dtype)


def _kernel(heads: int, tokens: int, interpret: bool):
    """Returns the kernel for rows of so many tokens. Of its mask only the blocks on the diagonal are computed."""
    block = next(size for size in BLOCKS if tokens % size == 0)
    names = ("block_q", "block_kv", "block_kv_compute", "block_q_dkv", "block_kv_dkv", "block_kv_dkv_compute")
    sizes = kernel.BlockSizes(**dict.fromkeys((*names, "block_q_dq", "block_kv_dq"), block))
    mask = masks.MultiHeadMask([masks.CausalMask((tokens, tokens))] * heads)
    return kernel.make_splash_mha_single_device(mask, block_sizes=sizes, interpret=interpret)
