"""Text embeddings agree with transformers' own classes, or say what has to be installed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ccsr.errors import OptionError, WeightsError
from ccsr.weights import describe, encode_prompt, load_model, pack

from .conftest import WIDTH

# The published program's two prompts (ccsr-spec 1.1).
POSITIVE = "clean, high-resolution, 8k"
NEGATIVE = "blurry, dotted, noise, raster lines, unclear, lowres, over-smoothed"


def write_text_encoder(base: Path) -> tuple[Any, Any]:
    """A CLIP tokenizer that knows single letters and a tiny random encoder, as a base folder has them."""
    transformers = pytest.importorskip("transformers")
    from diffusers.utils import logging as quiet

    quiet.set_verbosity_error()
    letters = [chr(i) for i in range(33, 127)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    (base / "tokenizer").mkdir(parents=True)
    (base / "tokenizer" / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (base / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    facts = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "pad_token": "<|endoftext|>"}
    (base / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(facts))
    torch.manual_seed(11)
    encoder = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=len(words), hidden_size=WIDTH, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            bos_token_id=0, eos_token_id=1, pad_token_id=1,
        )
    ).eval()  # fmt: skip
    encoder.save_pretrained(base / "text_encoder")
    return transformers.CLIPTokenizer.from_pretrained(base / "tokenizer"), encoder


def by_hand(encoder: Any, text: str) -> torch.Tensor:
    """Spec 1.6, with the token numbers written out: start, letters with the word's end marked, end up to 77."""
    letters = {chr(i): i - 33 + 2 for i in range(33, 127)}
    ids = [0]
    for word in text.replace(",", " , ").replace("-", " - ").replace("8k", "8 k").split():
        ids += [letters[c] for c in word[:-1]] + [letters[word[-1]] + len(letters)]
    ids = (ids[:76] + [1]) + [1] * (77 - len(ids[:76]) - 1)
    with torch.no_grad():
        return encoder(torch.tensor([ids])).last_hidden_state  # type: ignore[no-any-return]


def test_prompt_is_padded_unmasked_and_the_last_state(published: tuple[Path, Path], caplog: Any) -> None:
    _, base = published
    _, encoder = write_text_encoder(base)
    for text in ("", POSITIVE, NEGATIVE, "a " * 100):
        found = encode_prompt(base, text)
        assert found.shape == (1, 77, WIDTH)
        assert not found.requires_grad
        torch.testing.assert_close(found, by_hand(encoder, text), rtol=1e-5, atol=1e-5)
    warnings = [record.message for record in caplog.records if record.name == "ccsr.weights"]
    assert warnings == [f"the prompt is longer than 77 tokens and was cut: {'a ' * 100}"]


def test_embeddings_of_a_published_folder_are_computed_and_packed(published: tuple[Path, Path], tmp_path: Path) -> None:
    own, base = published
    _, encoder = write_text_encoder(base)
    (own / "embeddings.safetensors").unlink()
    assert describe(own, base).embeddings == ("empty", "positive", "negative")
    wanted = {
        "empty": by_hand(encoder, ""),
        "positive": by_hand(encoder, POSITIVE),
        "negative": by_hand(encoder, NEGATIVE),
    }
    found = load_model(own, base_model=base).embeddings
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-5)
    pack(own, tmp_path / "out", base_model=base, source_text="a test", licence="CC0-1.0")
    assert load_model(tmp_path / "out").embeddings.keys() == wanted.keys()
    with_base = describe(tmp_path / "out", base)
    torch.testing.assert_close(encode_prompt(with_base, POSITIVE), wanted["positive"], rtol=1e-5, atol=1e-5)


def test_damaged_text_encoders_are_one_line(published: tuple[Path, Path]) -> None:
    _, base = published
    write_text_encoder(base)
    weights = base / "text_encoder" / "model.safetensors"
    tensors = load_file(weights)
    removed = next(name for name in tensors if name.endswith("final_layer_norm.weight"))
    del tensors[removed]
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"tensors missing or of wrong shape: .*final_layer_norm.weight"):
        encode_prompt(base, "")
    weights.write_bytes(b"<html>")
    with pytest.raises(WeightsError, match="cannot be read"):
        encode_prompt(base, "")


def test_a_model_without_a_text_encoder_takes_no_prompt(packed: Path) -> None:
    with pytest.raises(OptionError, match=r"^packed has no text encoder, so it takes no prompt"):
        encode_prompt(describe(packed), "a cat")


def test_without_transformers_the_extra_is_named(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['transformers'] = None\nfrom pathlib import Path\n"
        "from ccsr.errors import MissingExtraError\nfrom ccsr.weights.text import encode_prompt\n"
        "try: encode_prompt(Path('base'), '')\nexcept MissingExtraError as error: print(error)"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path
    ).stdout
    assert out.strip() == 'base: text embeddings need transformers (pip install "ccsr[text]")'
