"""The Transformer and the LSTM written plainly in PyTorch, with our weights, to be timed beside
ours.

A decoder is step(token_B1) -> logits_BV; it keeps its state to itself. Letters: B batch, T time,
D width, V vocabulary, N heads, K head width, S positions in a cache.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from creagen_jax.models import lstm, transformer
from creagen_jax.types import Params

Step = Callable[[Tensor], Tensor]


@torch.no_grad()
def generate(step: Step, token_B1: Tensor, count: int) -> Tensor:
    """[B, count] tokens drawn at temperature 1, as nanoGPT's `generate` does without top-k."""
    drawn = [token_B1]
    for _ in range(count):
        drawn.append(torch.multinomial(F.softmax(step(drawn[-1]), -1), 1))
    return torch.cat(drawn[1:], 1)


def tensor(array) -> Tensor:
    return torch.from_numpy(np.array(array))


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
        self.embed = nn.Embedding.from_pretrained(tensor(params["embed"]))
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


# --- LSTM ---------------------------------------------------------------------------------------


class LSTM(nn.Module):
    def __init__(self, cfg: lstm.Config, params: Params):
        super().__init__()
        self.embed = nn.Embedding.from_pretrained(tensor(params["embed"]))
        self.lstm = nn.LSTM(cfg.width, cfg.width, cfg.depth, batch_first=True)
        weights = self.lstm.state_dict()  # views, with our order of the gates
        for i in range(cfg.depth):
            weights[f"weight_ih_l{i}"].copy_(tensor(params[f"W{i}"]).T)
            weights[f"weight_hh_l{i}"].copy_(tensor(params[f"U{i}"]).T)
            weights[f"bias_ih_l{i}"].copy_(tensor(params[f"b{i}"]))
            weights[f"bias_hh_l{i}"].zero_()
        self.head = linear(params["head"], params["head_bias"])

    def forward(self, tokens_BT, state):
        h_BTD, state = self.lstm(self.embed(tokens_BT), state)
        return self.head(h_BTD), state


def recurrent(model: LSTM, batch: int) -> Step:
    """One call of `nn.LSTM` a token, with the state handed on."""
    state = None

    def step(token_B1):
        nonlocal state
        logits_BTV, state = model(token_B1, state)
        return logits_BTV[:, 0]

    return step
