"""The one list of options. Flags, Python keywords, form fields and documentation are all drawn from it."""

import hashlib
import json
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from fractions import Fraction
from itertools import combinations
from typing import Any, Literal, Self

from ccsr.errors import OptionError
from ccsr.method.compat import COMPAT
from ccsr.method.timesteps import T_OF_STEPS, Trajectory, first_version_trajectory, nuts_trajectory, uniform_trajectory

ALL_INTERFACES = ("cli", "python", "http")
LOCAL_INTERFACES = ("cli", "python")
ColorFix = Literal["adain", "wavelet", "none"]
COLOR_FIXES: tuple[str, ...] = typing.get_args(ColorFix)
DtypeName = Literal["fp32", "bf16", "fp16"]
"""Number formats; `ccsr.weights.tensors.DTYPES` has torch's."""
_TARGETS = ("width", "height", "megapixels", "print")
"""Options that set the size of a result directly."""
SIZES = ("scale", *_TARGETS)
"""Options of which one sets the size."""
PAPER = ("T", "t_max", "t_min")
"""The paper's own way to say what `steps` says."""
EXCLUSIVE = (*combinations(SIZES, 2), *(("steps", name) for name in PAPER))
"""Pairs of options of which at most one may be given."""

GROUPS = {
    "size": "size of the result",
    "result": "what the result is like",
    "files": "file of the result",
    "model": "model",
    "method": "method",
    "memory": "tiles, which save memory",
    "machine": "machine",
}
"""The groups of an upscaling's options with their headings, in the order in which people meet them."""
Audience = Literal["everyone", "many", "some", "experts", "comparisons"]
"""Who needs an option: `everyone`, so that a page shows it at once; `many`, so that the short help has it too; `some`;
`experts`, who know the method; or nobody but `comparisons` with recorded values, so that nothing shows it."""

_ELSEWHERE = {
    "num_images_per_prompt": "here it is samples",
    "num_inference_steps": "here it is steps, 1 to 4, or T of the paper",
    "guidance_scale": "here it is guidance",
    "controlnet_conditioning_scale": "the published method has none",
    "upscale": "here it is scale",
}
"""Names that people know from other pipelines, and what to use here."""
_PER_INCH = {"in": 1.0, "cm": 2.54, "mm": 25.4}
_PRINT_DPI = 300.0


