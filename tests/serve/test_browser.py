"""The page in a real browser: headless Chromium, driven by playwright; the server is a real one with nano."""

import io
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import skimage.data
from PIL import Image

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("fastapi", reason='the extra "serve" is not installed')

from ccsr.serve.service import Service
from ccsr.serve.settings import ServeSettings

from .conftest import listening_at

CHROMIUM = os.environ.get("CCSR_BROWSER") or next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no browser: apt-get install chromium, or set CCSR_BROWSER")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    known = {"data": str(tmp_path_factory.mktemp("browser")), "threads": 1, "device": "cpu"}
    with listening_at(Service(ServeSettings.from_mapping(known))) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        # Without its sandbox, which a container's root may not use; it only ever opens our own page.
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page, opened; whatever it asks of other hosts or complains about fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, permissions=["clipboard-read"])
    context.set_default_timeout(0)  # a busy machine takes its time
    opened = context.new_page()
    strangers, complaints = [], []

    def asked(request: Any) -> None:
        if not request.url.startswith((address, "blob:", "data:")):
            strangers.append(request.url)

    opened.on("request", asked)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    open_page(opened, address)
    yield opened
    context.close()
    assert strangers == []
    assert [c for c in complaints if "415" not in c] == []


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("photos")
    made = {"cat.png": (skimage.data.chelsea(), (480, 320)), "coffee.jpg": (skimage.data.coffee(), (90, 60)),
            "large.png": (skimage.data.astronaut(), (420, 420))}  # fmt: skip
    for name, (array, size) in made.items():
        Image.fromarray(array).resize(size, Image.Resampling.LANCZOS).save(folder / name)
    Image.fromarray(skimage.data.coffee()).resize((60, 40)).save(folder / "scan.tif")
    (folder / "notes.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    return {path.name: path for path in folder.iterdir()}


def until(page: Any, condition: str) -> None:
    """Wait for a JavaScript condition; the page's own policy forbids the driver's way, which evaluates text."""
    for _ in range(6000):
        if page.evaluate(f"() => {condition}"):
            return
        page.wait_for_timeout(50)
    raise AssertionError(condition)


def open_page(page: Any, address: str) -> None:
    """Open the page and wait until it has its options: a photo given earlier is shown without them for a moment."""
    page.goto(address)
    page.locator("#front .field").first.wait_for(state="attached")


def choose(page: Any, group: str, value: str) -> None:
    """Choose a chip as a hand does, by its words; the radio button itself is transparent."""
    chip = page.locator(f"{group} label", has=page.locator(f"input[value='{value}']"))
    chip.click()
    assert chip.locator("input").is_checked()


def finish(page: Any) -> None:
    page.locator("#done").wait_for(state="visible")


def test_a_photo_from_choosing_to_the_right_bytes(page: Any, address: str, photos: dict[str, Path]) -> None:
    assert page.locator("h1").is_visible()
    assert not page.locator("#panel").is_visible()
    page.set_input_files("#files", photos["cat.png"])
    page.get_by_role("button", name="Upscale photo").wait_for()
    assert page.locator("#facts").inner_text() == "480 × 320"
    choose(page, "#option-scale", "3")
    page.locator("#option-steps").fill("2")
    assert page.locator("#line").inner_text() == "ccsr upscale cat.png --scale 3 --steps 2"
    page.evaluate(
        """() => {
            window.seen = [];
            new MutationObserver(() => window.seen.push([document.querySelector("#progress").value,
                document.querySelector("#working-left").textContent]))
                .observe(document.querySelector("#progress"), {attributes: true});
        }"""
    )
    page.locator("#go").click()
    finish(page)
    seen = page.evaluate("window.seen")
    values = [value for value, _ in seen]
    assert any(0 < value < 1 for value in values), values
    assert values == sorted(values)
    assert any(re.fullmatch(r"\d+ % · about .* left", words) for _, words in seen), seen
    assert page.locator("#facts").inner_text().startswith("480 × 320 → 1440 × 960")

    with page.expect_download() as waiting:
        page.locator("#save").click()
    assert waiting.value.suggested_filename == "cat_x3.png"
    saved = Path(waiting.value.path()).read_bytes()
    direct = httpx2.post(
        f"{address}/v1/upscale", files={"file": photos["cat.png"].read_bytes()}, data={"scale": "3", "steps": "2"},
        timeout=None,
    )  # fmt: skip
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(saved))), np.asarray(Image.open(io.BytesIO(direct.content)))
    )
    page.locator("#save-as").select_option("webp")
    with page.expect_download() as waiting:
        page.locator("#save").click()
    assert waiting.value.suggested_filename == "cat_x3.webp"
    assert Image.open(waiting.value.path()).format == "WEBP"
    # A changed option offers the work again; the reloaded page still has the result.
    page.locator("#option-steps").fill("1")
    assert page.locator("#go").inner_text() == "Upscale again"
    page.reload()
    finish(page)
    assert page.locator("#facts").inner_text().startswith("480 × 320 → 1440 × 960")


