"""Against the table of the specification, which was measured with the published program's scheduler."""

from fractions import Fraction as F

import pytest

from ccsr.errors import OptionError
from ccsr.method.timesteps import first_version_trajectory, nuts_trajectory, uniform_trajectory
from ccsr.options import UpscaleOptions

TABLE = [
    (6, F(2, 3), F(1, 2), (999, 499)),
    (6, F(2, 3), F(1, 3), (999, 499, 333)),
    (6, F(5, 6), F(1, 2), (999, 665, 499)),
    (6, F(5, 6), F(2, 3), (999, 665)),
    (6, F(1, 2), F(1, 6), (999, 333, 167)),
    (6, F(2, 3), F(0), (999, 499, 333, 167, 1)),
    (12, F(2, 3), F(1, 2), (999, 582, 499)),
    (12, F(2, 3), F(1, 3), (999, 582, 499, 416, 333)),
    (12, F(5, 6), F(1, 2), (999, 748, 665, 582, 499)),
    (12, F(5, 6), F(2, 3), (999, 748, 665)),
    (12, F(1, 2), F(1, 6), (999, 416, 333, 250, 167)),
    (18, F(2, 3), F(1, 2), (999, 606, 551, 496)),
    (18, F(2, 3), F(1, 3), (999, 606, 551, 496, 441, 386, 331)),
    (18, F(5, 6), F(1, 2), (999, 771, 716, 661, 606, 551, 496)),
    (18, F(5, 6), F(2, 3), (999, 771, 716, 661)),
    (18, F(1, 2), F(1, 6), (999, 441, 386, 331, 276, 221, 166)),
]


@pytest.mark.parametrize(("T", "t_max", "t_min", "expected"), TABLE)
def test_nuts_table(T: int, t_max: F, t_min: F, expected: tuple[int, ...]) -> None:
    assert nuts_trajectory(T, t_max, t_min).timesteps == expected
    # The paper's count, wherever T * t is whole.
    assert len(expected) == (t_max - t_min) * T + 1


def test_one_step_ignores_the_window() -> None:
    assert nuts_trajectory(1, 0.6666, 0.0).timesteps == (999,)
    assert nuts_trajectory(1, F(1, 3), F(2, 3)).timesteps == (999,)


def test_rounded_thirds_give_the_same_steps() -> None:
    for T in (6, 12, 18):
        assert (
            nuts_trajectory(T, 0.6667, 0.5) == nuts_trajectory(T, F(2, 3), F(1, 2)) == nuts_trajectory(T, 0.6666, 0.5)
        )


def test_half_rounds_to_even() -> None:
    # T * t_min = 2.5 rounds to 2, so the grid 801 601 401 201 1 is cut after its third entry from the end.
    assert nuts_trajectory(5, F(4, 5), F(1, 2)).timesteps == (999, 601, 401)


@pytest.mark.parametrize(
    ("T", "t_max", "t_min"),
    [
        (0, F(2, 3), F(1, 2)),
        (6, F(1, 2), F(1, 2)),
        (6, F(1, 3), F(1, 2)),
        (6, F(0), F(0)),
        (6, F(7, 6), F(1, 2)),
        (1001, F(2, 3), F(1, 2)),
        (2, F(1, 4), F(0)),
    ],
)
def test_impossible_windows(T: int, t_max: F, t_min: F) -> None:
    with pytest.raises(OptionError):
        nuts_trajectory(T, t_max, t_min)


def test_impossible_window_names_the_setting() -> None:
    with pytest.raises(OptionError, match=r"T=6 with t_max=1/3 and t_min=1/2 leaves no step"):
        nuts_trajectory(6, F(1, 3), F(1, 2))


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (1, (999,)),
        (2, (999, 500)),
        (3, (999, 666, 333)),
        (4, (999, 749, 500, 250)),
        (6, (999, 832, 666, 500, 333, 166)),
        (10, (999, 899, 799, 699, 599, 500, 400, 300, 200, 100)),
    ],
)
def test_uniform(steps: int, expected: tuple[int, ...]) -> None:
    assert uniform_trajectory(steps).timesteps == expected


def test_steps_of_the_paper() -> None:
    def count(**options: object) -> int:
        return len(UpscaleOptions.from_mapping(options).trajectory.timesteps)

    assert [count(steps=s) for s in (1, 2, 3, 4)] == [1, 2, 3, 4]
    assert count(steps=7, sampling="uniform") == 7
    with pytest.raises(OptionError):
        count(steps=5)


def test_where_each_step_leads() -> None:
    assert nuts_trajectory(12, F(2, 3), F(1, 3))[:3] == (
        (999, 582, 499, 416, 333),
        (916, 499, 416, 333, 250),
        582,
    )
    assert uniform_trajectory(3)[:3] == ((999, 666, 333), (666, 333, -1), None)


def test_first_version() -> None:
    published = first_version_trajectory(45, 0.6667, 0.3333)
    assert published.renoise == 658
    assert published.timesteps == (
        999,
        658,
        636,
        613,
        590,
        568,
        545,
        522,
        499,
        477,
        454,
        431,
        409,
        386,
        363,
        341,
    )
    assert published.previous[1:] == (*published.timesteps[2:], 318)
    assert first_version_trajectory(15, 0.6667, 0.3333).timesteps[1:] == (642, 571, 500, 428, 357)
    # The two counts disagree here: noised to 499, the loop starts at 477.
    uneven = first_version_trajectory(45, 0.5, 0.3)
    assert (uneven.renoise, uneven.timesteps[1]) == (499, 477)
    thirty = first_version_trajectory(30, 0.6667, 0.3333)
    assert (thirty.renoise, thirty.timesteps[1], thirty.timesteps[-1], len(thirty.timesteps)) == (655, 655, 344, 11)
    with pytest.raises(OptionError, match="leave none between them"):
        first_version_trajectory(45, 0.6667, 0)
    assert UpscaleOptions.from_mapping({"compat": "v1"}).trajectory == published


def test_t_max_1_of_the_second_program() -> None:
    """It makes no evaluation at 999 and takes a sample noised to it for one at 831 (ccsr-spec 1.4, point 4)."""
    asked = {"T": 6, "t_max": 1, "t_min": "1/2"}
    published = UpscaleOptions.from_mapping(asked | {"compat": "v2"}).trajectory
    assert published.timesteps == (831, 665, 499)
    assert published.previous == (665, 499, 333)
    assert (published.start, published.renoise) == (999, None)
    ours = UpscaleOptions.from_mapping(asked).trajectory
    assert ours.timesteps == (999, 831, 665, 499)
    assert (ours.start, ours.renoise) == (None, 831)
    earlier = UpscaleOptions.from_mapping(asked | {"compat": "v2", "start_index": 900}).trajectory
    assert (earlier.start, earlier.timesteps[0]) == (900, 831)


def test_shares_in_floating_point_as_published() -> None:
    """45 * 0.7 is a little less than 31.5 there."""
    first = UpscaleOptions.from_mapping({"compat": "v1", "T": 45, "t_max": "0.7", "t_min": "1/3"}).trajectory
    assert first.timesteps[:2] == (999, 681)
    second = {"T": 45, "t_max": "0.7", "t_min": "1/2"}
    assert UpscaleOptions.from_mapping(second | {"compat": "v2"}).trajectory.timesteps[1] == 30 * 22 + 1
    assert UpscaleOptions.from_mapping(second).trajectory.timesteps[1] == 31 * 22 + 1
