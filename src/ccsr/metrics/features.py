"""Feature networks for a perceptual distance, from files with torchvision's names: SqueezeNet 1.0 and VGG16."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu

from ccsr.errors import WeightsError

SHIPPED = Path(__file__).parent / "weights" / "squeezenet1_0.safetensors"
"""SqueezeNet 1.0 (BSD-2-Clause, notice beside it), the one feature network that comes with the package."""

# Of ImageNet's pictures in 0..1, RGB.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class FeatureNetwork(Protocol):
    """What a perceptual distance needs: `network(picture)` gives feature maps of several depths."""

    @property
    def heads(self) -> Sequence[Tensor]:
        """A weight (C,) for each feature map's channels, or none at all: then all channels count alike."""

    def __call__(self, picture: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in 0..1 to maps (B, C, h, w)."""


class _Frozen(nn.Module):
    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        self._heads = 0

    def normalised(self, picture: Tensor) -> Tensor:
        """As ImageNet's networks want it."""
        return (picture - self.mean) / self.std

    @property
    def heads(self) -> list[Tensor]:
        """What `set_heads` was given."""
        return [getattr(self, f"head{i}") for i in range(self._heads)]

    def set_heads(self, heads: Sequence[Tensor]) -> None:
        """Weigh the channels of each map, (C,)."""
        self._heads = len(heads)
        for i, head in enumerate(heads):
            self.register_buffer(f"head{i}", head.float().flatten(), persistent=False)


class _Fire(nn.Module):
    """Squeeze by 1x1, expand by 1x1 and 3x3 side by side, each with its activation."""

    def __init__(self, channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = relu(self.squeeze(x))
        return torch.cat([relu(self.expand1x1(x)), relu(self.expand3x3(x))], 1)


class SqueezeNetFeatures(_Frozen):
    """SqueezeNet 1.0 up to its ninth layer of weights; maps after features.0, 4, 7, 9 and 12."""

    TAPS = (0, 4, 7, 9, 12)
    _FIRES: ClassVar = {
        3: (96, 16, 64), 4: (128, 16, 64), 5: (128, 32, 128), 7: (256, 32, 128), 8: (256, 48, 192),
        9: (384, 48, 192), 10: (384, 64, 256), 12: (512, 64, 256),
    }  # fmt: skip
    _POOLS = (2, 6, 11)

    def __init__(self) -> None:
        super().__init__()
        layers: dict[str, nn.Module] = {"0": nn.Conv2d(3, 96, 7, stride=2)}
        layers |= {str(i): _Fire(*sizes) for i, sizes in self._FIRES.items()}
        self.features = nn.ModuleDict(layers)

    def forward(self, picture: Tensor) -> list[Tensor]:
        """Five maps of (B, 3, H, W) in 0..1; sides of 32 at least."""
        x = relu(self.features["0"](self.normalised(picture)))
        found = [x]
        for i in range(2, 13):
            if i in self._POOLS:
                x = max_pool2d(x, 3, 2, ceil_mode=True)
            elif i in self._FIRES:
                x = self.features[str(i)](x)
            if i in self.TAPS:
                found.append(x)
        return found


class VGG16Features(_Frozen):
    """VGG16's convolutions; maps after the last activation of each of its five blocks."""

    _BLOCKS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
    _WIDTHS = (64, 128, 256, 512, 512)

    def __init__(self) -> None:
        super().__init__()
        layers: dict[str, nn.Module] = {}
        channels = 3
        for block, width in zip(self._BLOCKS, self._WIDTHS, strict=True):
            for i in block:
                layers[str(i)] = nn.Conv2d(channels, width, 3, padding=1)
                channels = width
        self.features = nn.ModuleDict(layers)

    def forward(self, picture: Tensor) -> list[Tensor]:
        """Five maps of (B, 3, H, W) in 0..1; sides of 16 at least."""
        x, found = self.normalised(picture), []
        for number, block in enumerate(self._BLOCKS):
            if number:
                x = max_pool2d(x, 2)
            for i in block:
                x = relu(self.features[str(i)](x))
            found.append(x)
        return found


def load_features(
    tensors: Mapping[str, Tensor], heads: Mapping[str, Tensor] | None = None
) -> "SqueezeNetFeatures | VGG16Features":
    """The network whose weights these are, in float32, without gradients of its own.

    `heads`: LPIPS's weights for the maps, `lin0.model.1.weight` to `lin4...`, each (1, C, 1, 1); with VGG16 the
    distance then is LPIPS.

    Raises:
        WeightsError: neither SqueezeNet 1.0 nor VGG16.
    """
    kinds: tuple[type[SqueezeNetFeatures] | type[VGG16Features], ...] = (SqueezeNetFeatures, VGG16Features)
    for kind in kinds:
        with torch.random.fork_rng(devices=[]):
            network = kind()
        wanted = {name for name, _ in network.named_parameters()}
        # Heads of a classifier are not wanted; further convolutions would mean another network.
        given = {n: t.float() for n, t in tensors.items() if n.startswith("features.")}
        shapes = {name: p.shape for name, p in network.named_parameters()}
        if wanted == set(given) and all(given[n].shape == shapes[n] for n in wanted):
            network.load_state_dict(given)
            if heads:
                network.set_heads([heads[f"lin{i}.model.1.weight"] for i in range(5)])
            # In this memory order its convolutions take two thirds of the time.
            return network.to(memory_format=torch.channels_last).requires_grad_(False).eval()  # type: ignore[call-overload]
    raise WeightsError(
        "these are not the weights of SqueezeNet 1.0 or VGG16", hint="names and shapes are those of torchvision"
    )


def perceptual_distance(network: FeatureNetwork, a: Tensor, b: Tensor) -> Tensor:
    """How different two batches (B, 3, H, W) in 0..1 look to a network: a float32 scalar, 0 for equal ones.

    At each place the features have length one over their channels; squared differences are summed over channels and
    averaged over places. The mean over maps or, with LPIPS's heads, the weighted sum.
    """
    return feature_distance(network, network(a), network(b))


def feature_distance(network: FeatureNetwork, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """The same for maps that are at hand."""
    return feature_distances(network, a, b).mean()


def feature_distances(network: FeatureNetwork, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """The distance of each picture of the batch by itself, (B,)."""
    total: list[Tensor] = []
    for i, (x, y) in enumerate(zip(a, b, strict=True)):
        difference = (_unit(x.float()) - _unit(y.float())) ** 2
        if network.heads:
            difference = difference * network.heads[i].view(1, -1, 1, 1)
        total.append(difference.sum(1).mean((-2, -1)))
    distances = torch.stack(total)
    return distances.sum(0) if network.heads else distances.mean(0)


def _unit(x: Tensor) -> Tensor:
    # Not the root of the plain sum: where nothing is active its gradient is infinite.
    return x / (torch.sqrt((x**2).sum(1, keepdim=True) + 1e-20) + 1e-10)
