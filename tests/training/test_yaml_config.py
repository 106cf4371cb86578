"""YAML and words to dataclasses: types, nearest names, recipes."""

from pathlib import Path

import pytest
import yaml

from ccsr.errors import OptionError
from ccsr.training.config import Stage1Config, Stage2Config, recipe, resolve
from ccsr.training.yaml_config import as_yaml, differences, read_settings


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_words_reach_into_mappings_and_lists(tmp_path: Path) -> None:
    file = _file(tmp_path, "data: {sources: [{folder: a}, {list: b.txt}]}\n")
    settings = read_settings(
        file, ["data.sources.1.first=5000", "loop.learning_rate=5e-6", "data.degradation.first.jpeg=[30,95]"]
    )
    config = resolve("stage1", settings)
    assert isinstance(config, Stage1Config)
    assert config.data.sources[1].list == "b.txt"
    assert config.data.sources[1].first == 5000
    assert config.loop.learning_rate == 5e-6  # which YAML takes for a text
    assert config.data.degradation.first.jpeg == (30, 95)
    assert config.data.degradation.first.sigma == (0.2, 1.5)  # what was not said stays


def test_a_folder_is_said_shortly(tmp_path: Path) -> None:
    config = resolve("stage1", read_settings(_file(tmp_path, ""), ["data.sources=photos"]))
    assert isinstance(config, Stage1Config)
    assert config.data.sources[0].folder == "photos"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("loop.step=3", "no setting is called loop.step (did you mean loop.steps?)"),
        ("lop.steps=3", "no setting is called lop (did you mean loop?)"),
        ("loop.steps=3.5", "loop.steps is 3.5 (a whole number is needed)"),
        ("loop.steps=many", "loop.steps is 'many' (a whole number is needed)"),
        ("loop.steps=0", "loop.steps is 0 (choose 1 or more)"),
        ("loop.schedule=cosin", "loop.schedule is 'cosin' (did you mean cosine? choose from constant, cosine)"),
        ("loop.checkpointing=1", "loop.checkpointing is 1 (true or false is needed)"),
        ("data.sources.0.first=x", "data.sources.0.first is 'x' (a whole number is needed)"),
        ("loss.t_range=[667, 0]", "loss.t_range is [667, 0] (0 to 1000, the first below the second)"),
        ("recipe=papr", "recipe is 'papr' (ccsr train stage1 knows published, paper)"),
        ("loop", "loop is no setting (write key=value, for instance loop.steps=1000)"),
    ],
)
def test_mistakes_are_one_line(word: str, message: str, tmp_path: Path) -> None:
    file = _file(tmp_path, "data: {sources: [{folder: a}]}\n")
    with pytest.raises(OptionError) as raised:
        resolve("stage1", read_settings(file, [word]))
    assert str(raised.value) == message


def test_a_missing_file_and_no_yaml(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"none\.yaml: cannot be read: No such file"):
        read_settings(tmp_path / "none.yaml")
    with pytest.raises(OptionError, match="is no YAML"):
        read_settings(_file(tmp_path, "a: [1,"))


@pytest.mark.parametrize(("stage", "name"), [("stage1", "published"), ("stage1", "paper"), ("stage2", "paper")])
def test_what_is_printed_reads_back_as_the_same(stage: str, name: str) -> None:
    config = recipe(stage, name)
    assert resolve(stage, yaml.safe_load(as_yaml(config))) == config


def test_published_and_paper_differ_where_the_specification_says() -> None:
    """Figures from ccsr-spec 5.1, 5.2, 6.1 and 6.2."""
    published, paper = recipe("stage1", "published"), recipe("stage1", "paper")
    assert isinstance(published, Stage1Config)
    assert isinstance(paper, Stage1Config)
    assert (published.loop.steps, paper.loop.steps) == (20_000, 25_000)
    assert (published.loop.optimizer, paper.loop.optimizer) == ("adamw", "adam")
    assert published.loop.weight_decay == 0.01
    assert published.loop.learning_rate == paper.loop.learning_rate == 5e-5
    assert (published.loss.t_range, paper.loss.t_range) == ((0, 667), (500, 667))
    assert published.data.batch * published.loop.accumulate * 4 == 96
    published2, paper2 = recipe("stage2", "published"), recipe("stage2", "paper")
    assert isinstance(published2, Stage2Config)
    assert isinstance(paper2, Stage2Config)
    assert published2.data.batch * published2.loop.accumulate * 4 == 64
    assert (published2.loop.learning_rate, paper2.loop.learning_rate) == (5e-6, 1e-5)
    assert (published2.loss.discriminator, paper2.loss.discriminator) == ("projected", "patchgan")
    assert (published2.loss.adversarial_weight, published2.loss.critic_weight) == (0.05, 0.5)


def test_differences_name_what_changed(tmp_path: Path) -> None:
    a = resolve("stage1", read_settings(_file(tmp_path, ""), ["loop.seed=1", "loop.steps=5"]))
    b = resolve("stage1", read_settings(_file(tmp_path, "")))
    found = differences(a, yaml.safe_load(as_yaml(b)), frozenset({"loop.steps"}))
    assert found == ["loop.seed"]
