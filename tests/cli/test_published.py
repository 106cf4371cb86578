"""Command lines of the published program, translated (its options: ccsr-spec 1.1)."""

from typing import Any

import pytest

from ccsr.cli import published
from ccsr.cli.arguments import given
from ccsr.cli.upscale import parser
from ccsr.errors import OptionError
from ccsr.options import UpscaleOptions


def request(line: str) -> published.Request:
    arguments = parser().parse(line.split())
    return published.translate(
        published.Request(arguments.inputs, arguments.output, given(arguments, UpscaleOptions)), arguments
    )


def options(line: str) -> UpscaleOptions:
    return UpscaleOptions.from_mapping(request(line).options, interface="cli")


def test_the_published_one_step_command() -> None:
    line = (
        "--pretrained_model_path base --controlnet_model_path preset/models --vae_model_path preset/models/"
        " --baseline_name ccsr-v2 --image_path in --output_dir out --sample_method ddpm --num_inference_steps 1"
        " --t_min 0.0 --start_point lr --start_steps 999 --process_size 512 --guidance_scale 1.0 --sample_times 1"
        " --use_vae_encode_condition --upscale 4"
    )
    asked = request(line)
    assert (asked.inputs, asked.output) == (["in"], "out")
    chosen = options(line)
    assert (chosen.base_model, chosen.model) == ("base", "preset/models")
    assert (chosen.scale, chosen.samples, chosen.guidance, chosen.min_size) == (4, 1, 1.0, 512)
    assert (chosen.start_point, chosen.start_index, chosen.compat) == ("lq", 999, "none")
    assert (chosen.tile, chosen.vae_tile) == ("none", "none")
    assert chosen.trajectory.timesteps == (999,)


def test_the_published_multi_step_command_with_tiles() -> None:
    chosen = options(
        "in --num_inference_steps 6 --t_max 0.6667 --t_min 0.5 --guidance_scale 4.5 --tile_diffusion"
        " --tile_diffusion_size 512 --tile_diffusion_stride 256 --tile_vae --vae_decoder_tile_size 224"
        " --vae_encoder_tile_size 1024 --upscale 4"
    )
    assert chosen.trajectory.timesteps == (999, 499)
    assert (chosen.tile, chosen.vae_tile, chosen.overlap, chosen.guidance) == (512, 1792, 0.5, 4.5)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--align_method nofix", {"color_fix": "none"}),
        ("--align_method wavelet", {"color_fix": "wavelet"}),
        ("--mixed_precision no", {"dtype": "fp32"}),
        ("--mixed_precision bf16", {"dtype": "bf16"}),
        ("--start_point noise", {"start_point": "noise"}),
        ("--sample_times 5", {"samples": 5}),
        ("--conditioning_scale 0.5", {}),
        ("--tile_diffusion", {"tile": 512, "overlap": 0.5}),
        ("--tile_diffusion --tile_diffusion_stride 384", {"overlap": 0.25}),
        ("--tile_diffusion_size 256", {"tile": "none"}),
        ("--tile_vae", {"vae_tile": 1792}),
        ("--upscale 4 --tile 640", {"tile": 640}),
        ("--num_inference_steps 6", {"T": 6, "t_min": 0}),
        ("--num_inference_steps 6 --t-min 1/2", {"t_min": 0.5}),
        ("--added_prompt clean", {"prompt": "clean"}),
        ("--negative_prompt ugly", {"negative_prompt": None}),
        ("--negative_prompt ugly --guidance_scale 2", {"negative_prompt": "ugly", "guidance": 2}),
        ("--negative_prompt ugly --guidance 2", {"negative_prompt": "ugly"}),
        ("--vae_model_path m", {"model": "m"}),
    ],
)
def test_flag_by_flag(line: str, expected: dict[str, Any]) -> None:
    chosen = options("a.png " + line)
    assert {name: getattr(chosen, name) for name in expected} == expected


def test_the_published_texts_need_no_text_encoder() -> None:
    arguments = parser().parse(
        ["--added_prompt", "clean, high-resolution, 8k", "--guidance_scale", "4.5", "--negative_prompt",
         "blurry, dotted, noise, raster lines, unclear, lowres, over-smoothed"]
    )  # fmt: skip
    translated = published.translate(published.Request([], None, {}), arguments)
    assert not translated.options.keys() & {"prompt", "negative_prompt"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--sample_method unipcmultistep", r"--sample_method is 'unipcmultistep' \(the method steps by ddpm"),
        ("--align_method adam", r"--align_method is 'adam' \(choose from wavelet, adain, nofix\)"),
        ("--mixed_precision fp8", r"choose from no, fp16, bf16"),
        ("--upscale 4 --scale 2", "--upscale and --scale are one option"),
        ("--output_dir a -o b", "--output_dir and --output are one option"),
        ("--controlnet_model_path a --vae_model_path b", "are different folders"),
        ("--pretrained_model_path a", "is the base model alone"),
        ("--tile_diffusion --tile_diffusion_stride 600", r"--tile_diffusion_stride is 600 \(choose 1 to 512"),
        ("--tile_vae --vae_decoder_tile_size big", r"--vae_decoder_tile_size is 'big' \(expected a number\)"),
    ],
)
def test_what_has_no_translation_is_refused(line: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        request("a.png " + line)


def test_without_published_flags_nothing_changes() -> None:
    assert options("a.png") == UpscaleOptions()
