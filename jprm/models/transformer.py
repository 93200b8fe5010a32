"""The one Transformer, described in flax.nnx and run as plain JAX.

Modules describe parameters (shape, logical axis names, initialisation) and the forward pass. `bind`
turns them into a `Model`: pure functions over a plain nested dict of arrays. No other file mentions nnx, because
calling `nnx.jit` in a loop costs 14 ms a call for 28 layers, and `jax.jit` over a dict 0.13 ms.

Parameters (L layers lead every leaf of "layers"):
    embed VD, norm D, head DV (if untied), layers:
    attn_norm LD, q LDNH, k LDKH, v LDKH, q_bias LNH, k_bias LKH, v_bias LKH, q_norm LH, k_norm LH,
    o LNHD, mlp_norm LD, gate LDF, up LDF, down LFD

Shape letters: B rows, T tokens, M = B*T, D embed, N query heads, K key/value heads, H head dim, F mlp, V vocabulary.

The residual stream stays flat, MD, from end to end: for BTD operands XLA on CPU puts transposing
copies before every weight-gradient product, which costs a quarter of the step.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from jprm.mesh import TRAIN_RULES, Rules, reshard, sharding
from jprm.models import induction
from jprm.models.config import ModelConfig
from jprm.models.rope import rotate, rotations
from jprm.seeds import rng_of

Params = dict
Attend = Callable[[int, jax.Array, jax.Array, jax.Array], jax.Array]

MAX_UNROLLED_LAYERS = 8
# What is kept for the backward pass. The scores of attention are products too, but with batch axes.
REMAT_POLICIES = {
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "layers": jax.checkpoint_policies.nothing_saveable,
}


@dataclasses.dataclass(frozen=True)
class _Call:
    """What all layers of one forward pass share."""

    rows: int
    tokens: int
    cos_MH: jax.Array
    sin_MH: jax.Array
    rules: Rules
    attend: Attend
    adapters: dict = dataclasses.field(default_factory=dict)  # those of this layer, see train/lora.py

    def adapted(self, name: str, x_MI: jax.Array, y_MO: jax.Array, axes: tuple) -> jax.Array:
        """Adds what the adapter of this projection makes of x to y; `axes` name the second axes of x and y."""
        if name not in self.adapters:
            return y_MO
        a_IR, b_RO = self.adapters[name]["a"], self.adapters[name]["b"]
        low_MR = _dot(x_MI, reshard(a_IR, self.rules(axes[0], None)), self.rules("batch", None))
        return y_MO + _dot(low_MR, b_RO, self.rules("batch", axes[1]))


def _param(shape: tuple[int, ...], axes: tuple, std: float = 0.0, mean: float = 0.0) -> nnx.Param:
    """Declares a parameter with the logical name of each axis and the normal distribution that it starts from.

    The values are drawn by `Model.init`: NumPy needs no compilation and knows no mesh, so the same
    seed gives the same weights everywhere, in milliseconds.
    """
    return nnx.Param(jnp.zeros(shape), out_sharding=axes, std=std, mean=mean)


class Block(nnx.Module):
    """One layer: attention and a gated MLP, whose inputs are normalised and whose outputs are added to the stream."""

    def __init__(self, config: ModelConfig):
        """Weights start with variance 1 / fan-in; what writes to the residual stream is divided by 2 L besides."""
        c = self.config = config
        d, n, k, h, f = c.embed, c.n_heads, c.n_kv_heads, c.head_dim, c.mlp
        into, out_of = d**-0.5, (2 * c.n_layers) ** -0.5
        self.attn_norm = _param((d,), (None,), mean=1)
        self.q = _param((d, n, h), ("embed", "heads", "head_dim"), into)
        self.k = _param((d, k, h), ("embed", "kv_heads", "head_dim"), into)
        self.v = _param((d, k, h), ("embed", "kv_heads", "head_dim"), into)
        self.o = _param((n, h, d), ("heads", "head_dim", "embed"), out_of * (n * h) ** -0.5)
        if c.qkv_bias:
            self.q_bias = _param((n, h), ("heads", "head_dim"))
            self.k_bias = _param((k, h), ("kv_heads", "head_dim"))
            self.v_bias = _param((k, h), ("kv_heads", "head_dim"))
        if c.qk_norm:
            self.q_norm = _param((h,), ("head_dim",), mean=1)
            self.k_norm = _param((h,), ("head_dim",), mean=1)
        self.mlp_norm = _param((d,), (None,), mean=1)
        self.gate = _param((d, f), ("embed", "mlp"), into)
        self.up = _param((d, f), ("embed", "mlp"), into)
        self.down = _param((f, d), ("mlp", "embed"), out_of * f**-0.5)

    def __call__(self, layer: int, x_MD: jax.Array, call: _Call) -> jax.Array:
        """Computes the residual stream after this layer."""
        rules, eps = call.rules, self.config.norm_eps
        q_BTNH, k_BTKH, v_BTKH = self._heads(rms_norm(x_MD, self.attn_norm[...], eps), call)
        o_BTNH = call.attend(layer, q_BTNH, k_BTKH, v_BTKH)
        o_MX = lax.reshape(o_BTNH, (x_MD.shape[0], math.prod(self.o.shape[:2])), out_sharding=rules("batch", "heads"))
        o_XD = lax.reshape(self.o[...], (o_MX.shape[1], x_MD.shape[1]), out_sharding=rules("heads", "embed"))
        out_MD = _dot(o_MX, o_XD, rules("batch", None))
        x_MD = x_MD + call.adapted("o", o_MX, out_MD, ("heads", None))
        h_MD = rms_norm(x_MD, self.mlp_norm[...], eps)
        gate_MF = _dot(h_MD, self.gate[...], rules("batch", "mlp"))
        gate_MF = call.adapted("gate", h_MD, gate_MF, (None, "mlp"))
        up_MF = _dot(h_MD, self.up[...], rules("batch", "mlp"))
        up_MF = call.adapted("up", h_MD, up_MF, (None, "mlp"))
        y_MF = jax.nn.silu(gate_MF) * up_MF
        out_MD = _dot(y_MF, self.down[...], rules("batch", None))
        return x_MD + call.adapted("down", y_MF, out_MD, ("mlp", None))

    def _heads(self, h_MD: jax.Array, call: _Call) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Computes queries and keys (biased, normalised, rotated) and values, by row, token and head."""
        c = self.config

        def project(name, weight, bias, norm, axis):
            d, heads, head_dim = weight.shape
            spec = call.rules("batch", axis, None)
            w_DX = lax.reshape(weight[...], (d, heads * head_dim), out_sharding=call.rules("embed", axis))
            y_MX = _dot(h_MD, w_DX, call.rules("batch", axis))
            y_MX = call.adapted(name, h_MD, y_MX, (None, axis))
            y_MNH = lax.reshape(y_MX, (h_MD.shape[0], heads, head_dim), out_sharding=spec)
            if bias is not None:
                y_MNH = y_MNH + bias[...]
            return y_MNH if norm is None else rms_norm(y_MNH, norm[...], c.norm_eps)

        def by_row(y_MNH, axis):
            shape = (call.rows, call.tokens, *y_MNH.shape[1:])
            return lax.reshape(y_MNH, shape, out_sharding=call.rules("batch", None, axis, None))

        q_bias, k_bias, v_bias = (self.q_bias, self.k_bias, self.v_bias) if c.qkv_bias else (None,) * 3
        q_norm, k_norm = (self.q_norm, self.k_norm) if c.qk_norm else (None,) * 2
        q_MNH = project("q", self.q, q_bias, q_norm, "heads")
        k_MKH = project("k", self.k, k_bias, k_norm, "kv_heads")
        v_MKH = project("v", self.v, v_bias, None, "kv_heads")
        q_MNH = rotate(q_MNH, call.cos_MH, call.sin_MH)
        k_MKH = rotate(k_MKH, call.cos_MH, call.sin_MH)
        return by_row(q_MNH, "heads"), by_row(k_MKH, "kv_heads"), by_row(v_MKH, "kv_heads")


