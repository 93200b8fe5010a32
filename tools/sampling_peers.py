"""The engines that the sampling benchmark compares with. Started by `bench_sampling.py`.

transformers   `generate` with n return sequences; one sequence at a time, every stage prefilled
               again (the style of GenPRM's reference); lock-step batches with tools (the style of
               ToRA and Qwen2.5-Math); continuous batching (`generate_batch`)
ctranslate2    64 equal prompts in one batch, and one prompt with a static prefix
"""

import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from sampling_workloads import (
    FORCED_CODE,
    FORCED_OUTPUT,
    JUDGE_TOKENS,
    NEW_TOKENS,
    SHAPE,
    TEMPERATURE,
    TOOL_S,
    TOP_K,
    TOP_P,
    VOTES,
    Row,
    Vote,
    prompt_of,
    timed,
    tool_groups,
)

LOCKSTEP_BATCH = 64


def _transformers_model() -> Any:
    import torch  # pyright: ignore[reportMissingImports]
    from torch_peer import torch_model  # pyright: ignore[reportMissingImports]

    from jprm.models import ModelConfig

    torch.set_num_threads(1)
    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    return torch_model(
        ModelConfig(**SHAPE),
        "float32",
        max_position_embeddings=4096,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    ).eval()


class Transformers:
    """`transformers` on torch, eager, scaled-dot-product attention, f32."""

    def __init__(self):
        """A model with random weights; the first call of everything is not timed."""
        self.model = _transformers_model()
        self.draw = dict(do_sample=True, temperature=TEMPERATURE, top_p=TOP_P, top_k=TOP_K)

    def generate(self, prompts: list[list[int]], lengths: list[int], n: int = 1) -> list[list[int]]:
        """Continue left-padded prompts in one batch, to the longest length; cut to each one's."""
        import torch  # pyright: ignore[reportMissingImports]

        width, steps = max(map(len, prompts)), max(lengths)
        ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts])
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
        out = self.model.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=steps,
            min_new_tokens=steps,
            num_return_sequences=n,
            pad_token_id=0,
            **self.draw,
        )
        rows = zip(prompts * n, lengths * n, out.tolist(), strict=True)
        return [prompt + row[width : width + length] for prompt, length, row in rows]

    def decode(self, prompt_tokens: int, votes: int) -> int:
        """`votes` samples of one prompt by num_return_sequences."""
        prompt = prompt_of(np.random.default_rng(0), prompt_tokens)
        self.generate([prompt], [NEW_TOKENS], votes)
        return votes * NEW_TOKENS

    def staged(self, prompts: list[list[int]], votes: list[Vote]) -> int:
        """Analysis, code, tool, judgement of a batch in lock step, prefilled anew at each stage."""
        rows = self.generate(prompts, [vote.analysis for vote in votes])
        rows = self.generate([row + [5] * FORCED_CODE for row in rows], [v.code for v in votes])
        time.sleep(TOOL_S)
        self.generate([row + [6] * FORCED_OUTPUT for row in rows], [JUDGE_TOKENS] * len(rows))
        return sum(vote.tokens for vote in votes)

    def lock_step(self, pairs: list[tuple[list[int], Vote]], batch: int) -> int:
        """All votes, `batch` at a time."""
        batches = [pairs[i : i + batch] for i in range(0, len(pairs), batch)]
        return sum(self.staged([p for p, _ in b], [v for _, v in b]) for b in batches)

    def continuous(self, prompt_tokens: int, votes: int, new_tokens: int) -> int:
        """`generate_batch`, one request that forks after its prefill."""
        from transformers import GenerationConfig

        config = GenerationConfig(
            max_new_tokens=new_tokens,
            num_return_sequences=votes,
            eos_token_id=-1,
            pad_token_id=0,
            use_cuda_graph=False,
            **self.draw,
        )
        prompt = prompt_of(np.random.default_rng(0), prompt_tokens)
        outputs = self.model.generate_batch([prompt], generation_config=config, progress_bar=False)
        return sum(len(output.generated_tokens) for output in outputs.values())


def transformers(quick: bool) -> Iterator[Row]:
    """Rows of `transformers`; quick runs shorten what is a rate anyway, never a shape."""
    peer = Transformers()
    peer.generate([[1, 2, 3]] * 2, [4, 4])
    for prompt_tokens in (256, 1024):
        name = f"decode_p{prompt_tokens}"
        yield timed("hf generate", name, VOTES, lambda p=prompt_tokens: peer.decode(p, VOTES))
    votes = 2 if quick else 8
    yield timed("hf one at a time", "decode_p256", votes, lambda: sum(peer.decode(256, 1) for _ in range(votes)))
    pairs = [(g.prompt, vote) for g in tool_groups(16) for vote in g.votes]
    pairs = pairs[: LOCKSTEP_BATCH if quick else 2 * LOCKSTEP_BATCH]
    yield timed("hf lock step", "tools", len(pairs), lambda: peer.lock_step(pairs, LOCKSTEP_BATCH))
    some = pairs[:: len(pairs) // (4 if quick else 16)]
    yield timed("hf one at a time", "tools", len(some), lambda: peer.lock_step(some, 1))
    votes, new = (16, 16) if quick else (64, 64)
    peer.continuous(256, 2, 2)
    yield timed("hf generate_batch", "decode_p256", votes, lambda: peer.continuous(256, votes, new))


def ctranslate2(quick: bool) -> Iterator[Row]:
    """Rows of CTranslate2, f32, one thread: the same model converted."""
    import ctranslate2 as ct2  # pyright: ignore[reportMissingImports]
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    names = [f"t{i}" for i in range(SHAPE["vocab_size"])]
    with tempfile.TemporaryDirectory() as folder:
        _transformers_model().save_pretrained(f"{folder}/hf")
        words = Tokenizer(WordLevel({name: i for i, name in enumerate(names)}, unk_token="t0"))
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=words, unk_token="t0", pad_token="t0", eos_token="t1", bos_token="t2"
        )
        tokenizer.save_pretrained(f"{folder}/hf")
        ct2.converters.TransformersConverter(f"{folder}/hf").convert(f"{folder}/ct2")
        generator = ct2.Generator(
            f"{folder}/ct2", device="cpu", compute_type="float32", inter_threads=1, intra_threads=1
        )
    prompt = [names[i] for i in prompt_of(np.random.default_rng(0), 256)]
    options = dict(
        max_length=NEW_TOKENS,
        min_length=NEW_TOKENS,
        sampling_temperature=TEMPERATURE,
        sampling_topk=TOP_K,
        sampling_topp=TOP_P,
        include_prompt_in_result=False,
    )
    ways = {
        "equal prompts": lambda: generator.generate_batch([prompt] * VOTES, **options),
        "static prompt": lambda: generator.generate_batch([prompt[-1:]] * VOTES, static_prompt=prompt[:-1], **options),
    }
    for name, run in ways.items():

        def tokens(run=run) -> int:
            return sum(len(result.sequences_ids[0]) for result in run())

        yield timed(f"ctranslate2 {name}", "decode_p256", VOTES, tokens)


PEERS = {"transformers": transformers, "ctranslate2": ctranslate2}
