"""The transformer against transformers' own classes, whose weights it is given under DINO's names."""

import re

import pytest
import torch

from ccsr.errors import WeightsError
from ccsr.networks.vit import ViT, load_vit

transformers = pytest.importorskip("transformers")

_NAMES = [
    (r"embeddings\.(cls_token)", r"\1"),
    (r"embeddings\.position_embeddings", "pos_embed"),
    (r"embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
    (r"(encoder\.)?layers?\.(\d+)", r"blocks.\2"),
    (r"attention\.(output\.dense|o_proj)", "attn.proj"),
    (r"layernorm_before", "norm1"),
    (r"layernorm_after", "norm2"),
    (r"intermediate\.dense", "mlp.fc1"),
    (r"(?<!attention\.)output\.dense", "mlp.fc2"),
    (r"layer_scale(\d)\.lambda1", r"ls\1.gamma"),
    (r"^layernorm\.", "norm."),
]


def _renamed(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    out: dict[str, torch.Tensor] = {}
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for name, value in state.items():
        for pattern, new in _NAMES:
            name = re.sub(pattern, new, name)
        if found := re.match(r"(.*)\.attention\.(?:attention\.)?(q|k|v|query|key|value)(?:_proj)?\.(\w+)$", name):
            parts.setdefault(f"{found[1]}.attn.qkv.{found[3]}", {})[found[2][0]] = value
        else:
            out[name] = value
    return {**out, **{name: torch.cat([qkv[k] for k in "qkv"]) for name, qkv in parts.items()}}


@pytest.mark.parametrize("kind", ["ViT", "Dinov2"])
def test_tokens_equal_those_of_transformers(kind: str) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 2, "layer_norm_eps": 1e-6}
    if kind == "ViT":
        config = transformers.ViTConfig(**sizes, intermediate_size=256, image_size=32, patch_size=8)
        theirs = transformers.ViTModel(config, add_pooling_layer=False)
    else:
        config = transformers.Dinov2Config(**sizes, mlp_ratio=2, image_size=28, patch_size=14)
        theirs = transformers.Dinov2Model(config)
    for p in theirs.parameters():
        torch.nn.init.normal_(p, 0, 0.1)
    ours = load_vit(_renamed(theirs.state_dict()))
    picture = torch.rand(2, 3, ours.side, ours.side)
    with torch.no_grad():
        reference = theirs.eval()(picture, output_hidden_states=True)
        torch.testing.assert_close(ours.class_token(picture), reference.last_hidden_state[:, 0], atol=1e-4, rtol=1e-4)
        for a, b in zip(ours.tokens(picture)[:3], reference.hidden_states[:3], strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_the_published_files_sizes() -> None:
    """ViT-S/16 at 224 and ViT-S/14 at 518 pixels: 21.7 and 22.1 million parameters."""
    with torch.device("meta"):
        dino = ViT(width=384, depth=12, patch=16, patches=196, inner=1536, scaled=False)
        dinov2 = ViT(width=384, depth=12, patch=14, patches=1369, inner=1536, scaled=True)
    assert (dino.side, dinov2.side) == (224, 518)
    assert sum(p.numel() for p in dino.parameters()) == 21_665_664
    assert sum(p.numel() for p in dinov2.parameters()) == 22_056_192  # without the unused mask token


def test_other_weights_are_refused() -> None:
    state = ViT(width=8, depth=1, patch=4, patches=4, inner=8, scaled=False).state_dict()
    with pytest.raises(WeightsError, match="not the weights of a DINO transformer"):
        load_vit({"a": torch.zeros(1)})
    with pytest.raises(WeightsError, match=r"tensors do not fit together: size mismatch for norm\.weight"):
        load_vit({**state, "norm.weight": torch.zeros(3)})
