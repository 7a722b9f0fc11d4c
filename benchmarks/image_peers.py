"""The GAN and the U-Net written plainly in PyTorch, with our weights, to be trained beside ours.

With one channel, `pixel_shuffle` orders the pixels of a patch as ours does. Letters: B batch, H W C
picture, D width, Z latent, E width of what a network is told.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.peers import Updates, linear, tensor
from creagen_jax.config import Optim
from creagen_jax.models import diffusion as our_diffusion
from creagen_jax.models import gan as our_gan
from creagen_jax.types import Batch, Params


def count(models: Iterable[nn.Module]) -> int:
    """How many numbers are trained."""
    return sum(each.numel() for model in models for each in model.parameters())


def tensors(batch: Batch) -> tuple[Tensor, Tensor]:
    """The pictures [B, C, H, W] of a batch and their classes [B]."""
    x_BHWC, label_B = (tensor(batch[key]) for key in ("x", "condition"))
    return x_BHWC.permute(0, 3, 1, 2), label_B


def _conv(weights: Params) -> nn.Conv2d:
    W_hwCO = tensor(weights["W"])
    size, _, channels, width = W_hwCO.shape
    layer = nn.Conv2d(channels, width, size, padding=size // 2, bias="b" in weights)
    layer.weight.data.copy_(W_hwCO.permute(3, 2, 0, 1))
    if "b" in weights:
        layer.bias.data.copy_(tensor(weights["b"]))
    return layer


def _dense(weights: Params) -> nn.Linear:
    return linear(weights["kernel"], weights.get("bias"))


def _norm(x_BCHW: Tensor) -> Tensor:
    x_BHWC = x_BCHW.permute(0, 2, 3, 1)
    return F.rms_norm(x_BHWC, x_BHWC.shape[-1:], eps=1e-6).permute(0, 3, 1, 2)


def _double(x_BCHW: Tensor) -> Tensor:
    return F.interpolate(x_BCHW, scale_factor=2.0, mode="nearest")


def _halve(x_BCHW: Tensor) -> Tensor:
    return F.avg_pool2d(x_BCHW, 2, ceil_mode=True, count_include_pad=False)


# --- GAN ----------------------------------------------------------------------------------------


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, our_gan.SLOPE)


class GANBlock(nn.Module):
    def __init__(self, weights: Params):
        super().__init__()
        self.first, self.second = _conv(weights["Conv_0"]), _conv(weights["Conv_1"])
        self.skip = _conv(weights["Conv_2"]) if "Conv_2" in weights else nn.Identity()

    def forward(self, x):
        return self.skip(x) + self.second(_leaky(self.first(_leaky(x))))


class Generator(nn.Module):
    def __init__(self, cfg: our_gan.Config, weights: Params):
        super().__init__()
        self.cfg = cfg
        self.latent = nn.Parameter(tensor(weights["embed_latent"]))
        self.label = nn.Parameter(tensor(weights["embed_label"]))
        levels, blocks = len(cfg.levels), len(cfg.levels) * cfg.blocks
        self.narrow = nn.ModuleList(_conv(weights[f"Conv_{i}"]) for i in range(levels - 1))
        self.blocks = nn.ModuleList(GANBlock(weights[f"Block_{i}"]) for i in range(blocks))
        self.head = _conv(weights["head"])

    def forward(self, z_BZ, label_B):
        z_BZ = F.rms_norm(z_BZ, z_BZ.shape[-1:], eps=1e-6)
        shape = (len(z_BZ), *self.latent.shape[1:])
        x_BHWD = (z_BZ @ self.latent.flatten(1)).view(shape) + self.label[label_B]
        x = x_BHWD.permute(0, 3, 1, 2)
        for i, block in enumerate(self.blocks):
            level, first = divmod(i, self.cfg.blocks)
            if level and not first:
                x = _double(self.narrow[level - 1](x))
            x = block(x)
        return F.pixel_shuffle(self.head(_leaky(x)), self.cfg.patch)


class Discriminator(nn.Module):
    def __init__(self, cfg: our_gan.Config, weights: Params):
        super().__init__()
        self.cfg = cfg
        levels, blocks = len(cfg.levels), len(cfg.levels) * cfg.blocks
        self.first = _conv(weights["in"])
        self.widen = nn.ModuleList(_conv(weights[f"Conv_{i}"]) for i in range(levels - 1))
        self.blocks = nn.ModuleList(GANBlock(weights[f"Block_{i}"]) for i in range(blocks))
        self.out = _dense(weights["out"])
        self.none = nn.Parameter(tensor(weights["embed_none"]))
        self.label = nn.Parameter(tensor(weights["embed_label"]))

    def forward(self, x_BCHW, label_B):
        x = self.first(F.pixel_unshuffle(x_BCHW, self.cfg.patch))
        for i, block in enumerate(self.blocks):
            level, first = divmod(i, self.cfg.blocks)
            if level and not first:
                x = self.widen[level - 1](_halve(x))
            x = block(x)
        x_BD = _leaky(self.out(_leaky(x).permute(0, 2, 3, 1).flatten(1)))
        return (x_BD * (self.none + self.label[label_B])).sum(1) * x_BD.shape[1] ** -0.5


def gan(cfg: our_gan.Config, params: Params) -> tuple[Generator, Discriminator]:
    return Generator(cfg, params["generator"]), Discriminator(cfg, params["discriminator"])


def gan_step(
    cfg: our_gan.Config,
    optim: Optim,
    generator: Generator,
    discriminator: Discriminator,
    batch: Batch,
) -> Callable[[], Tensor]:
    """One update of both: relativistic pairing with R1 and R2, as our default."""
    assert cfg.loss == "relativistic" and cfg.discriminator_steps == 1 and not cfg.augment
    plays_g, plays_d = Updates(generator, optim), Updates(discriminator, optim)
    real, label_B = tensors(batch)
    some = round(cfg.penalised * len(real))

    def draw():
        return generator(torch.randn(len(real), cfg.latent), label_B)

    def penalty(x, gamma):
        x = x[:some].detach().requires_grad_()
        logit_B = discriminator(x, label_B[:some])
        (gradient,) = torch.autograd.grad(logit_B.sum(), x, create_graph=True)
        return gamma / 2 * gradient.square().sum((1, 2, 3)).mean()

    def step():
        with torch.no_grad():
            fake = draw()
        margin_B = discriminator(real, label_B) - discriminator(fake, label_B)
        penalties = penalty(real, cfg.r1) + penalty(fake, cfg.r2)
        plays_d.update(F.softplus(-margin_B).mean() + penalties)
        margin_B = discriminator(draw(), label_B) - discriminator(real, label_B)
        loss = F.softplus(-margin_B).mean()
        plays_g.update(loss)
        return loss

    return step


# --- U-Net --------------------------------------------------------------------------------------


class UNetBlock(nn.Module):
    def __init__(self, weights: Params):
        super().__init__()
        self.told = _dense(weights["told"])
        self.first, self.second = _conv(weights["Conv_0"]), _conv(weights["Conv_1"])
        self.skip = _conv(weights["Conv_2"]) if "Conv_2" in weights else nn.Identity()

    def forward(self, x, told_BE):
        scale_BD11, shift_BD11 = self.told(told_BE)[:, :, None, None].chunk(2, 1)
        h = self.first(F.silu(_norm(x)))
        h = F.silu(_norm(h) * (1 + scale_BD11) + shift_BD11)
        return self.skip(x) + self.second(h)


class Attention(nn.Module):
    def __init__(self, heads: int, weights: Params):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = _dense(weights["qkv"]), _dense(weights["out"])

    def forward(self, x_BDHW):
        B, D, H, W = x_BDHW.shape
        x_BTD = _norm(x_BDHW).permute(0, 2, 3, 1).reshape(B, H * W, D)
        qkv = self.qkv(x_BTD).view(B, H * W, self.heads, 3, D // self.heads)
        q, k, v = qkv.permute(3, 0, 2, 1, 4)  # each [B, N, T, K]
        q, k = (F.rms_norm(each, each.shape[-1:], eps=1e-6) for each in (q, k))
        y_BNTK = F.scaled_dot_product_attention(q, k, v)
        y_BTD = self.out(y_BNTK.transpose(1, 2).reshape(B, H * W, D))
        return x_BDHW + y_BTD.view(B, H, W, D).permute(0, 3, 1, 2)


class UNet(nn.Module):
    """F of Karras et al. 2022, eq. 7; label C stands for no class."""

    def __init__(self, cfg: our_diffusion.Config, params: Params):
        super().__init__()
        self.cfg, weights = cfg, params["network"]
        self.noise, self.told = _dense(params["noise"]), _dense(params["told"])
        self.label = nn.Parameter(tensor(params["embed_label"]))
        self.first, self.head = _conv(weights["in"]), _conv(weights["head"])
        count = len(cfg.levels) * cfg.blocks
        blocks = [UNetBlock(weights[f"Block_{i}"]) for i in range(2 * count)]
        self.down, self.up = nn.ModuleList(blocks[:count]), nn.ModuleList(blocks[count:])
        levels = range(len(cfg.levels) - 1)
        self.narrow = nn.ModuleList(_conv(weights[f"Conv_{i}"]) for i in levels)
        self.attention = Attention(cfg.heads, weights["Attention_0"])

    def forward(self, x_BCHW, noise_B, label_B):
        half = self.cfg.width // 2
        angle = noise_B[:, None] * torch.logspace(0, 2, half)
        waves_BD = torch.cat([angle.sin(), angle.cos()], 1)
        told_BE = self.noise(waves_BD) + self.label[label_B]
        told_BE = F.silu(self.told(F.silu(told_BE)))
        x = self.first(F.pixel_unshuffle(x_BCHW, self.cfg.patch))
        skips = []
        for i, block in enumerate(self.down):
            level, first = divmod(i, self.cfg.blocks)
            x = _halve(x) if level and not first else x
            x = block(x, told_BE)
            skips.append(x)
        x = self.attention(x)
        for i, block in enumerate(self.up):
            level, first = divmod(i, self.cfg.blocks)
            if level and not first:
                H, W = skips[-1].shape[2:]
                x = _double(self.narrow[level - 1](x))[:, :, :H, :W]
            x = block(torch.cat([x, skips.pop()], 1), told_BE)
        return F.pixel_shuffle(self.head(F.silu(_norm(x))), self.cfg.patch)


def denoise(model: UNet, y_BCHW: Tensor, sigma_B: Tensor, label_B: Tensor) -> Tensor:
    """D(y; sigma) of Karras et al. 2022, eq. 7 and table 1."""
    sigma, data = sigma_B[:, None, None, None], model.cfg.sigma_data
    total = (sigma**2 + data**2).sqrt()
    out = model(y_BCHW / total, sigma_B.log() / 4, label_B)
    return (data / total) ** 2 * y_BCHW + sigma * data / total * out


def diffusion(cfg: our_diffusion.Config, params: Params) -> tuple[UNet]:
    return (UNet(cfg, params),)


def diffusion_step(
    cfg: our_diffusion.Config, optim: Optim, model: UNet, batch: Batch
) -> Callable[[], Tensor]:
    """One update by denoising score matching, as our default."""
    assert cfg.objective == "edm" and not cfg.dropout
    learns = Updates(model, optim)
    x, label_B = tensors(batch)
    none = len(model.label) - 1

    def step():
        withheld_B = torch.rand(len(x)) < cfg.label_dropout
        sigma_B = (cfg.noise_mean + cfg.noise_std * torch.randn(len(x))).exp()
        y = x + sigma_B[:, None, None, None] * torch.randn_like(x)
        D = denoise(model, y, sigma_B, torch.where(withheld_B, none, label_B))
        weight_B = (sigma_B**2 + cfg.sigma_data**2) / (sigma_B * cfg.sigma_data) ** 2
        loss = (weight_B * (D - x).square().mean((1, 2, 3))).mean()
        learns.update(loss)
        return loss

    return step
