"""The form field `mask`, and what a result says of how true it is."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from ccsr.images.resample import enlarge
from helpers import write_picture

from .conftest import Start


def _mask(width: int, height: int, kind: str = "PNG") -> bytes:
    """Black on the left half, white on the right."""
    values = np.zeros((height, width), np.uint8)
    values[:, width // 2 :] = 255
    out = io.BytesIO()
    Image.fromarray(values).save(out, kind)
    return out.getvalue()


def _picture(path: Path) -> tuple[str, bytes]:
    return path.name, write_picture(path, 24, 18).read_bytes()


def test_where_the_mask_is_black_the_enlarged_input_stays(start: Start, tmp_path: Path) -> None:
    serving, photo = start(), _picture(tmp_path / "photo.png")
    files = {"file": photo, "mask": ("mine.tga", _mask(24, 18, "TGA"))}
    answer = serving.client.post("/v1/upscale", files=files, data={"scale": "2"})
    assert answer.status_code == 200, answer.text
    got = np.asarray(Image.open(io.BytesIO(answer.content))).astype(float)
    lq = np.asarray(Image.open(tmp_path / "photo.png"), np.float32) / 255
    plain = np.round(enlarge(lq, 48, 36) * 255)
    np.testing.assert_array_equal(got[:, :20], plain[:, :20])
    assert np.abs(got - plain)[:, 28:].max() > 10
    assert not list((tmp_path / "data" / "jobs").iterdir()), "an answered call leaves nothing behind"


def test_a_job_keeps_its_mask_for_all_its_pictures(start: Start, tmp_path: Path) -> None:
    serving = start()
    files = [("file", _picture(tmp_path / "a.png")), ("file", _picture(tmp_path / "b.png"))]
    for name, more in (("masked", [("mask", ("m.png", _mask(7, 30)))]), ("free", [])):
        answer = serving.client.post("/v1/jobs", files=[*files, *more], data={"consistency": "0.5"})
        assert answer.status_code == 202, answer.text
        told = serving.ended(answer.json()["id"])
        assert [f["status"] for f in told["files"]] == ["done", "done"]
        assert [len(told["inputs"]), told["options"]] == [2, {"consistency": "0.5"}]
        for file in told["files"]:
            assert set(file["consistency"]) == {"psnr", "largest", "scale"}
        if name == "masked":
            (warning,) = told["files"][0]["warnings"]
            assert warning.startswith("the mask, 7x30, has another shape")


def test_what_is_no_mask(start: Start, tmp_path: Path) -> None:
    serving, photo = start(max_megapixels=0.01), _picture(tmp_path / "photo.png")

    def refused(masks: list[tuple[str, bytes]], **fields: str) -> tuple[int, str]:
        files = [("file", photo), *(("mask", mask) for mask in masks)]
        answer = serving.client.post("/v1/upscale", files=files, data=fields)
        return answer.status_code, str(answer.json()["detail"])

    good = ("m.png", _mask(4, 4))
    assert refused([good, good]) == (422, "2 masks (send one, it is laid over every picture)")
    assert refused([], mask="/etc/hostname") == (422, "mask is text (send the picture's bytes with a file name)")
    status, detail = refused([("m.png", b"no picture")])
    assert (status, detail[:44]) == (415, "mask.png: not a picture in a known format (P")
    assert refused([("m.png", _mask(200, 200))])[0] == 413
    assert not list((tmp_path / "data" / "jobs").iterdir())
