"""The Transformer, the LSTM and the GRU written plainly in PyTorch, with our weights, to be timed
beside ours; and the GPT of nanoGPT.

A decoder is step(token_B1) -> logits_BV; it keeps its state to itself. Letters: B batch, T time,
D width, V vocabulary, N heads, K head width, S positions in a cache.
"""

import contextlib
from collections.abc import Callable

import jax
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from creagen_jax.config import Optim
from creagen_jax.models import gru, lstm, transformer
from creagen_jax.types import Batch, Params

Step = Callable[[Tensor], Tensor]


def share_device() -> None:
    """PyTorch works where JAX does, with the same products of float32: those of TF32 on a GPU."""
    if jax.default_backend() == "gpu":
        torch.set_default_device("cuda")
        torch.set_float32_matmul_precision("high")


@contextlib.contextmanager
def exact():
    """Products in full float32, for both: what is compared must be the same."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        with jax.default_matmul_precision("highest"):
            yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


@torch.no_grad()
def generate(step: Step, token_B1: Tensor, count: int) -> Tensor:
    """[B, count] tokens drawn at temperature 1, as nanoGPT's `generate` does without top-k."""
    drawn = [token_B1]
    for _ in range(count):
        drawn.append(torch.multinomial(F.softmax(step(drawn[-1]), -1), 1))
    return torch.cat(drawn[1:], 1)


def tensor(array) -> Tensor:
    """Where PyTorch makes its own."""
    return torch.from_numpy(np.array(array)).to(torch.get_default_device())


def linear(W_IO, b_O=None) -> nn.Linear:
    layer = nn.Linear(*W_IO.shape, bias=b_O is not None)
    layer.weight.data.copy_(tensor(W_IO).T)
    if b_O is not None:
        layer.bias.data.copy_(tensor(b_O))
    return layer


# --- Transformer --------------------------------------------------------------------------------


def _norm(x: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], eps=1e-6)


def _rotary(x_BNTK: Tensor, cos_TK: Tensor, sin_TK: Tensor) -> Tensor:
    a, b = x_BNTK.chunk(2, -1)
    return torch.cat([a * cos_TK - b * sin_TK, a * sin_TK + b * cos_TK], -1)