class Ends(nnx.Module):
    """What lies around the layers: token embeddings, the last norm, the head."""

    def __init__(self, config: ModelConfig):
        """Embeddings start with variance 1 / embed: with a tied head the first logits have variance 1."""
        d, v = config.embed, config.vocab_size
        self.embed = _param((v, d), ("vocab", "embed"), d**-0.5)
        self.norm = _param((d,), (None,), mean=1)
        if not config.tied:
            self.head = _param((d, v), ("embed", "vocab"), d**-0.5)


def rms_norm(x: jax.Array, weight: jax.Array, eps: float) -> jax.Array:
    """Computes x / rms(x) * weight over the last axis, in f32 whatever the type of x."""
    x32 = x.astype(jnp.float32)
    scale = lax.rsqrt(jnp.mean(x32 * x32, -1, keepdims=True) + eps)
    return (x32 * scale * weight).astype(x.dtype)


def _dot(x_MI: jax.Array, w_IO: jax.Array, spec) -> jax.Array:
    return jnp.einsum("mi,io->mo", x_MI, w_IO, out_sharding=spec)


@dataclasses.dataclass(frozen=True)
class _Described:
    """Describes a parameter by its shape, the logical name of each axis, and the distribution it is drawn from."""

    shape: tuple[int, ...]
    axes: tuple[str | None, ...]
    std: float
    mean: float


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """The pure functions of one architecture under one set of sharding rules. `bind` makes it."""

    config: ModelConfig
    rules: Rules
    _parameters: dict  # a tree of _Described
    _block_graph: nnx.GraphDef

    def spec(self) -> Params:
        """Returns the tree of parameters as ShapeDtypeStructs, sharded over the mesh in force (if any)."""
        return jax.tree.map(
            lambda p: jax.ShapeDtypeStruct(p.shape, jnp.float32, sharding=sharding(self.rules(*p.axes))),
            self._parameters,
        )

    def init(self, seed: int) -> Params:
        """Draws fresh f32 parameters, which are the same for the same seed on every mesh."""

        def draw(path, p: _Described) -> np.ndarray:
            rng = rng_of(seed, "init", *(key.key for key in path))
            return rng.standard_normal(p.shape, np.float32) * np.float32(p.std) + np.float32(p.mean)

        params = jax.tree_util.tree_map_with_path(draw, self._parameters)
        if self.config.induction_init:
            params = induction.prepare(params, self.config, rng_of(seed, "init", "induction"))
        return jax.tree.map(lambda x, s: jax.device_put(x, s.sharding), params, self.spec())

    def hidden(
        self,
        params: Params,
        ids_BT: jax.Array,
        positions_BT: jax.Array,
        attend: Attend,
        *,
        unroll: bool | None = None,
        remat: str = "none",
    ) -> jax.Array:
        """Computes the residual stream after the last layer and norm, BTD, in the type of the parameters.

        `attend(layer, q_BTNH, k_BTKH, v_BTKH) -> o_BTNH` does the attention: q and k are rotated, q is not scaled.
        `unroll` False scans over the layers (`layer` is then traced), True unrolls them (what an attend that keeps
        caches in Python needs); None unrolls up to 8 layers that are not recomputed (XLA on CPU finds the two copies of
        an unrolled layer and keeps one), and all that come as a list (`split_layers`).
        `remat` says what the backward pass recomputes: "none" of a layer, all but the products with
        weights ("dots"), or whole "layers".
        `params["layers"]["lora"]`, where it is there, holds adapters (`jprm.train.lora`).
        """
        # 1. Look the tokens up.
        c, rules = self.config, self.rules
        rows, tokens = ids_BT.shape
        flat = rules("batch")
        ids_M = lax.reshape(ids_BT, (rows * tokens,), out_sharding=flat)
        positions_M = lax.reshape(positions_BT, (rows * tokens,), out_sharding=flat)
        cos_MH, sin_MH = rotations(positions_M, c)
        call = _Call(rows, tokens, cos_MH, sin_MH, rules, attend)
        # The table is gathered along fsdp first: left to itself the partitioner replicates the looked-up rows instead.
        table_VD = reshard(params["embed"], rules("vocab", None))
        x_MD = table_VD.at[ids_M].get(out_sharding=rules("batch", None)) * c.embed_scale

        # 2. Go through the layers, unrolled or in a scan.
        def block(x_MD, layer, weights):
            adapters = weights.get("lora", {})
            weights = {name: leaf for name, leaf in weights.items() if name != "lora"}
            shared = dataclasses.replace(call, adapters=adapters)
            return self._block(weights)(layer, x_MD, shared)

        if remat != "none":
            block = jax.checkpoint(block, policy=REMAT_POLICIES[remat])
        layers = params["layers"]
        if unroll is None:
            few = c.n_layers <= MAX_UNROLLED_LAYERS and remat == "none"
            unroll = isinstance(layers, list) or few
        if unroll:
            for i in range(c.n_layers):
                one = layers[i] if isinstance(layers, list) else _layer(layers, i)
                x_MD = block(x_MD, i, one)
        else:
            step = lambda x_MD, xs: (block(x_MD, *xs), None)  # noqa: E731
            x_MD, _ = lax.scan(step, x_MD, (jnp.arange(c.n_layers), layers))
        # 3. Normalise, and give rows and tokens axes of their own again.
        x_MD = rms_norm(x_MD, params["norm"], c.norm_eps)
        return lax.reshape(x_MD, (rows, tokens, c.embed), out_sharding=rules("batch", None, None))

    def logits(self, params: Params, h: jax.Array) -> jax.Array:
        """Computes f32 logits (..., V) of hidden states (..., D); the leading axis is the batch."""
        spec = self.rules("batch", *[None] * (h.ndim - 2), "vocab")
        if self.config.tied:
            equation, head = "...d,vd->...v", params["embed"]
        else:
            equation, head = "...d,dv->...v", params["head"]
        return jnp.einsum(equation, h, head, preferred_element_type=jnp.float32, out_sharding=spec)

    def _block(self, weights: Params) -> Block:
        return nnx.merge(self._block_graph, nnx.State(weights))


