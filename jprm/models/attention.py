"""Attention over packed rows, for training and for scoring whole texts.

A row holds several documents; a token sees the earlier tokens of its own document and nothing else,
so that a packed row gives every document the numbers it would have alone. Segment 0 is padding.

Shape letters: B rows, T query tokens, S key tokens, K key/value heads, G query heads for each of
them, N = K * G, H head dim.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jprm.errors import UserError
from jprm.mesh import TRAIN_RULES, Rules, reshard

BLOCKS = 2
MIN_BLOCK_TOKENS = 32
LEAST_BLOCK = 128  # of splash attention: the tokens of a row have to be a multiple
KERNELS = ("auto", "einsum", "xla", "cudnn", "splash")


def kernel_in_use(impl: str, dtype: Any, tokens: int) -> str:
    """Says which kernel attention of this type over rows of so many tokens runs: "einsum", "xla", "cudnn" or "splash".

    It is that of the devices of the mesh in force, else of the default device. "auto" is cuDNN or splash where they can
    run, else einsum. Raises UserError where one of them is asked for and cannot run: another kernel in its place would
    be found out by nobody but the bill.
    """
    if impl not in KERNELS:
        raise UserError(f"attention: {impl!r} is none of {', '.join(KERNELS)}")
    platform, kind = _device()
    half = np.dtype(dtype) in (np.dtype(jnp.bfloat16), np.dtype(np.float16))
    gpu, tpu, whole = platform == "gpu" and "nvidia" in kind.lower(), platform == "tpu", tokens % LEAST_BLOCK == 0
    if impl == "cudnn" and not gpu:
        raise UserError(
            f"attention: cudnn runs on NVIDIA GPUs, this is {kind}; set train.attention = 'einsum' or 'auto'"
        )
    if impl == "cudnn" and not half:
        raise UserError(
            f"attention: cudnn takes 16-bit types, not {np.dtype(dtype)}; "
            "set train.compute_dtype = 'bfloat16', or train.attention = 'einsum'"
        )
    if impl == "splash" and not tpu:
        raise UserError(f"attention: splash runs on TPUs, this is {kind}; set train.attention = 'einsum' or 'auto'")
    if impl == "splash" and not whole:
        raise UserError(
            f"attention: splash takes rows of a multiple of {LEAST_BLOCK} tokens, not of {tokens}; set train.row_tokens"
        )
    if impl == "auto":
        return "cudnn" if gpu and half else "splash" if tpu and whole else "einsum"
    return impl


def _device() -> tuple[str, str]:
    """The platform and kind of the devices that will run: of the mesh in force, which may be compiled for elsewhere."""
    mesh = jax.sharding.get_abstract_mesh()
    device = None if mesh.empty else mesh.abstract_device
    if device is None or device.platform is None:
        device = jax.devices()[0]
    return device.platform, device.device_kind


def segment_attention(segments_BT: jax.Array, rules: Rules = TRAIN_RULES, impl: str = "einsum"):
    """Makes an `attend` for Model.hidden: causal within each segment, softmax in f32.

    impl: as in `kernel_in_use`. "einsum" is the one below; "xla" and "cudnn" are those of
    `jax.nn.dot_product_attention`; "splash" is that of splash.py.
    """
    if impl == "einsum":
        return _einsum_attention(segments_BT, rules)

    def attend(layer, q_BTNH, k_BTKH, v_BTKH):
        kernel: Any = kernel_in_use(impl, q_BTNH.dtype, q_BTNH.shape[1])
        if kernel == "einsum":
            return _einsum_attention(segments_BT, rules)(layer, q_BTNH, k_BTKH, v_BTKH)

        def call(q_BTNH, k_BTKH, v_BTKH, segments_BT):
            if kernel == "splash":
                from jprm.models.splash import splash_attention  # Pallas takes a second to load

                return splash_attention(q_BTNH, k_BTKH, v_BTKH, segments_BT)
            # Segments go in as a mask: the public function has no offsets, and those of the private
            # one read wrong keys for grouped heads before jax 0.11 (jax-ml/jax#39521).
            mask_B1TS = (segments_BT[:, :, None] == segments_BT[:, None, :])[:, None]
            return jax.nn.dot_product_attention(
                q_BTNH, k_BTKH, v_BTKH, mask=mask_B1TS, is_causal=True, implementation=kernel
            )

        mesh = jax.sharding.get_abstract_mesh()
        if mesh.empty:
            return call(q_BTNH, k_BTKH, v_BTKH, segments_BT)
        # Rows and heads do not depend on each other, so each device attends over its own.
        q_spec = rules.spec("batch", None, "heads", None)
        k_spec = rules.spec("batch", None, "kv_heads", None)
        if rules.kv_heads != rules.heads:  # a device would take its first heads for the first of all
            heads = q_BTNH.shape[2]
            k_BTKH = _for_each_query_head(k_BTKH, heads, rules)
            v_BTKH = _for_each_query_head(v_BTKH, heads, rules)
            k_spec = q_spec
        specs = (q_spec, k_spec, k_spec, rules.spec("batch", None))
        # check_vma: kernels do not say along which axes of the mesh their results vary
        local = jax.shard_map(call, in_specs=specs, out_specs=q_spec, check_vma=False)
        return local(q_BTNH, k_BTKH, v_BTKH, segments_BT)

    return attend


def _einsum_attention(segments_BT: jax.Array, rules: Rules):
    """Computes scores and softmax in f32, by einsums.

    The queries go in two blocks, each against the keys up to its own end, which leaves out a quarter of the scores (a
    tenth of a training step on CPU). Four blocks would leave out three eighths, but compile a second longer. Einsums
    are head-major: XLA on CPU runs a batched product fast only if the batch axes lead.
    """
    rows, tokens = segments_BT.shape
    blocks = BLOCKS if tokens % BLOCKS == 0 and tokens >= BLOCKS * MIN_BLOCK_TOKENS else 1
    size = tokens // blocks
    ends = [size * (i + 1) for i in range(blocks)]
    biases = [_bias(segments_BT, end - size, end) for end in ends]

    def attend(layer, q_BTNH, k_BTKH, v_BTKH):
        heads = q_BTNH.shape[2]
        q_BNTH = (q_BTNH * q_BTNH.shape[3] ** -0.5).transpose(0, 2, 1, 3)
        k_BNSH = _for_each_query_head(k_BTKH, heads, rules).transpose(0, 2, 1, 3)
        v_BNSH = _for_each_query_head(v_BTKH, heads, rules).transpose(0, 2, 1, 3)
        parts = [
            _attend(q_BNTH[:, :, end - size : end], k_BNSH[:, :, :end], v_BNSH[:, :, :end], bias)
            for end, bias in zip(ends, biases, strict=True)
        ]
        return jnp.concatenate(parts, axis=2).transpose(0, 2, 1, 3)

    return attend


def _for_each_query_head(x_BTKH: jax.Array, heads: int, rules: Rules) -> jax.Array:
    """Repeats every key/value head for the queries of its group: BTNH.

    A batch axis for the groups would save the copy, but XLA on CPU takes a fifth longer for it even with groups of 1.
    """
    rows, tokens, k, h = x_BTKH.shape
    if k == heads:
        return x_BTKH
    x_BTKGH = jnp.broadcast_to(x_BTKH[:, :, :, None], (rows, tokens, k, heads // k, h))
    spec = rules("batch", None, "kv_heads", None)
    x_BTNH = lax.reshape(x_BTKGH, (rows, tokens, heads, h), out_sharding=spec)
    return reshard(x_BTNH, rules("batch", None, "heads", None))


def _bias(segments_BT: jax.Array, start: int, end: int) -> jax.Array:
    """Returns (B1TS) 0 where the query (start..end) may see the key (0..end), else so low that exp gives 0.

    Finite, because a row of padding that saw nothing at all would give NaN.
    """
    same_BTS = segments_BT[:, start:end, None] == segments_BT[:, None, :end]
    causal_TS = jnp.arange(start, end)[:, None] >= jnp.arange(end)
    return jnp.where(same_BTS & causal_TS, 0.0, -1e9)[:, None]


def _attend(q_BNTH, k_BNSH, v_BNSH, bias_B1TS):
    score_BNTS = jnp.einsum("bnth,bnsh->bnts", q_BNTH, k_BNSH, preferred_element_type=jnp.float32)
    score_BNTS = score_BNTS + bias_B1TS
    weight_BNTS = jnp.exp(score_BNTS - lax.stop_gradient(score_BNTS.max(-1, keepdims=True)))
    # Dividing the T x H result, not the T x S weights, saves a pass over the largest array of the step.
    out_BNTH = jnp.einsum("bnts,bnsh->bnth", weight_BNTS.astype(v_BNSH.dtype), v_BNSH)
    return out_BNTH / weight_BNTS.sum(-1, keepdims=True).astype(out_BNTH.dtype)