def test_the_border_moves_by_mouse_and_keys(page: Any, photos: dict[str, Path]) -> None:
    page.set_input_files("#files", photos["coffee.jpg"])
    page.locator("#go").click()
    finish(page)

    def border() -> float:
        return float(
            page.evaluate("parseFloat(getComputedStyle(document.querySelector('#compare')).getPropertyValue('--cut'))")
        )

    assert border() == 50
    box = page.locator("#compare").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 40, steps=4)
    page.mouse.up()
    assert border() == pytest.approx(20, abs=1)
    page.locator("#cut").focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert border() == pytest.approx(25, abs=1.5)
    assert re.fullmatch(r"2\d % input, 7\d % result", page.locator("#cut").get_attribute("aria-valuetext"))

    # The loupe shows the result's own pixels: at 4:1 one of them is sixteen on the screen.
    choose(page, "#loupes", "4")
    page.mouse.move(box["x"] + 40, box["y"] + 40)
    page.mouse.move(box["x"] + box["width"] / 2, page.locator("#compare").bounding_box()["y"] + 60)
    pixels = page.evaluate(
        """() => {
            const canvas = document.querySelector("#loupe-after");
            return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
        }"""
    )
    size = page.evaluate(
        "[document.querySelector('#loupe-after').width, document.querySelector('#loupe-after').height]"
    )
    array = np.array(pixels, np.uint8).reshape(size[1], size[0], 4)
    columns = (array[:, 1:] != array[:, :-1]).any(axis=(0, 2)).nonzero()[0]
    assert len(columns) > 20
    assert len({int(c) % 4 for c in columns}) == 1
    before = page.evaluate("document.querySelector('#frame').style.left")
    page.locator("#loupe").focus()
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.querySelector('#frame').style.left") != before


def test_cancel_midway(page: Any, address: str, photos: dict[str, Path]) -> None:
    page.set_input_files("#files", photos["large.png"])
    page.locator("#go").click()
    until(page, "document.querySelector('#progress').value > 0.05")
    page.locator("#cancel").click()
    page.locator("#go").wait_for(state="visible")
    assert page.locator("#alert").inner_text() == "Cancelled."
    assert page.locator("#progress").evaluate("bar => bar.value") < 1
    health = httpx2.get(f"{address}/healthz").json()
    assert (health["running"], health["waiting"]) == (0, 0)
    assert page.locator("#go").inner_text() == "Upscale photo"


def test_several_samples_a_map_and_a_broken_file(page: Any, photos: dict[str, Path]) -> None:
    page.set_input_files("#files", [photos[n] for n in ("coffee.jpg", "notes.heic", "scan.tif")])
    page.get_by_role("button", name="Upscale 3 photos").wait_for()
    choose(page, "#option-samples", "2")
    choose(page, "#option-scale", "2")
    page.locator("#go").click()
    finish(page)
    choose(page, "#views", "all")
    assert page.locator("#grid figure").count() == 2
    assert not page.locator("#legend").is_visible()
    page.locator("#map-on").check()
    assert page.locator("#grid figure img").count() == 4
    assert re.fullmatch(r"differs by \d+\.\d of 255 levels or more", page.locator("#legend-high").inner_text())
    widths = page.locator("#grid figure img").evaluate_all("all => all.map((image) => image.naturalWidth)")
    assert widths == [180] * 4
    thumbs = page.locator("#strip .thumb")
    assert thumbs.nth(1).get_attribute("aria-label") == "notes.heic, failed"
    thumbs.nth(1).click()
    assert page.locator("#failure").inner_text().startswith("notes.heic: cannot be read: ")
    thumbs.nth(2).click()
    # No browser shows TIFF: the server's copy is shown.
    until(page, "document.querySelector('#before').naturalWidth === 60")
    with page.expect_download() as waiting:
        page.locator("#save-all").click()
    with zipfile.ZipFile(waiting.value.path()) as archive:
        assert archive.namelist() == [
            "coffee_x2_s00.jpg", "coffee_x2_s01.jpg", "scan_x2_s00.tif", "scan_x2_s01.tif",
        ]  # fmt: skip


