"""The option list: parsing, rules, hash."""

from dataclasses import fields
from fractions import Fraction
from typing import Any, get_args

import pytest

from ccsr.errors import OptionError
from ccsr.options import GROUPS, Audience, DtypeName, UpscaleOptions, options_of
from ccsr.plan import BYTES
from ccsr.weights.tensors import DTYPES


def test_number_formats_have_one_list() -> None:
    assert {name: kind.itemsize for name, kind in DTYPES.items()} == BYTES
    assert tuple(BYTES) == get_args(DtypeName)


def test_every_field_is_an_option_of_some_door_with_a_help_text() -> None:
    listed = options_of(UpscaleOptions)
    assert [o.name for o in listed] == [f.name for f in fields(UpscaleOptions)]
    assert all(o.help and o.interfaces and o.group for o in listed)


@pytest.mark.parametrize(
    ("typed", "name", "value"),
    [
        ({"t_max": "2/3", "T": "6"}, "t_max", Fraction(2, 3)),
        ({"t_max": 0.6667, "T": 6}, "t_max", Fraction(6667, 10000)),
        ({"scale": "2.5"}, "scale", Fraction(5, 2)),
        ({"tile": "auto"}, "tile", "auto"),
        ({"tile": "512"}, "tile", 512),
        ({"overlap": "0.25"}, "overlap", 0.25),
        ({"intermediates": "true"}, "intermediates", True),
        ({"seed": 3.0}, "seed", 3),
        ({"seed": None}, "seed", 0),
    ],
)
def test_values_are_parsed_from_text_and_numbers(typed: dict[str, Any], name: str, value: object) -> None:
    parsed = getattr(UpscaleOptions.from_mapping(typed), name)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ({"sed": 1}, "no option is called sed (did you mean seed?)"),
        ({"seed": "x"}, "--seed is 'x' (expected a whole number)"),
        ({"seed": 1.5}, "--seed is 1.5 (expected a whole number)"),
        ({"scale": "1/0"}, "--scale is '1/0' (expected a number or a fraction such as 2/3)"),
        ({"scale": "nan"}, "--scale is 'nan' (expected a number or a fraction such as 2/3)"),
        ({"scale": "0.5"}, "--scale is 0.5 (choose 1 to 8)"),
        ({"blend": "nan"}, "--blend is nan (choose 0 to 1)"),
        ({"tile": "many"}, "--tile is 'many' (expected auto or none or a whole number)"),
        ({"tile": 8}, "--tile is 8 (choose 64 or more)"),
        ({"dtype": "fp61"}, "--dtype is 'fp61' (did you mean fp16? choose from auto, fp32, bf16, fp16)"),
        ({"intermediates": "perhaps"}, "--intermediates is 'perhaps' (expected true or false)"),
        ({"steps": 5}, "--steps is 5 (choose 1 to 4, or set --T, --t-max and --t-min, or --sampling uniform)"),
        ({"steps": 2, "T": 6}, "--steps excludes --T (give one or the other)"),
        ({"t_max": "1/2"}, "--t-max and --t-min need --T (for instance --T 6 --t-max 2/3 --t-min 1/2)"),
        ({"sampling": "uniform", "T": 6}, "--sampling uniform excludes --T (use --steps)"),
        ({"width": 10, "height": 10}, "--height and --width both set the size (give one of them)"),
        ({"negative_prompt": "x"}, "--negative-prompt has no effect at guidance 1 (add --guidance 4.5)"),
    ],
)
def test_mistakes_are_told_in_one_line(typed: dict[str, Any], line: str) -> None:
    with pytest.raises(OptionError) as caught:
        UpscaleOptions.from_mapping(typed)
    assert str(caught.value) == line
    assert isinstance(caught.value, ValueError)


def test_doors_offer_what_is_meant_for_them() -> None:
    with pytest.raises(OptionError, match="no option is called device"):
        UpscaleOptions.from_mapping({"device": "cuda"}, interface="http")


def test_the_hash_follows_what_decides_the_bytes() -> None:
    base = UpscaleOptions().digest(threads=2)
    assert base == UpscaleOptions(samples=3, model="/elsewhere/nano", base_model="x").digest(threads=2)
    for other in (
        UpscaleOptions(seed=1).digest(threads=2),
        UpscaleOptions(quality=90).digest(threads=2),
        UpscaleOptions().digest(threads=1),
        UpscaleOptions(t_max=Fraction(2, 3)).digest(threads=2),
    ):
        assert other != base


def test_a_given_0_is_not_the_default() -> None:
    given = UpscaleOptions.from_mapping
    assert given({"T": 6, "t_max": "1/2", "t_min": 0}).trajectory.timesteps == (999, 333, 167, 1)
    assert given({"T": 45, "compat": "v1"}).trajectory.timesteps[0] == 999
    with pytest.raises(OptionError, match="t_min=0 leave none between them under --compat v1"):
        _ = given({"T": 45, "t_min": 0, "compat": "v1"}).trajectory
    with pytest.raises(OptionError, match="t_max=0 and"):
        _ = given({"T": 45, "t_max": 0, "compat": "v1"}).trajectory


def test_groups_and_who_needs_an_option_are_data() -> None:
    listed = options_of(UpscaleOptions)
    assert {o.group for o in listed} == set(GROUPS)
    assert {o.audience for o in listed} == set(get_args(Audience))
    at_once = {o.name for o in listed if o.front}
    assert at_once == {"scale", "steps", "samples", "format"}
    assert at_once < {o.name for o in listed if o.in_short_help}
    for option in listed:
        assert sum([option.in_short_help, option.audience == "some", option.expert, option.hidden]) == 1
    assert {"T", "tile", "compat"} <= {o.name for o in listed if o.expert}
