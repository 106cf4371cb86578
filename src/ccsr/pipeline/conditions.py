"""What the options say about text: the stored embeddings, or those of a prompt where the model has a text encoder."""

from collections.abc import Mapping

from torch import Tensor

from ccsr.errors import OptionError
from ccsr.method import Conditions
from ccsr.method.compat import COMPAT
from ccsr.options import UpscaleOptions
from ccsr.weights import ModelDescription, encode_prompt


def text_conditions(
    options: UpscaleOptions, embeddings: Mapping[str, Tensor], description: ModelDescription
) -> Conditions:
    """Embeddings and guidance by option; `embeddings` are the stored ones: any of empty, positive and negative.

    Raises:
        OptionError: the model lacks what the options ask for.
    """
    name = description.name
    texts = {"positive": options.prompt, "negative": options.negative_prompt}
    chosen: dict[str, Tensor | None] = {}
    for which, text in texts.items():
        chosen[which] = embeddings.get(which) if text is None else encode_prompt(description, text)
    if COMPAT[options.compat].empty_prompt and options.prompt is None:
        chosen["positive"] = embeddings.get("empty", chosen["positive"])
    positive = chosen["positive"] if chosen["positive"] is not None else embeddings.get("empty")
    if positive is None:
        raise OptionError(f"{name} has no text embedding to start from", hint="pack it again with ccsr models pack")
    if options.guidance > 1 and chosen["negative"] is None:
        raise OptionError(f"{name} has no negative embedding, so guidance has no effect", hint="leave --guidance 1")
    return Conditions(positive, chosen["negative"], options.guidance)
