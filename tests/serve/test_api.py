"""The HTTP API through its front: a test client, the real pipeline, a tiny model of random weights."""

import errno
import io
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ccsr import CCSRPipeline
from ccsr.errors import OptionError
from ccsr.options import UpscaleOptions, options_of
from ccsr.serve.pages import FOLDER
from helpers import write_picture

from .conftest import Gate, Start


def picture(tmp_path: Path, name: str = "photo.png", width: int = 12, height: int = 8) -> tuple[str, bytes]:
    return name, write_picture(tmp_path / name, width, height).read_bytes()


def problem(answer, status: int) -> str:  # type: ignore[no-untyped-def]
    """The detail of an answer that must be problem+json of this status."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["title"]
    return str(body["detail"])


def test_one_picture_at_once(start: Start, tmp_path: Path, tiny: str) -> None:
    serving = start()
    answer = serving.client.post("/v1/upscale", files={"file": picture(tmp_path)}, data={"scale": "3", "seed": "5"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    assert "photo_x3.png" in answer.headers["content-disposition"]
    got = np.asarray(Image.open(io.BytesIO(answer.content)))
    pipe = CCSRPipeline.from_pretrained(tiny)
    pipe.set_progress_bar_config(disable=True)
    same = pipe(str(tmp_path / "photo.png"), scale=3, seed=5, threads=1, device="cpu").images[0]
    np.testing.assert_array_equal(got, np.asarray(same))
    # A call that was answered leaves nothing behind.
    assert not list((tmp_path / "data" / "jobs").iterdir())


def test_a_job_with_a_broken_picture(start: Start, tmp_path: Path) -> None:
    serving = start()
    id = serving.job(picture(tmp_path), ("notes.txt", b"no picture"), picture(tmp_path, "b.webp"), format="jpeg")
    told = serving.ended(id)
    assert (told["state"], told["progress"], told["error"]) == ("done", 1.0, None)
    assert [(f["input"], f["output"], f["status"]) for f in told["files"]] == [
        ("photo.png", "photo_x4.jpg", "done"), ("notes.txt", None, "failed"), ("b.webp", "b_x4.jpg", "done"),
    ]  # fmt: skip
    assert told["files"][1]["error"].startswith("notes.txt: not a picture in a known format (")
    assert told["options"] == {"format": "jpeg"}
    assert str(tmp_path) not in json.dumps(told)
    whole = serving.client.get(f"/v1/jobs/{id}/result")
    assert whole.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(whole.content)) as archive:
        assert archive.namelist() == ["photo_x4.jpg", "b_x4.jpg"]
        one = serving.client.get(f"/v1/jobs/{id}/result", params={"index": 2})
        assert archive.read("b_x4.jpg") == one.content
    for format, kind in (("png", "PNG"), ("webp", "WEBP"), ("tiff", "TIFF")):
        other = serving.client.get(f"/v1/jobs/{id}/result", params={"index": 0, "format": format})
        opened = Image.open(io.BytesIO(other.content))
        assert (opened.format, opened.size) == (kind, (48, 32))
        assert other.headers["content-type"] == f"image/{format}"
    problem(serving.client.get(f"/v1/jobs/{id}/result", params={"index": 1}), 409)
    problem(serving.client.get(f"/v1/jobs/{id}/result", params={"index": 9}), 404)
    shown = Image.open(io.BytesIO(serving.client.get(f"/v1/jobs/{id}/input?index=2").content))
    assert (shown.format, shown.size) == ("PNG", (12, 8))
    problem(serving.client.get(f"/v1/jobs/{id}/input?index=1"), 415)
    problem(serving.client.get(f"/v1/jobs/{id}/input?index=7"), 404)


def test_where_a_result_departs_from_its_photo(start: Start, tmp_path: Path) -> None:
    serving, photo = start(), picture(tmp_path)
    told = serving.ended(serving.job(photo, ("x.png", b"no picture")))
    good, bad = told["files"]
    assert bad["links"]["difference"] is None
    problem(serving.client.get(f"/v1/jobs/{told['id']}/difference?index=1"), 404)
    for _ in range(2):  # made, and kept
        overlay = Image.open(io.BytesIO(serving.client.get(good["links"]["difference"]).content))
        lq = np.asarray(Image.open(io.BytesIO(photo[1])).convert("RGB"))
        sr = Image.open(io.BytesIO(serving.client.get(good["links"]["result"]).content)).convert("RGB")
        assert (overlay.mode, overlay.size) == ("RGBA", (lq.shape[1], lq.shape[0]))
        reduced = np.asarray(sr.resize(overlay.size, Image.Resampling.LANCZOS), float)
        far = np.minimum(np.abs(reduced - lq).mean(2) / 255, good["consistency"]["scale"])
        assert np.corrcoef(np.asarray(overlay)[..., 3].astype(float).ravel(), far.ravel())[0, 1] > 0.9


def test_samples_and_their_stability_map(start: Start, tmp_path: Path) -> None:
    serving = start()
    told = serving.ended(serving.job(picture(tmp_path), samples="3"))
    assert [f["output"] for f in told["files"]] == ["photo_x4_s00.png", "photo_x4_s01.png", "photo_x4_s02.png"]
    results = [
        np.asarray(Image.open(io.BytesIO(serving.client.get(f["links"]["result"]).content)), np.float64) / 255
        for f in told["files"]
    ]
    std = np.std(results, axis=0).mean(axis=2)
    stability = told["inputs"][0]["stability"]
    assert stability["mean"] == pytest.approx(std.mean(), rel=1e-5)
    assert stability["scale"] == 0.05  # of all pictures, so that their maps compare
    overlay = Image.open(io.BytesIO(serving.client.get(told["inputs"][0]["links"]["stability"]).content))
    assert (overlay.mode, overlay.size) == ("RGBA", (48, 32))
    alpha = np.asarray(overlay)[..., 3].astype(float)
    assert np.corrcoef(alpha.ravel(), np.minimum(std, stability["scale"]).ravel())[0, 1] > 0.9
    single = serving.ended(serving.job(picture(tmp_path)))
    assert single["inputs"][0]["stability"] is None
    problem(serving.client.get(f"/v1/jobs/{single['id']}/stability"), 404)


def test_progress_as_events(start: Start, tmp_path: Path) -> None:
    gate = Gate()
    serving = start(gate)
    id = serving.job(picture(tmp_path), picture(tmp_path, "other.png"))
    assert gate.reached.wait()
    gate.opened.set()
    events = []
    with serving.client.stream("GET", f"/v1/jobs/{id}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for line in stream.iter_lines():
            if line.startswith("event: "):
                events.append([line.removeprefix("event: ")])
            elif line.startswith("data: "):
                events[-1].append(json.loads(line.removeprefix("data: ")))
    names = [name for name, _ in events]
    assert names[-1] == "end"
    assert names.count("file") == 2
    progress = [data["progress"] for name, data in events if name == "progress"]
    assert progress == sorted(progress)
    assert progress[-1] == 1
    assert events[-1][1]["state"] == "done"
    # Asked again after the end, it tells the same end at once.
    again = serving.client.get(f"/v1/jobs/{id}/events").text
    assert again.count("event: file") == 2
    assert again.count("event: end") == 1


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"scale": "9"}, "--scale is 9 (choose 1 to 8)"),
        ({"scael": "2"}, "no option is called scael (did you mean scale?)"),
        ({"steps": "2", "T": "6"}, "--steps excludes --T (give one or the other)"),
        ({"device": "cuda:0"}, "no option is called device"),
        ({"base_model": "/etc"}, "no option is called base_model"),
        ({"threads": "64"}, "no option is called threads"),
        ({"intermediates": "true"}, "no option is called intermediates"),
        ({"model": "/etc"}, "no model is called /etc (choose from tiny, nano)"),
        ({"model": "someone/model"}, "no model is called someone/model (choose from tiny, nano)"),
        ({"samples": "500"}, "500 results, the limit is 200 (ask for fewer --samples)"),
    ],
)
def test_bad_options(start: Start, tmp_path: Path, fields: dict[str, str], detail: str) -> None:
    serving = start()
    for address in ("/v1/jobs", "/v1/upscale"):
        answer = serving.client.post(address, files={"file": picture(tmp_path)}, data=fields)
        if address == "/v1/jobs" or "samples" not in fields:
            assert problem(answer, 422).startswith(detail)
    assert not list((tmp_path / "data" / "jobs").iterdir())


def test_bad_bodies(start: Start, tmp_path: Path) -> None:
    serving = start(max_files=2)
    post = serving.client.post
    assert "field called file" in problem(post("/v1/upscale", json={"file": "x"}), 422)
    assert problem(post("/v1/upscale", files={"picture": picture(tmp_path)}), 422) == (
        "the field picture is a file (send it once, as text)"
    )
    no_file = {"content": b'--x\r\nContent-Disposition: form-data; name="scale"\r\n\r\n2\r\n--x--\r\n'}
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert problem(post("/v1/upscale", headers=headers, **no_file), 422) == (
        "there is no picture (send at least one in a field called file)"
    )
    assert problem(post("/v1/upscale", files=[("file", picture(tmp_path))] * 2), 422) == (
        "2 pictures (send one, or post them to /v1/jobs)"
    )
    assert problem(post("/v1/upscale", files={"file": picture(tmp_path)}, data={"scale": ["2", "3"]}), 422) == (
        "the field scale is there twice (send it once, as text)"
    )
    assert problem(post("/v1/upscale", files={"file": picture(tmp_path)}, data={"samples": "2"}), 422) == (
        "--samples above 1 gives several pictures (post it to /v1/jobs)"
    )
    assert problem(post("/v1/jobs", files=[("file", picture(tmp_path))] * 3), 413) == (
        "3 pictures, the limit is 2 (send fewer at once)"
    )
    assert problem(post("/v1/upscale", files={"file": ("x.heic", b"\0\0\0\x18ftypheic" + bytes(99))}), 415).startswith(
        "x.heic: cannot be read: "
    )
    cut = picture(tmp_path)[1][:60]
    assert problem(post("/v1/upscale", files={"file": ("cut.png", cut)}), 415).startswith("cut.png: cannot be read")
    assert not list((tmp_path / "data" / "jobs").iterdir())


def test_names_of_clients_are_never_paths(start: Start, tmp_path: Path) -> None:
    serving = start()
    told = serving.ended(serving.job(("../../../etc/pass<wd.png", picture(tmp_path)[1]), ("..", picture(tmp_path)[1])))
    assert [f["output"] for f in told["files"]] == ["passwd_x4.png", "picture_x4.png"]
    files = {p.relative_to(tmp_path / "data" / "jobs" / told["id"]).as_posix() for p in
             (tmp_path / "data" / "jobs" / told["id"]).rglob("*") if p.is_file()}  # fmt: skip
    assert {"input/000.png", "input/001", "result/000.png", "result/001.png"} <= files


def test_limits_are_named(start: Start, tmp_path: Path) -> None:
    serving = start(max_megapixels=0.01, max_output_megapixels=0.02, max_megabytes=0.1)
    post = serving.client.post
    big = picture(tmp_path, "big.png", 120, 100)
    assert problem(post("/v1/upscale", files={"file": big}), 413) == (
        "big.png: 120x100 is 0.0 megapixels, the limit is 0.01 (cut or shrink it first)"
    )
    wide = picture(tmp_path, "wide.png", 60, 40)
    assert problem(post("/v1/jobs", files={"file": wide}), 413) == (
        "wide.png: the result has 0.0 megapixels, the limit is 0.02 (choose a smaller --scale)"
    )
    long = "the request is longer than 0.1 megabytes, the limit (send fewer or smaller files)"
    assert problem(post("/v1/jobs", files={"file": ("x.png", bytes(150_000))}), 413) == long

    def chunks():  # type: ignore[no-untyped-def]
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        yield from [bytes(50_000)] * 4
        yield b"\r\n--x--\r\n"

    # Without a length the bytes are counted as they come.
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert problem(post("/v1/jobs", content=chunks(), headers=headers), 413) == long


def test_one_photo_too_large_fails_alone(start: Start, tmp_path: Path) -> None:
    serving = start(max_output_megapixels=0.01)
    wide, small = picture(tmp_path, "wide.png", 60, 40), picture(tmp_path)
    told = serving.ended(serving.job(wide, small))
    assert told["state"] == "done"
    assert [(f["input"], f["status"]) for f in told["files"]] == [("wide.png", "failed"), ("photo.png", "done")]
    assert told["files"][0]["error"] == (
        "wide.png: the result has 0.0 megapixels, the limit is 0.01 (choose a smaller --scale)"
    )


def test_what_photos_would_become(start: Start, tmp_path: Path) -> None:
    serving = start(max_output_megapixels=48, job_seconds=1)
    photos = [
        {"width": 4000, "height": 3000, "scales": [2, 4, "3/2"]}, {"width": 12, "height": 8, "scales": ["1"]},
        {"width": 9000, "height": 9000},
    ]  # fmt: skip
    while True:  # until the server knows how fast it is
        phone, small, huge = serving.client.post("/v1/plan", json={"photos": photos}).json()["photos"]
        if phone["choices"][0]["seconds"]:
            break
    twice, four, half = phone["choices"]
    assert (twice["width"], twice["height"], twice["problem"], twice["late"]) == (8000, 6000, None, True)
    assert (half["scale"], half["width"], half["height"]) == (1.5, 6000, 4500)
    # What is told is what the request would be told.
    assert (four["width"], four["problem"]) == (
        None, "the result has 192.0 megapixels, the limit is 48 (choose a smaller --scale)"
    )  # fmt: skip
    assert (phone["largest"]["scale"], phone["largest"]["width"]) == (2, 8000)
    assert (small["largest"]["scale"], small["largest"]["width"], small["largest"]["late"]) == (8, 96, False)
    assert huge["largest"]["problem"].startswith("the result has 81.0 megapixels, the limit is 48")
    # The time is that of all samples, nearly: a job has a part that does not grow.
    several = {"photos": photos[:1], "options": {"samples": "3"}}
    assert serving.client.post("/v1/plan", json=several).json()["photos"][0]["choices"][0]["seconds"] == pytest.approx(
        3 * twice["seconds"], rel=0.1
    )
    bad = {"photos": photos[:1], "options": {"steps": "99"}}
    assert problem(serving.client.post("/v1/plan", json=bad), 422).startswith("--steps is 99")
    bad = {"photos": [{"width": 5, "height": 5, "scales": [9]}]}
    assert problem(serving.client.post("/v1/plan", json=bad), 422).startswith("--scale is 9")


def test_results_of_several_jobs_in_one_archive(start: Start, tmp_path: Path) -> None:
    serving = start()
    jobs = [serving.job(picture(tmp_path)), serving.job(picture(tmp_path), picture(tmp_path, "b.png"))]
    for id in jobs:
        serving.ended(id)
    answer = serving.client.get("/v1/results", params={"id": jobs, "format": "webp"})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["photo_x4.webp", "photo_x4-2.webp", "b_x4.webp"]
        assert Image.open(io.BytesIO(archive.read("b_x4.webp"))).size == (48, 32)
    problem(serving.client.get("/v1/results", params={"id": [*jobs, "0123"]}), 404)
    problem(serving.client.get("/v1/results"), 422)


def test_options_that_exclude_each_other_are_in_the_schema(start: Start) -> None:
    schema = start().client.get("/v1/options").json()
    pairs = {tuple(rule["not"]["required"]) for rule in schema["allOf"]}
    assert {("scale", "width"), ("height", "megapixels"), ("steps", "T"), ("steps", "t_min")} <= pairs
    names = list(schema["properties"])
    for one, other in pairs:
        values = {name: "2" if name != "t_min" else "1/2" for name in (one, other)}
        with pytest.raises(OptionError):
            UpscaleOptions.from_mapping(values, "http")
        assert {one, other} <= set(names)


@pytest.mark.parametrize("where", ["starlette", "store"])
def test_a_full_disk_is_told(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    serving, photo = start(), picture(tmp_path)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fails(*_: object, **__: object) -> None:
        raise full

    monkeypatch.setattr(*((shutil, "copyfileobj") if where == "starlette" else (Path, "mkdir")), fails)
    for address in ("/v1/jobs", "/v1/upscale"):
        told = problem(serving.client.post(address, files={"file": photo}), 507)
        assert "disk is full" in told
        assert str(tmp_path) not in told


def test_every_method_of_an_address_is_told(start: Start) -> None:
    client = start().client
    answer = client.options("/v1/jobs/0123")
    assert answer.status_code == 204
    assert set(answer.headers["allow"].split(", ")) == {"DELETE", "GET", "OPTIONS"}
    answer = client.put("/v1/jobs/0123")
    assert problem(answer, 405) == "PUT is not for this address"
    assert set(answer.headers["allow"].split(", ")) == {"DELETE", "GET", "OPTIONS"}


def test_what_is_not_there(start: Start) -> None:
    client = start().client
    problem(client.get("/v1/jobs/0123"), 404)
    problem(client.get("/v1/jobs/0123/events"), 404)
    problem(client.get("/v1/jobs/0123/result"), 404)
    problem(client.delete("/v1/jobs/0123"), 404)
    problem(client.get("/nowhere"), 404)
    assert problem(client.put("/v1/options"), 405)
    problem(client.get("/page/../app.py"), 404)
    problem(client.get("/page/%2e%2e/app.py"), 404)


def test_options_models_health(start: Start, tiny: str) -> None:
    client = start(queue=3).client
    schema = client.get("/v1/options").json()
    assert list(schema["properties"]) == [o.name for o in options_of(UpscaleOptions, "http")]
    assert schema["properties"]["model"]["enum"] == ["tiny", "nano"]
    assert schema["properties"]["steps"]["x-ends"] == ["faithful", "detailed"]
    for option in options_of(UpscaleOptions, "http"):
        known = schema["properties"][option.name]
        assert known["description"] == option.help
        assert known["x-flag"] == option.flag
        if option.name != "model":
            # What the schema calls the default is the default.
            assert option.parse(known.get("default")) == option.default
    models = client.get("/v1/models").json()
    assert [(m["name"], m["default"], m["prompts"]) for m in models] == [
        ("tiny", True, False), ("nano", False, False),
    ]  # fmt: skip
    health = client.get("/healthz").json()
    assert (health["status"], health["queue"], health["waiting"], health["devices"]) == ("ok", 3, 0, ["cpu"])
    assert health["limits"]["max_megabytes"] == 256


def test_the_page_asks_nobody_else(start: Start) -> None:
    client = start().client
    scripts = [f"/page/{path.name}" for path in FOLDER.iterdir() if path.suffix in (".js", ".css")]
    for address in ("/", "/docs", *scripts):
        answer = client.get(address)
        assert answer.status_code == 200
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        text = answer.text.replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text
        assert "https://" not in text


def test_token(start: Start, tmp_path: Path) -> None:
    client = start(host="0.0.0.0", token="secret").client  # noqa: S104, S106
    assert client.get("/").status_code == 200
    assert client.get("/healthz").json()["needs_token"] is True
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic secret"}):
        answer = client.post("/v1/upscale", files={"file": picture(tmp_path)}, headers=headers)
        problem(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"
        problem(client.get("/v1/options", headers=headers), 401)
    right = {"Authorization": "Bearer secret"}
    assert client.post("/v1/upscale", files={"file": picture(tmp_path)}, headers=right).status_code == 200
    assert client.get("/openapi.json").json()["security"] == [{"token": []}]


def test_other_sites_and_other_names(start: Start, tmp_path: Path) -> None:
    client = start().client
    problem(client.get("/v1/options", headers={"Host": "evil.example"}), 403)
    assert client.get("/v1/options", headers={"Host": "localhost:8765"}).status_code == 200
    body = {"files": {"file": picture(tmp_path)}}
    problem(client.post("/v1/upscale", headers={"Origin": "http://evil.example"}, **body), 403)
    assert client.post("/v1/upscale", headers={"Origin": "http://127.0.0.1"}, **body).status_code == 200
    # What a browser says of the page that asks.
    for site, mode, dest, method, status in (
        ("cross-site", "no-cors", "image", "GET", 403), ("same-site", "cors", "empty", "POST", 403),
        ("cross-site", "navigate", "iframe", "GET", 403), ("cross-site", "navigate", "document", "GET", 200),
        ("same-origin", "cors", "empty", "GET", 200), ("none", "navigate", "document", "GET", 200),
    ):  # fmt: skip
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}
        assert (
            client.request(method, "/healthz" if method == "GET" else "/v1/jobs", headers=headers).status_code == status
        )


@pytest.mark.parametrize(
    "headers",
    [{"Host": "[::1"}, {"Host": "localhost:http"}, {"Host": "localhost:99999"}, {"Host": "a b"},
     {"Origin": "http://[::1"}, {"Origin": "http://localhost:x"}],
)  # fmt: skip
def test_a_host_or_origin_that_is_none(start: Start, headers: dict[str, str]) -> None:
    problem(start().client.get("/v1/options", headers=headers), 400)
