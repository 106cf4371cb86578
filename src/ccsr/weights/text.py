"""Text embeddings by the base model's own tokenizer and text encoder (extra `text`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, no_grad

from ccsr.errors import MissingExtraError, OptionError, WeightsError
from ccsr.log import get_logger
from ccsr.weights.description import ModelDescription
from ccsr.weights.files import first_line

logger = get_logger("weights")

# Source: ccsr-spec 1.1, defaults of the published program.
POSITIVE = "clean, high-resolution, 8k"
NEGATIVE = "blurry, dotted, noise, raster lines, unclear, lowres, over-smoothed"


def encode_prompt(model: ModelDescription | Path, text: str) -> Tensor:
    """Embedding of `text`, (1, 77, width) float32, by a model's text encoder.

    `model`: its description, or the folder that holds `tokenizer/` and `text_encoder/`.

    Raises:
        OptionError: the model has no text encoder.
        MissingExtraError: transformers is not installed.
        WeightsError: the folders are missing or damaged.
    """
    folder = model.layout.text if isinstance(model, ModelDescription) else model
    if folder is None:
        raise OptionError(
            f"{model.name} has no text encoder, so it takes no prompt", hint="name its base model with --base-model"
        )
    return encode_prompts(folder, [text])[0]


@no_grad()
def encode_prompts(base_folder: Path, texts: Sequence[str]) -> list[Tensor]:
    """As `encode_prompt`, for several texts with one loading of the encoder.

    Padded to the maximum, cut there with a warning, no attention mask, the 0th output (after the final norm).
    Source: ccsr-spec 1.6.
    """
    try:
        from transformers import CLIPTextModel, CLIPTokenizer
    except ImportError as error:
        raise MissingExtraError(
            "text embeddings need transformers", path=base_folder, hint='pip install "ccsr[text]"'
        ) from error
    tokenizers: Any = CLIPTokenizer
    encoders: Any = CLIPTextModel
    files = base_folder / "text_encoder"
    is_half = not (files / "model.safetensors").is_file() and (files / "model.fp16.safetensors").is_file()
    try:
        tokenizer = tokenizers.from_pretrained(base_folder / "tokenizer", local_files_only=True)
        encoder, loading = encoders.from_pretrained(
            files, local_files_only=True, output_loading_info=True, variant="fp16" if is_half else None
        )
    except Exception as error:  # transformers raises anything; here it can only be about these two folders
        raise WeightsError(
            f"tokenizer/ or text_encoder/ cannot be read: {first_line(error)}", path=base_folder
        ) from error
    # transformers fills what is missing with random numbers and only warns.
    if loading["missing_keys"] or loading.get("mismatched_keys"):
        names = sorted(map(str, [*loading["missing_keys"], *loading.get("mismatched_keys", ())]))
        raise WeightsError(
            f"tensors missing or of wrong shape: {', '.join(names[:3])}", path=base_folder / "text_encoder"
        )
    encoder = encoder.float().eval()
    return [encoder(_tokens(tokenizer, text), attention_mask=None)[0] for text in texts]


def _tokens(tokenizer: Any, text: str) -> Tensor:
    length = tokenizer.model_max_length
    if len(tokenizer(text).input_ids) > length:
        logger.warning("the prompt is longer than %d tokens and was cut: %s", length, text)
    encoded = tokenizer(text, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    ids: Tensor = encoded.input_ids
    return ids