def test_drop_and_paste(page: Any, photos: dict[str, Path]) -> None:
    """Files arrive as the browser hands them over after a drop and a paste."""
    make = """(name) => {
        const canvas = new OffscreenCanvas(20, 10);
        canvas.getContext("2d").fillRect(0, 0, 9, 9);
        return canvas.convertToBlob().then((blob) => {
            const carrier = new DataTransfer();
            carrier.items.add(new File([blob], name, {type: "image/png"}));
            return carrier;
        });
    }"""
    dropped = page.evaluate_handle(make, "dropped.png")
    page.dispatch_event("body", "dragenter", {"dataTransfer": dropped})
    assert page.locator("#over").is_visible()
    page.dispatch_event("body", "drop", {"dataTransfer": dropped})
    page.locator("#strip .thumb").first.wait_for()
    assert not page.locator("#over").is_visible()
    page.evaluate(
        f"""async () => {{
            const carrier = await ({make})("pasted.png");
            document.body.dispatchEvent(new ClipboardEvent("paste", {{clipboardData: carrier, bubbles: true}}));
        }}"""
    )
    page.locator("#strip .thumb").nth(1).wait_for()
    assert page.locator("#name").inner_text() == "pasted.png"
    page.get_by_label("Remove dropped.png").click(force=True)
    assert page.locator("#strip .thumb").count() == 1


def test_by_keyboard_alone(page: Any, photos: dict[str, Path]) -> None:
    choosers: list[Any] = []
    # Long before the key: the driver's wish to hear of choosers takes a moment to arrive.
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    page.bring_to_front()
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.id") == "choose":
            break
    assert page.evaluate("() => document.activeElement.id") == "choose"
    page.keyboard.press("Enter")
    for _ in range(100):
        if choosers:
            break
        page.wait_for_timeout(50)
    choosers[0].set_files(photos["coffee.jpg"])
    page.locator("#go").wait_for()
    page.locator("#go").focus()
    page.keyboard.press("Enter")
    finish(page)
    assert page.evaluate("document.activeElement.id") == "save"
    assert page.locator("#say").inner_text() == "Done: 1 of 1"
    # Everything that can be operated has a name that a screen reader says.
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input:not([type=file]), select, a, summary")]
            .filter((one) => one.checkVisibility())
            .filter((one) => !(one.getAttribute("aria-label") || one.textContent.trim() || one.labels?.length))
            .map((one) => one.outerHTML)"""
    )
    assert nameless == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone(browser: Any, address: str, photos: dict[str, Path], scheme: str) -> None:
    context = browser.new_context(
        viewport={"width": 360, "height": 740}, device_scale_factor=2, is_mobile=True, has_touch=True,
        color_scheme=scheme,
    )  # fmt: skip
    context.set_default_timeout(0)
    phone = context.new_page()
    open_page(phone, address)
    phone.set_input_files("#files", [photos["cat.png"], photos["coffee.jpg"]])
    choose(phone, "#option-samples", "2")
    phone.locator("#go").tap()
    finish(phone)
    for view in ("compare", "all"):
        choose(phone, "#views", view)
        # Nothing is wider than the phone.
        assert phone.evaluate("document.documentElement.scrollWidth") <= 360
    colors = phone.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
    ground, ink = (sum(map(int, re.findall(r"\d+", color)[:3])) / 3 for color in colors)
    assert (ground > ink) == (scheme == "light")
    assert abs(ground - ink) > 150
    context.close()


def test_a_token_is_asked_for(browser: Any, tmp_path: Path, photos: dict[str, Path], tiny: str) -> None:
    known = {"model": tiny, "data": str(tmp_path), "threads": 1, "device": "cpu", "token": "secret"}
    with listening_at(Service(ServeSettings.from_mapping(known))) as address:
        context = browser.new_context()
        context.set_default_timeout(0)  # a busy machine takes its time
        opened = context.new_page()
        opened.goto(address)
        opened.locator("#token").fill("secret")
        opened.keyboard.press("Enter")
        opened.set_input_files("#files", photos["coffee.jpg"])
        opened.locator("#go").click()
        finish(opened)
        assert opened.locator("#after").evaluate("image => image.naturalWidth") == 360
        context.close()