class Block(nn.Module):
    def __init__(self, cfg: transformer.Config, weights: Params):
        super().__init__()
        self.heads = cfg.heads
        self.qkv, self.out = linear(weights["qkv"]), linear(weights["out"])
        self.up, self.down = linear(weights["up"]), linear(weights["down"])

    def forward(self, x_BTD, cos_TK, sin_TK, cache, start):
        B, T, D = x_BTD.shape
        qkv = self.qkv(_norm(x_BTD)).view(B, T, 3, self.heads, D // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each [B, N, T, K]
        q, k = _rotary(_norm(q), cos_TK, sin_TK), _rotary(_norm(k), cos_TK, sin_TK)
        if cache is not None:
            cache[:, :, :, start : start + T] = torch.stack([k, v])
            k, v = cache[:, :, :, : start + T]
        y_BNTK = F.scaled_dot_product_attention(q, k, v, is_causal=start == 0)
        x_BTD = x_BTD + self.out(y_BNTK.transpose(1, 2).reshape(B, T, D))
        return x_BTD + self.down(F.relu(self.up(_norm(x_BTD))).square())


class Transformer(nn.Module):
    """The logits are `head` of the result, so that a decoder can ask for the last alone."""

    def __init__(self, cfg: transformer.Config, params: Params):
        super().__init__()
        self.cfg = cfg
        self.embed = nn.Embedding.from_pretrained(tensor(params["embed"]), freeze=False)
        self.blocks = nn.ModuleList(Block(cfg, params[f"block{i}"]) for i in range(cfg.depth))
        self.head = linear(params["head"])
        half = cfg.width // cfg.heads // 2
        angle_TK = torch.outer(torch.arange(cfg.context), 10000.0 ** (-torch.arange(half) / half))
        self.cos_TK, self.sin_TK = angle_TK.cos(), angle_TK.sin()

    def forward(self, tokens_BT, caches=None, start=0):
        """[B, T, D]. `caches`, [2, B, N, S, K] a block, hold `start` positions, and get T more."""
        stop = start + tokens_BT.shape[1]
        x_BTD = _norm(self.embed(tokens_BT))
        for i, block in enumerate(self.blocks):
            cache = None if caches is None else caches[i]
            cos_TK, sin_TK = self.cos_TK[start:stop], self.sin_TK[start:stop]
            x_BTD = block(x_BTD, cos_TK, sin_TK, cache, start)
        return _norm(x_BTD)


def uncached(model: Transformer, batch: int) -> Step:
    """nanoGPT's: the whole window, cropped to the context, is computed anew for each token."""
    window_BT = torch.zeros((batch, 0), dtype=torch.long)

    def step(token_B1):
        nonlocal window_BT
        window_BT = torch.cat([window_BT, token_B1], 1)[:, -model.cfg.context :]
        return model.head(model(window_BT)[:, -1])

    return step


def cached(model: Transformer, batch: int) -> Step:
    """A key-value cache written in place; a full one slides as ours does (see `transformer`)."""
    cfg = model.cfg
    shape = (2, batch, cfg.heads, cfg.context, cfg.width // cfg.heads)
    caches = [torch.zeros(shape) for _ in range(cfg.depth)]
    tokens_BS = torch.zeros((batch, cfg.context), dtype=torch.long)
    length = 0

    def step(token_B1):
        nonlocal length
        if length == cfg.context:
            length = cfg.context // 2
            tokens_BS[:, :length] = tokens_BS[:, -length:].clone()
            model(tokens_BS[:, :length], caches)
        tokens_BS[:, length : length + 1] = token_B1
        x_B1D = model(token_B1, caches, length)
        length += 1
        return model.head(x_B1D[:, 0])

    return step


# --- LSTM and GRU -------------------------------------------------------------------------------


class Recurrent(nn.Module):
    """The gates of PyTorch's layers stand in our order; our one bias is that of the input."""

    layer: type[nn.RNNBase]

    def __init__(self, cfg: lstm.Config | gru.Config, params: Params):
        super().__init__()
        self.embed = nn.Embedding.from_pretrained(tensor(params["embed"]), freeze=False)
        self.layers = self.layer(cfg.width, cfg.width, cfg.depth, batch_first=True)
        weights = self.layers.state_dict()  # views
        for i in range(cfg.depth):
            weights[f"weight_ih_l{i}"].copy_(tensor(params[f"W{i}"]).T)
            weights[f"weight_hh_l{i}"].copy_(tensor(params[f"U{i}"]).T)
            weights[f"bias_ih_l{i}"].copy_(tensor(params[f"b{i}"]))
            weights[f"bias_hh_l{i}"].zero_()
        self.head = linear(params["head"], params["head_bias"])

    def forward(self, tokens_BT, state=None):
        h_BTD, state = self.layers(self.embed(tokens_BT), state)
        return self.head(h_BTD), state


class LSTM(Recurrent):
    layer = nn.LSTM


class GRU(Recurrent):
    layer = nn.GRU


def recurrent(model: Recurrent, batch: int) -> Step:
    """One call of PyTorch's layers a token, with the state handed on."""
    state = None

    def step(token_B1):
        nonlocal state
        logits_BTV, state = model(token_B1, state)
        return logits_BTV[:, 0]

    return step


# --- nanoGPT ------------------------------------------------------------------------------------


class PlainBlock(nn.Module):
    """Layer norms, GELU, and attention by PyTorch's fused kernel."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.qkv, self.out = linear_of(width, 3 * width), linear_of(width, width)
        self.up, self.down = linear_of(width, 4 * width), linear_of(4 * width, width)

    def forward(self, x_BTD):
        B, T, D = x_BTD.shape
        qkv = self.qkv(self.before(x_BTD)).view(B, T, 3, self.heads, D // self.heads)
        y_BNTK = F.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4), is_causal=True)
        x_BTD = x_BTD + self.out(y_BNTK.transpose(1, 2).reshape(B, T, D))
        return x_BTD + self.down(F.gelu(self.up(self.between(x_BTD))))


class GPT(nn.Module):
    """GPT-2 (Radford et al. 2019) as nanoGPT has it: learned positions, no biases, the embedding
    tied to the head; weights from a normal distribution of deviation 0.02, those that lead back
    into the residual stream smaller by sqrt(2 * depth)."""

    def __init__(self, vocab: int, context: int, *, width: int, depth: int, heads: int):
        super().__init__()
        self.embed, self.place = nn.Embedding(vocab, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(PlainBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, bias=False)
        for name, parameter in self.named_parameters():
            back = name.endswith(("out.weight", "down.weight"))
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02 / (2 * depth) ** 0.5 if back else 0.02)

    def forward(self, tokens_BT):
        x_BTD = self.embed(tokens_BT) + self.place.weight[: tokens_BT.shape[1]]
        for block in self.blocks:
            x_BTD = block(x_BTD)
        return F.linear(self.norm(x_BTD), self.embed.weight)


def linear_of(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=False)


# --- training -----------------------------------------------------------------------------------


class Updates:
    """AdamW with clipping and an average, as `optim.make` and `optim.average` have them."""

    def __init__(self, model: nn.Module, cfg: Optim):
        self.cfg, self.parameters = cfg, list(model.parameters())
        self.adam = torch.optim.AdamW(
            self.parameters,
            cfg.learning_rate,
            (cfg.beta1, cfg.beta2),
            weight_decay=cfg.weight_decay,
            fused=True,
        )
        self.average = [each.detach().clone() for each in self.parameters] if cfg.ema else []

    def update(self, loss: Tensor) -> None:
        gradients = torch.autograd.grad(loss, self.parameters)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        if self.cfg.clip:
            nn.utils.clip_grad_norm_(self.parameters, self.cfg.clip)
        self.adam.step()
        if self.average:
            torch._foreach_lerp_(self.average, self.parameters, 1 - self.cfg.ema)


def language_step(logits: Callable[[Tensor], Tensor], optim: Optim, model, batch: Batch):
    """step() -> loss: one update by maximum likelihood on the tokens of a batch."""
    learns = Updates(model, optim)
    x_BT, y_BT = (tensor(batch["x"]).long()[:, s] for s in (np.s_[:-1], np.s_[1:]))

    def step():
        loss = F.cross_entropy(logits(x_BT).flatten(0, 1), y_BT.flatten())
        learns.update(loss)
        return loss

    return step