@dataclass(frozen=True)
class Option:
    """One option as the interfaces see it."""

    name: str
    kind: type
    """Type of a given value: str, int, float, bool or Fraction."""
    default: Any
    help: str
    group: str
    choices: tuple[Any, ...] | None = None
    words: tuple[str, ...] = ()
    """Words that are accepted beside a number, such as `auto`."""
    pattern: str | None = None
    """Regular expression of the whole of a text."""
    example: str | None = None
    """A value, for the hint where one does not follow the pattern."""
    minimum: float | None = None
    maximum: float | None = None
    short: str | None = None
    unit: str | None = None
    """What the value counts or names, as help texts show it: `PX`, `FOLDER`."""
    interfaces: tuple[str, ...] = ALL_INTERFACES
    affects_bytes: bool = True
    audience: Audience = "many"
    label: str | None = None
    """Plain words for a control; the name where there are none."""
    suggestions: tuple[Any, ...] = ()
    """Values that a page offers first."""
    ends: tuple[str, str] | None = None
    """Plain words for the ends of a slider over the suggestions."""

    @property
    def flag(self) -> str:
        """Spelling on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def front(self) -> bool:
        """Whether a page shows it at once, and not only when asked for more."""
        return self.audience == "everyone"

    @property
    def in_short_help(self) -> bool:
        """Whether it is among those that a photographer needs."""
        return self.audience in ("everyone", "many")

    @property
    def expert(self) -> bool:
        """Whether it is of use only to who knows the method: a page keeps it apart."""
        return self.audience == "experts"

    @property
    def hidden(self) -> bool:
        """Whether it is accepted and shown nowhere."""
        return self.audience == "comparisons"

    def parse(self, value: Any) -> Any:
        """A value from any interface as the option's type, inside its range.

        Raises:
            OptionError: naming the option, the value and what is allowed.
        """
        if value is None or (isinstance(value, str) and value in self.words):
            return value
        try:
            parsed = self._convert(value)
        except (ValueError, TypeError, ZeroDivisionError, KeyError) as error:
            kind = {
                bool: "true or false",
                int: "a whole number",
                float: "a number",
                Fraction: "a number or a fraction such as 2/3",
            }
            expected = " or ".join((*self.words, kind.get(self.kind, "text")))
            raise OptionError(f"{self.flag} is {value!r}", hint=f"expected {expected}") from error
        if self.pattern and not re.fullmatch(self.pattern, parsed):
            raise OptionError(f"{self.flag} is {value!r}", hint=f"for instance {self.example}")
        if self.choices is not None and parsed not in self.choices:
            close = get_close_matches(str(parsed), [str(c) for c in self.choices], 1)
            meant = f"did you mean {close[0]}? " if close else ""
            raise OptionError(
                f"{self.flag} is {value!r}", hint=f"{meant}choose from {', '.join(map(str, self.choices))}"
            )
        if (self.minimum is not None and not parsed >= self.minimum) or (
            self.maximum is not None and not parsed <= self.maximum
        ):
            upper = f" to {self.maximum:g}" if self.maximum is not None else " or more"
            raise OptionError(f"{self.flag} is {value}", hint=f"choose {self.minimum:g}{upper}")
        return parsed

    def _convert(self, value: Any) -> Any:
        if self.kind is bool:
            if isinstance(value, str):
                return {"true": True, "1": True, "on": True, "false": False, "0": False, "off": False}[value.lower()]
            return bool(value)
        if self.kind is int and isinstance(value, float) and not value.is_integer():
            raise ValueError(value)
        if self.kind is Fraction and isinstance(value, float):
            # 0.6667 typed by a person means 0.6667, not the binary number next to it.
            return Fraction(str(value))
        return self.kind(value)


def _option(default: Any, help: str, group: str, **meta: Any) -> Any:
    return field(default=default, metadata={"help": help, "group": group, **meta})


@dataclass(frozen=True)
class UpscaleOptions:
    """What to do with a picture. Every field is an option of each interface that its metadata names."""

    model: str = _option(
        "nano",
        "the model: a name, folder or hub id",
        "model",
        short="-m",
        unit="MODEL",
        affects_bytes=False,  # a job's hash holds the weights' own hash, wherever they lie
        label="Model",
    )
    base_model: str | None = _option(
        None,
        "the base model of weights in the published layout: folders or hub ids, tried in turn, between commas"
        " (default: CCSR_BASE_MODEL)",
        "model",
        unit="PLACES",
        interfaces=LOCAL_INTERFACES,
        affects_bytes=False,
        audience="some",
    )
    scale: Fraction = _option(
        Fraction(4),
        "times as wide and high, such as 2 or 5/3",
        "size",
        minimum=1,
        maximum=8,
        short="-s",
        label="Size",
        audience="everyone",
        suggestions=(2, 3, 4, 8),
    )
    width: int | None = _option(
        None,
        "width in pixels, instead of --scale",
        "size",
        minimum=1,
        unit="PX",
        label="Width in pixels",
    )
    height: int | None = _option(
        None,
        "height in pixels, instead of --scale",
        "size",
        minimum=1,
        unit="PX",
        label="Height in pixels",
    )
    megapixels: float | None = _option(
        None,
        "size in megapixels, instead of --scale",
        "size",
        minimum=1e-6,
        maximum=4290,
        label="Size in megapixels",
    )
    print: str | None = _option(
        None,
        "size on paper, instead of --scale, such as 40x30cm: as large as fits on it, turned as the photo stands",
        "size",
        pattern=r"(?=[0-9.]*[1-9])[0-9]{1,5}(\.[0-9]{1,4})? ?x ?(?=[0-9.]*[1-9])[0-9]{1,5}(\.[0-9]{1,4})? ?(cm|mm|in)",
        example="40x30cm",
        unit="WxHcm|mm|in",
        label="Size on paper",
    )
    dpi: float | None = _option(
        None,
        "dots per inch of the print (default: 300), which the file then says too",
        "size",
        minimum=1,
        maximum=10000,
        label="Dots per inch",
    )
    blend: float = _option(
        1.0,
        "strength of restoring, 0 to 1: less invents less, at 0 the photo is only enlarged",
        "result",
        minimum=0,
        maximum=1,
        label="Strength",
        ends=("closer to the input", "full effect"),
    )
    consistency: float = _option(
        0.0,
        "how exactly the result, made small again, must be the photo, 0 to 1; brings its noise back",
        "result",
        minimum=0,
        maximum=1,
        label="True to the photo",
        ends=("as restored", "shrinks back to it"),
    )
    mask: str | None = _option(
        None,
        "a picture of any size: where it is black the photo is only enlarged; grey mixes",
        "result",
        interfaces=("cli",),  # Python, the server and the nodes take the mask itself
        unit="FILE",
        affects_bytes=False,  # a job's hash holds the mask's own hash, wherever it lies
    )
    steps: int = _option(
        1,
        "1 truest, 4 most detailed; nano: just 1",
        "result",
        minimum=1,
        maximum=999,
        label="Detail",
        audience="everyone",
        suggestions=(1, 2, 3, 4),
        ends=("faithful", "detailed"),
    )
    T: int | None = _option(
        None,
        "grid of the paper; excludes --steps",
        "method",
        minimum=1,
        maximum=1000,
        audience="experts",
    )
    t_max: Fraction | None = _option(
        None,
        "where the chain goes on after its first estimate, as a share of T (default 2/3)",
        "method",
        minimum=0,
        maximum=1,
        audience="experts",
    )
    t_min: Fraction | None = _option(
        None,
        "where the chain ends, as a share of T (default 1/2)",
        "method",
        minimum=0,
        maximum=1,
        audience="experts",
    )
    sampling: str = _option(
        "nuts",
        "non-uniform timesteps of the paper, or evenly spaced ones (its ablation V1), of which --steps may be 1 to 999",
        "method",
        choices=("nuts", "uniform"),
        label="Sampling",
        audience="experts",
    )
    seed: int = _option(
        0,
        "the same seed gives the same bytes",
        "method",
        minimum=0,
        maximum=2**63 - 1,
        label="Seed",
        audience="some",
    )
    samples: int = _option(
        1,
        "different results of each photo",
        "result",
        minimum=1,
        affects_bytes=False,
        label="Results per photo",
        audience="everyone",
        suggestions=(1, 2, 4, 8),
    )
    stability_map: bool = _option(
        False,
        "with --samples, also write where the results of a picture differ: a map and an overlay",
        "result",
        interfaces=("cli",),  # Python and the server give the map of several samples unasked
        affects_bytes=False,
        audience="some",
    )
    color_fix: str | None = _option(
        None,
        "how colours follow the input (default: as the model folder says)",
        "result",
        choices=COLOR_FIXES,
        label="Colours follow the input by",
        audience="some",
    )
    prompt: str | None = _option(
        None,
        "text for models with a text encoder",
        "method",
        label="Describe the photo",
        audience="some",
    )
    negative_prompt: str | None = _option(
        None,
        "text to stay away from, with --guidance above 1",
        "method",
        label="Stay away from",
        audience="some",
    )
    guidance: float = _option(
        1.0,
        "classifier-free guidance; 1 is off",
        "method",
        minimum=1,
        maximum=30,
        label="Guidance",
        audience="experts",
    )
    tile: int | str = _option(
        "auto",
        "output pixels of a tile of the denoiser; auto, none or a number",
        "memory",
        unit="PX",
        words=("auto", "none"),
        minimum=64,
        label="Tile of the denoiser",
        audience="experts",
    )
    vae_tile: int | str = _option(
        "auto",
        "output pixels of a tile of the VAE; auto, none or a number",
        "memory",
        unit="PX",
        words=("auto", "none"),
        minimum=64,
        label="Tile of the decoder",
        audience="experts",
    )
    overlap: float | str = _option(
        "auto",
        "share of a tile that its neighbour covers too; auto is a margin of the receptive field",
        "memory",
        words=("auto",),
        minimum=0,
        maximum=0.9,
        label="Overlap of tiles",
        audience="experts",
    )
    device: str = _option(
        "auto",
        "auto, cpu, cuda, cuda:N or mps",
        "machine",
        interfaces=LOCAL_INTERFACES,
        audience="some",
    )
    dtype: str = _option(
        "auto",
        "number format of the networks",
        "machine",
        choices=("auto", *typing.get_args(DtypeName)),
        label="Number format",
        audience="experts",
    )
    engine: str = _option(
        "torch",
        "what computes the denoiser: torch, or openvino, which is faster on CPUs for large models (extra openvino)",
        "machine",
        choices=("torch", "openvino"),
        interfaces=LOCAL_INTERFACES,
        audience="some",
    )
    threads: int | None = _option(
        None,
        "CPU threads; a result's last bits depend on it (default: the cores, but one for results of at most 256x256,"
        " which are computed several at a time)",
        "machine",
        minimum=1,
        maximum=1024,
        interfaces=LOCAL_INTERFACES,
        audience="some",
    )
    batch_size: int = _option(
        1,
        "pictures of one size that are computed together, where they follow each other; more than 1 may change a"
        " result's last bits",
        "machine",
        minimum=1,
        maximum=256,
        interfaces=LOCAL_INTERFACES,
        audience="some",
    )
    cluster: str | None = _option(
        None,
        "do the job over a Ray cluster: its address, or local for this machine's devices (extra ray)",
        "machine",
        unit="ADDRESS|local",
        interfaces=("cli",),
        affects_bytes=False,
        audience="some",
    )
    compat: str = _option(
        "none",
        "option values of the published programs, for comparisons",
        "method",
        choices=("none", "v2", "v1"),
        label="Behave as a published program",
        audience="experts",
    )
    min_scale: float | None = _option(
        None,
        "least scale that is computed; smaller results are reduced from it, which takes longer and keeps more of the"
        " input (default: as the model says; nano: 4)",
        "size",
        minimum=1,
        maximum=8,
        audience="experts",
    )
    start_point: str = _option(
        "lq",
        "start from the noised input or from pure noise",
        "method",
        choices=("lq", "noise"),
        audience="comparisons",
    )
    start_index: int = _option(
        999,
        "index of the first evaluation",
        "method",
        minimum=1,
        maximum=999,
        audience="comparisons",
    )
    min_size: int | None = _option(
        None,
        "shortest output side that is processed (default: as the model folder says)",
        "size",
        minimum=8,
        maximum=2048,
        audience="comparisons",
    )
    intermediates: bool = _option(
        False,
        "also write the decoded estimate of each step",
        "result",
        interfaces=LOCAL_INTERFACES,
        audience="some",
    )
    format: str | None = _option(
        None,
        "kind of file (default: as the photo)",
        "files",
        choices=("png", "jpeg", "webp", "tiff", "avif"),
        unit="KIND",
        interfaces=("cli", "http"),
        label="Save as",
        audience="everyone",
    )
    quality: int = _option(
        95,
        "quality of JPEG, WebP and AVIF files",
        "files",
        minimum=1,
        maximum=100,
        interfaces=("cli", "http"),
        label="Quality of JPEG, WebP and AVIF",
    )
    depth: str = _option(
        "auto",
        "bits per channel of results; auto is the input's",
        "files",
        choices=("auto", "8", "16"),
        interfaces=("cli", "http"),
        label="Bits per channel",
        audience="some",
    )
    strip_metadata: bool = _option(
        False,
        "leave EXIF, XMP and ICC out of results",
        "files",
        interfaces=("cli", "http"),
        label="Leave out EXIF and colour profile",
        audience="some",
    )

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], interface: str = "python") -> Self:
        """Options from names and values as typed; fractions such as `2/3` stay exact.

        Raises:
            OptionError: an unknown name (with the nearest one), a bad value, or a rule between options.
        """
        known = {o.name: o for o in options_of(cls, interface)}
        values = {}
        for name, value in mapping.items():
            if name not in known:
                close = get_close_matches(name, known, 1)
                hint = _ELSEWHERE.get(name) or (f"did you mean {close[0]}?" if close else None)
                raise OptionError(f"no option is called {name}", hint=hint)
            if value is not None:
                values[name] = known[name].parse(value)
        return cls(**values).validate(given=set(values))

    def validate(self, given: set[str] | None = None) -> Self:
        """The only place for rules between options; `given` are the names that were asked for."""
        given = given if given is not None else {f.name for f in fields(self) if getattr(self, f.name) != f.default}
        sizes = sorted(given & set(SIZES))
        if len(sizes) > 1:
            raise OptionError(f"--{sizes[0]} and --{sizes[1]} both set the size", hint="give one of them")
        paper = sorted(given & set(PAPER))
        if "steps" in given and paper:
            raise OptionError(f"--steps excludes --{paper[0].replace('_', '-')}", hint="give one or the other")
        if self.sampling == "uniform" and paper:
            raise OptionError(f"--sampling uniform excludes --{paper[0].replace('_', '-')}", hint="use --steps")
        first_version = COMPAT[self.compat].first_version_grid
        if self.sampling == "nuts" and self.T is None and self.steps not in T_OF_STEPS and not first_version:
            raise OptionError(
                f"--steps is {self.steps}", hint="choose 1 to 4, or set --T, --t-max and --t-min, or --sampling uniform"
            )
        if ("t_max" in given or "t_min" in given) and self.T is None and not first_version:
            raise OptionError("--t-max and --t-min need --T", hint="for instance --T 6 --t-max 2/3 --t-min 1/2")
        if self.stability_map and self.samples < 2:
            raise OptionError("--stability-map compares several results", hint="add --samples 10")
        if self.cluster and self.batch_size > 1:
            raise OptionError("--cluster computes pictures one by one", hint="leave out --batch-size")
        if self.negative_prompt is not None and self.guidance <= 1:
            raise OptionError("--negative-prompt has no effect at guidance 1", hint="add --guidance 4.5")
        return self

    @property
    def has_target(self) -> bool:
        """Whether a size was asked for, and not a scale."""
        return any(getattr(self, name) is not None for name in _TARGETS)

    @property
    def paper(self) -> tuple[float, float] | None:
        """Inches of the paper to print on, across and down as given; None where none was given."""
        if self.print is None:
            return None
        across, down, unit = re.findall(r"[0-9.]+|[a-z]{2}", self.print)
        return float(across) / _PER_INCH[unit], float(down) / _PER_INCH[unit]

    @property
    def dots_per_inch(self) -> float | None:
        """What a result's file shall say; None: what the input's file says."""
        return self.dpi or (_PRINT_DPI if self.print else None)

    @property
    def trajectory(self) -> Trajectory:
        """The indices to evaluate: those of `steps`, of the paper's own T, t_max and t_min, or evenly spaced.

        Raises:
            OptionError: the settings leave no evaluation.
        """
        if COMPAT[self.compat].first_version_grid:
            steps = self.T or (self.steps if self.steps > 1 else 45)
            found = first_version_trajectory(steps, *self._bounds(Fraction("0.6667"), Fraction("0.3333")))
        elif self.sampling == "uniform":
            found = uniform_trajectory(self.steps)
        else:
            t_max, t_min = self._bounds(Fraction(2, 3), Fraction(1, 2))
            found = nuts_trajectory(self.T or T_OF_STEPS[self.steps], t_max, t_min)
            if COMPAT[self.compat].skipped_start and t_max == 1 and len(found.timesteps) > 1:
                found = found.without_start()
        return found.starting_at(self.start_index)

    def _bounds(self, t_max: Fraction, t_min: Fraction) -> tuple[Fraction | float, Fraction | float]:
        """The given t_max and t_min (0 is one), these where none was given."""
        bounds = t_max if self.t_max is None else self.t_max, t_min if self.t_min is None else self.t_min
        return (float(bounds[0]), float(bounds[1])) if COMPAT[self.compat].float_shares else bounds

    def digest(self, **facts: Any) -> str:
        """Hash of all that decides a result's bytes: these options and `facts` such as the model's hash."""
        relevant = {o.name for o in options_of(type(self)) if o.affects_bytes}
        values = {k: str(v) for k, v in {**asdict(self), **facts}.items() if k in relevant or k in facts}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def options_of(owner: type, interface: str | None = None) -> list[Option]:
    """The options of a dataclass, in order; with an interface, those that it offers."""
    hints = typing.get_type_hints(owner)
    listed = [
        Option(name=f.name, kind=_kind(hints[f.name]), default=f.default, **f.metadata)
        for f in fields(owner)
        if "help" in f.metadata
    ]
    return [o for o in listed if interface is None or interface in o.interfaces]


def _kind(hint: Any) -> type:
    """The type of a given value: `int | str` is a number beside words, `int | None` an optional number."""
    if isinstance(hint, types.UnionType):
        named = [t for t in typing.get_args(hint) if t is not type(None)]
        return named[0]
    return hint