def _layer(layers: Params, i: int) -> Params:
    return jax.tree.map(lambda w: w[i], layers)


def split_layers(params: Params) -> Params:
    """Gives the parameters a list of layers instead of stacked leaves, for programs that loop.

    A step inside of a loop would copy its slices of the stacked weights at every turn. What is a list already stays.
    """
    if isinstance(params["layers"], list):
        return params
    names = list(params["layers"])
    columns = [jax.jit(jnp.unstack)(params["layers"][name]) for name in names]
    layers = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    return params | {"layers": layers}


def bind(config: ModelConfig, rules: Rules = TRAIN_RULES) -> Model:
    """Returns the model of this architecture. Raises UserError if a width does not divide over the mesh.

    Equal architectures are one model, so that what was compiled for it serves every run of a process.
    """
    sizes = dict(
        embed=config.embed, heads=config.n_heads, kv_heads=config.n_kv_heads, mlp=config.mlp, vocab=config.vocab_size
    )
    rules.check(sizes, "model")
    return _model(config, rules)


@functools.lru_cache(maxsize=64)
def _model(config: ModelConfig, rules: Rules) -> Model:
    with nnx.use_eager_sharding(False):  # axes are logical names: `Model.spec` makes the shardings
        ends, block = nnx.eval_shape(lambda: (Ends(config), Block(config)))

    def described(module: nnx.Module, *leading: tuple[str, int]) -> dict[str, _Described]:
        found = {}
        for (name,), variable in nnx.to_flat_state(nnx.state(module)):
            about = variable.get_metadata()
            shape = (*(size for _, size in leading), *variable.shape)
            axes = (*(axis for axis, _ in leading), *about["out_sharding"])
            found[name] = _Described(shape, axes, about["std"], about["mean"])
        return found

    layers = described(block, ("layer", config.n_layers))
    return Model(config, rules, described(ends) | {"layers": layers}, nnx.split(block)[0])
