"""Discriminators: sizes from the specification, conditioning, and what the augmentation does."""

import numpy as np
import torch

from ccsr.networks.discriminators import PatchGAN, ProjectedDiscriminator, augmented
from ccsr.networks.vit import ViT


def _count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_patchgan_has_the_published_size() -> None:
    """ccsr-spec 6.3: 2,765,633 parameters, 62 x 62 logits for 512 pixels."""
    critic = PatchGAN()
    assert _count(critic) == 2_765_633
    assert critic(torch.rand(1, 3, 512, 512)).shape == (1, 1, 62, 62)


def test_a_conditional_patchgan_hears_of_the_input() -> None:
    torch.manual_seed(0)
    critic = PatchGAN(8, conditional=True).eval()
    picture, lq_up = torch.rand(2, 1, 3, 64, 64)
    assert not torch.allclose(critic(picture, lq_up), critic(picture, 1 - lq_up))
    plain = PatchGAN(8).eval()
    assert torch.equal(plain(picture, lq_up), plain(picture))


def test_patchgan_sees_seventy_pixels() -> None:
    critic = PatchGAN().eval()
    x = torch.rand(1, 3, 256, 256, requires_grad=True)
    critic(x)[0, 0, 15, 15].backward()
    assert x.grad is not None
    rows = x.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    assert int(rows.max() - rows.min()) + 1 == 70


def _projected(width: int = 384, depth: int = 12, patches: int = 196) -> ProjectedDiscriminator:
    torch.manual_seed(0)
    eyes = [ViT(width, depth, 16, patches, 64, scaled=False).requires_grad_(False) for _ in range(2)]
    for eye in eyes:
        for p in eye.parameters():
            torch.nn.init.normal_(p, 0, 0.05)
    return ProjectedDiscriminator(*eyes)


def test_projected_has_the_published_size() -> None:
    """ccsr-spec 6.2: five heads of 1,526,144 parameters, taps after blocks 2, 5, 8, 11, logits (B, 980)."""
    critic = _projected()
    assert _count(critic) == 7_630_720
    assert critic.taps == (0, 3, 6, 9, 12)
    rng = np.random.default_rng(0)
    with torch.no_grad():
        assert critic(torch.rand(2, 3, 240, 240), torch.rand(2, 3, 240, 240), rng).shape == (2, 980)
    assert not any(name.startswith("eyes") for name in critic.state_dict())


def test_projected_hears_the_input_and_passes_gradients() -> None:
    critic = _projected(64, 4, 16)
    picture = torch.rand(1, 3, 64, 64, requires_grad=True)
    a, b = torch.rand(2, 1, 3, 64, 64)
    first, again, other = (critic.eval()(picture, c, np.random.default_rng(3)) for c in (a, a, b))
    torch.testing.assert_close(first, again)
    assert not torch.allclose(first, other)
    first.mean().backward()
    assert picture.grad is not None
    assert float(picture.grad.abs().sum()) > 0
    assert not any(p.grad is not None for eye in critic.eyes for p in eye.parameters())


def test_heads_have_spectral_norm_one() -> None:
    critic = _projected(64, 4, 16).train()
    for _ in range(30):  # the power iteration settles
        critic(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64), np.random.default_rng(0))
    for head in critic.heads:
        for conv in (head.first.conv, head.second.conv, head.cls):
            assert abs(float(torch.linalg.matrix_norm(conv.weight.flatten(1), 2)) - 1) < 0.05


def test_pictures_move_by_an_eighth_and_lose_a_fifth() -> None:
    x = torch.full((200, 3, 40, 40), 0.5)
    x[:, :, 20, 20] = 1
    out = augmented(x, np.random.default_rng(0))
    assert out.shape == x.shape
    moved = [(out[i, 0] == 1).nonzero()[0] - 20 for i in range(200) if bool((out[i, 0] == 1).any())]
    shifts = torch.stack(moved)
    assert int(shifts.min()) == -5
    assert int(shifts.max()) == 5
    for i in range(200):
        dark = (out[i, 0] == 0).sum()
        # The box of 8 x 8, a quarter of it at least inside, and what moved in from outside.
        assert 16 <= int(dark) <= 64 + 40 * 5 + 35 * 5


def test_the_box_may_hang_out_and_halves_round_up() -> None:
    """As the published augmentation: an eighth of 44 is 5.5, so shifts reach 6; a fifth of 44 is a box of 9."""
    out = augmented(torch.ones(400, 3, 44, 44), np.random.default_rng(1))
    rows = [int((picture[0] != 0).any(1).sum()) for picture in out]
    assert 44 - max(44 - row for row in rows) == 38
    boxes = set()
    for picture in out:
        inside = picture[0, 6:38, 6:38] == 0
        if bool(inside.any()) and not bool(inside[0].any() or inside[-1].any()):
            boxes.add(int(inside.any(1).sum()))
    assert boxes == {9}
    whole = augmented(torch.ones(400, 3, 40, 40), np.random.default_rng(1))
    darkest = [int((picture[0] == 0).sum()) for picture in whole]
    assert min(darkest) < 64
