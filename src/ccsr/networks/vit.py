"""A plain vision transformer that the files of DINO and DINOv2 fit, frozen: eyes for a discriminator."""

import re
from collections.abc import Mapping
from math import isqrt

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from ccsr.errors import WeightsError

_HEAD_WIDTH = 64


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        rows, tokens, width = x.shape
        q, k, v = self.qkv(x).view(rows, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        out: Tensor = self.proj(scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(rows, tokens, width))
        return out


class _Scale(nn.Module):
    """DINOv2's factor for each channel of a branch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class _MLP(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(gelu(self.fc1(x)))
        return out


class _Block(nn.Module):
    def __init__(self, width: int, inner: int, scaled: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn, self.mlp = _Attention(width, max(1, width // _HEAD_WIDTH)), _MLP(width, inner)
        self.ls1, self.ls2 = (_Scale(width) if scaled else nn.Identity() for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        out: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
        return out


class _PatchEmbed(nn.Module):
    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)


class ViT(nn.Module):
    """Transformer over patches of a square picture of `side` pixels."""

    def __init__(self, width: int, depth: int, patch: int, patches: int, inner: int, scaled: bool) -> None:
        super().__init__()
        self.width, self.depth, self.side = width, depth, isqrt(patches) * patch
        self.patch_embed = _PatchEmbed(width, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + patches, width))
        self.blocks = nn.ModuleList(_Block(width, inner, scaled) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def tokens(self, picture: Tensor) -> list[Tensor]:
        """Tokens (B, 1 + patches, width), the class's first: before the first block and after each.

        `picture`: (B, 3, side, side), normalised as the weights want it.
        """
        x = self.patch_embed.proj(picture).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        found = [x]
        for block in self.blocks:
            x = block(x)
            found.append(x)
        return found

    def class_token(self, picture: Tensor) -> Tensor:
        """The class token after the last norm, (B, width)."""
        out: Tensor = self.norm(self.tokens(picture)[-1][:, 0])
        return out


def load_vit(tensors: Mapping[str, Tensor]) -> ViT:
    """The transformer whose weights these are, under the names of DINO's and DINOv2's own files, frozen.

    Raises:
        WeightsError: other names or shapes.
    """
    hint = "the files of DINO (ViT-S/16) and DINOv2 (ViT-S/14) fit"
    try:
        width, _, patch, _ = tensors["patch_embed.proj.weight"].shape
        depth = 1 + max(int(m[1]) for n in tensors if (m := re.match(r"blocks\.(\d+)\.", n)))
        patches = tensors["pos_embed"].shape[1] - 1
        inner = tensors["blocks.0.mlp.fc1.weight"].shape[0]
        with torch.random.fork_rng(devices=[]):
            vit = ViT(width, depth, patch, patches, inner, "blocks.0.ls1.gamma" in tensors)
        wanted = vit.state_dict()
        vit.load_state_dict({name: tensors[name].float() for name in wanted})
    except (KeyError, ValueError, IndexError) as error:
        raise WeightsError(f"these are not the weights of a DINO transformer: {error}", hint=hint) from error
    except RuntimeError as error:
        line = str(error).splitlines()[-1].strip()
        raise WeightsError(f"tensors do not fit together: {line}", hint=hint) from error
    return vit.requires_grad_(False).eval()
