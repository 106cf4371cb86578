"""The page in a real browser: headless Chromium, driven by playwright; the server is a real one with nano."""

import io
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import skimage.data
from PIL import Image

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
pytest.importorskip("fastapi", reason='the extra "serve" is not installed')

from ccsr.images.resample import enlarge
from ccsr.serve.service import Service
from ccsr.serve.settings import ServeSettings
from ccsr.serve.worker import load_pipeline

from .conftest import Gate, listening_at

CHROMIUM = os.environ.get("CCSR_BROWSER") or next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no browser: apt-get install chromium, or set CCSR_BROWSER")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    known = {"data": str(tmp_path_factory.mktemp("browser")), "threads": 1, "device": "cpu"}
    with listening_at(Service(ServeSettings.from_mapping(known))) as address:
        yield address


@pytest.fixture
def serving(tmp_path: Path, tiny: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Start a server with a tiny model and settings of the test's own; a gate keeps its work waiting."""
    monkeypatch.setenv("CCSR_HOME", str(tmp_path / "home"))
    with ExitStack() as stack:

        def start(gate: Gate | None = None, **settings: Any) -> str:
            known = {"model": tiny, "data": str(tmp_path / "data"), "threads": 1, "device": "cpu", **settings}
            service = Service(ServeSettings.from_mapping(known), gate.factory if gate else load_pipeline)
            return str(stack.enter_context(listening_at(service)))

        yield start


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        # Without its sandbox, which a container's root may not use; it only ever opens our own page.
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open the page of a server; whatever it asks of other hosts or complains about fails the test."""
    strangers: list[str] = []
    complaints: list[str] = []
    contexts = []

    def open_at(address: str, **settings: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **settings})
        contexts.append(context)
        context.set_default_timeout(0)  # a busy machine takes its time
        page = context.new_page()

        def asked(request: Any) -> None:
            if not request.url.startswith((address.partition("/#")[0], "blob:", "data:")):
                strangers.append(request.url)

        page.on("request", asked)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        open_page(page, address)
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert strangers == []
    # The browser itself notes refusals and lost connections, which some tests bring about.
    assert [c for c in complaints if not c.startswith("Failed to load resource")] == []


@pytest.fixture
def page(opened: Callable[..., Any], address: str) -> Any:
    """The page of the server with nano."""
    return opened(address)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("photos")
    made = {
        "cat.png": (skimage.data.chelsea(), (120, 80)),
        "coffee.jpg": (skimage.data.coffee(), (90, 60)),
        "large.png": (skimage.data.astronaut(), (420, 420)),
        "phone.jpg": (skimage.data.coffee(), (4000, 3000)),
    }
    for name, (array, size) in made.items():
        Image.fromarray(array).resize(size, Image.Resampling.LANCZOS).save(folder / name)
    Image.fromarray(skimage.data.coffee()).resize((60, 40)).save(folder / "scan.tif")
    (folder / "broken.jpg").write_bytes((folder / "coffee.jpg").read_bytes()[:300])
    (folder / "notes.png").write_text("Not a picture, whatever its name says.\n", encoding="ascii")
    (folder / "empty.jpg").touch()
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


def choose_size(page: Any, value: str) -> None:
    """Choose a size by its row."""
    page.locator("#sizes label", has=page.locator(f"input[value='{value}']")).click()


def upscale(page: Any) -> None:
    """Press the button and wait for results."""
    page.locator("#go").click()
    finish(page)


def finish(page: Any) -> None:
    page.locator("#done").wait_for(state="visible")
    until(
        page,
        "document.querySelector('#after').naturalWidth > 0 || document.querySelector('#failure').checkVisibility()",
    )


def set_to_work(page: Any, gate: Gate, files: Path | list[Path]) -> None:
    """Choose photos, press the button, and wait until the server has the first of them in hand, where the gate is."""
    page.set_input_files("#files", files)
    page.locator("#go").click()
    assert gate.reached.wait()


def accessible(page: Any, sizes: bool = True) -> None:
    """No finding of axe, the rules of WCAG 2.2 and its best practices, in what is shown now.

    `sizes` asks for targets of 24 pixels; where a bar lies over what scrolls, some target is half covered at any time.
    """
    found = axe.Axe().run(page, options={"rules": {"target-size": {"enabled": sizes}}})
    assert found.response["violations"] == [], found.generate_report()
    assert page.locator("h1:visible, h1.unseen:not([hidden])").count() == 1
    assert page.evaluate("() => document.activeElement !== null")


def test_a_photo_from_choosing_to_the_right_bytes(page: Any, address: str, photos: dict[str, Path]) -> None:
    assert page.locator("#hero h1").is_visible()
    assert not page.locator("#panel").is_visible()
    page.set_input_files("#files", photos["large.png"])
    page.get_by_role("button", name="Upscale photo").wait_for()
    until(page, "document.querySelector('#summary').textContent.includes('about')")
    assert page.locator("#facts").inner_text() == "420 × 420"
    page.locator("#other-size").fill("3")
    page.get_by_text("More options").click()
    page.locator("#option-consistency").fill("0.5")
    until(page, "document.querySelector('#summary').textContent.includes('at 3×')")
    assert re.fullmatch(r"0\.2 MP → 1\.6 MP at 3×, about .+", page.locator("#summary").inner_text())
    assert page.locator("#line").inner_text() == "ccsr upscale large.png --consistency 0.5 --scale 3"
    page.evaluate(
        """() => {
            window.seen = [];
            new MutationObserver(() => window.seen.push([document.querySelector("#progress").value,
                document.querySelector("#working-left").textContent]))
                .observe(document.querySelector("#progress"), {attributes: true});
        }"""
    )
    upscale(page)
    seen = page.evaluate("window.seen")
    values = [value for value, _ in seen]
    assert any(0 < value < 1 for value in values), values
    assert values == sorted(values)
    assert any(re.fullmatch(r"\d+ % · about .* left", words) for _, words in seen), seen
    assert page.locator("#facts").inner_text().startswith("420 × 420 → 1260 × 1260")

    with page.expect_download() as waiting:
        page.locator("#save").click()
    assert waiting.value.suggested_filename == "large_x3.png"
    saved = Path(waiting.value.path()).read_bytes()
    direct = httpx2.post(
        f"{address}/v1/upscale", files={"file": photos["large.png"].read_bytes()},
        data={"scale": "3", "consistency": "0.5"}, timeout=None,
    )  # fmt: skip
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(saved))), np.asarray(Image.open(io.BytesIO(direct.content)))
    )
    page.locator("#save-as").select_option("webp")
    with page.expect_download() as waiting:
        page.locator("#save").click()
    assert waiting.value.suggested_filename == "large_x3.webp"
    assert Image.open(waiting.value.path()).format == "WEBP"
    # A changed option offers the work again; the reloaded page has the result, its options and its command line.
    page.locator("#option-consistency").fill("0")
    assert page.locator("#go").inner_text() == "Upscale again"
    page.reload()
    finish(page)
    assert page.locator("#facts").inner_text().startswith("420 × 420 → 1260 × 1260")
    assert page.locator("#option-consistency").input_value() == "0.5"
    assert page.locator("#other-size").input_value() == "3"
    assert page.locator("#line").inner_text() == "ccsr upscale large.png --consistency 0.5 --scale 3"
    assert not page.locator("#go").is_visible()


def test_steps_are_offered_where_they_change_something(
    page: Any, photos: dict[str, Path], opened: Callable[..., Any], serving: Callable[..., Any]
) -> None:
    """nano has use for one alone; with another model at hand there are four."""
    page.set_input_files("#files", photos["cat.png"])
    page.locator("#option-samples").wait_for()
    assert page.locator("#option-steps").count() == 0
    other = opened(serving())
    other.set_input_files("#files", photos["cat.png"])
    other.locator("#option-samples").wait_for()
    assert other.locator("#option-steps").get_attribute("max") == "4"


# -- sizes ------------------------------------------------------------------------------------------------------------


def test_a_phone_photo_gets_a_size_that_fits(page: Any, photos: dict[str, Path]) -> None:
    page.set_input_files("#files", photos["phone.jpg"])
    until(page, "/^12 MP → 48 MP at 2×, about /.test(document.querySelector('#summary').textContent)")
    assert page.locator("#sizes input[value='2']").is_checked()
    details = dict(page.locator("#sizes .size").evaluate_all(
        "rows => rows.map((row) => [row.querySelector('input').value, row.querySelector('.size-detail').textContent])"
    ))  # fmt: skip
    assert details["4"] == "16000 × 12000"
    assert details["print"] == "large enough already"
    assert details["most"] == "18880 × 14160"
    assert details["1"] == "4000 × 3000"
    choose_size(page, "most")
    assert page.locator("#line").inner_text() == "ccsr upscale phone.jpg --scale 4.72"


def test_sizes_that_do_not_fit_say_why(opened: Callable[..., Any], serving: Callable[..., Any],
                                       photos: dict[str, Path]) -> None:  # fmt: skip
    page = opened(serving(max_output_megapixels=0.1))
    page.set_input_files("#files", photos["cat.png"])
    until(page, "document.querySelector('#size-4').textContent === 'the result has 0.2 megapixels, the limit is 0.1'")
    assert page.locator("#sizes input[value='4']").is_disabled()
    assert page.locator("#sizes input[value='2']").is_checked()
    # Beside a small photo the choice is there, and the large one is made as large as fits.
    page.set_input_files("#files", photos["coffee.jpg"])
    until(page, "!document.querySelector('#sizes input[value=\"4\"]').disabled")
    choose_size(page, "4")
    assert "1 of 2 would be too large and are made as large as fits." in page.locator("#summary").inner_text()
    upscale(page)
    page.locator("#strip .thumb").nth(0).click()
    until(page, "document.querySelector('#facts').textContent.startsWith('120 × 80 → 386 × 258')")
    page.locator("#strip .thumb").nth(1).click()
    until(page, "document.querySelector('#facts').textContent.startsWith('90 × 60 → 360 × 240')")


def test_more_photos_than_one_request_takes(opened: Callable[..., Any], serving: Callable[..., Any],
                                            photos: dict[str, Path], tmp_path: Path) -> None:  # fmt: skip
    """Sixty photos go where one request takes two, and four jobs may wait."""
    page = opened(serving(max_files=2, max_megabytes=0.02, queue=4))
    many = []
    for number in range(60):
        many.append(tmp_path / f"{number:02d}.png")
        Image.new("RGB", (8, 6), (4 * number, 99, 200)).save(many[-1])
    page.set_input_files("#files", many)
    page.get_by_role("button", name="Upscale 60 photos").wait_for()
    upscale(page)
    until(page, "document.querySelectorAll('#strip .badge.good').length === 60")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download all (60)").click()
    with zipfile.ZipFile(waiting.value.path()) as archive:
        assert archive.namelist() == [f"{number:02d}_x4.png" for number in range(60)]


def test_files_that_are_no_photos_are_told_at_once(page: Any, photos: dict[str, Path]) -> None:
    page.set_input_files("#files", [photos["notes.png"], photos["empty.jpg"]])
    page.locator("#alert-empty").wait_for()
    told = page.locator("#alert-empty").inner_text()
    assert told.split("\n") == ["notes.png is a text and no picture.", "empty.jpg is empty."]
    assert page.locator("#hero h1").is_visible()
    # A good one beside them goes on.
    page.set_input_files("#files", [photos["notes.png"], photos["coffee.jpg"]])
    page.get_by_role("button", name="Upscale photo").wait_for()
    assert page.locator("#alert").inner_text() == "notes.png is a text and no picture."


def test_thumbnails_of_twelve_large_photos_at_once(page: Any, tmp_path: Path) -> None:
    """Twelve of 24 megapixels: all are there by name at once, and their pictures follow one by one."""
    many = []
    noise = np.random.default_rng(0).integers(-12, 12, (400, 600, 1))
    tile = np.clip(np.asarray(Image.fromarray(skimage.data.coffee()).resize((600, 400))) + noise, 0, 255).astype(
        np.uint8
    )
    for number in range(12):
        many.append(tmp_path / f"{number:02d}.jpg")
        Image.fromarray(np.tile(np.roll(tile, 40 * number, 1), (10, 10, 1))).save(many[-1], quality=90)
    page.evaluate(
        """() => {
            window.times = [];
            const begin = performance.now(), strip = document.querySelector("#strip");
            const note = () => window.times.push([performance.now() - begin, strip.querySelectorAll(".thumb").length,
                strip.querySelectorAll("img:not([hidden])").length]);
            new MutationObserver(note).observe(strip, {childList: true, subtree: true, attributes: true});
            document.querySelector("#files").addEventListener("change", () => {
                window.chosen = performance.now() - begin;
            });
        }"""
    )
    page.set_input_files("#files", many)
    until(page, "document.querySelectorAll('#strip img:not([hidden])').length === 12")
    chosen = page.evaluate("window.chosen")
    times = [(when - chosen, names, pictures) for when, names, pictures in page.evaluate("window.times")]
    named = min(when for when, names, _ in times if names == 12)
    first, last = (min(when for when, _, pictures in times if pictures >= least) for least in (1, 12))
    print(f"names after {named:.0f} ms, the first picture after {first:.0f} ms, the last after {last:.0f} ms")
    # The row is there before any picture is decoded, and pictures come one by one.
    assert named < first < last
    assert len({pictures for _, _, pictures in times}) >= 12
    page.get_by_role("button", name="Upscale 12 photos").wait_for()
    until(page, "document.querySelector('#summary').textContent.startsWith('288 MP → ')")


ODD = [
    "a b  c.png",
    "Größe – 日本 🐈.png",
    "per%20cent%.png",
    "<b>b<&amp;.png",
    "it's $HOME `x`.png",
    "x" * 180 + ".png",
]


def test_odd_names_and_twenty_at_once(opened: Callable[..., Any], serving: Callable[..., Any], tmp_path: Path,
                                      photos: dict[str, Path]) -> None:  # fmt: skip
    page = opened(serving())
    many = [tmp_path / name for name in ODD] + [tmp_path / f"{number:02d}.png" for number in range(14)]
    for place in many:
        Image.new("RGB", (12, 9), (99, 150, 200)).save(place)
    page.set_input_files("#files", many)
    page.get_by_role("button", name="Upscale 20 photos").wait_for()
    upscale(page)
    until(page, "document.querySelectorAll('#strip .badge.good').length === 20")
    labels = page.locator("#strip .thumb").evaluate_all("all => all.map((one) => one.getAttribute('aria-label'))")
    assert labels == [f"{place.name}, done" for place in many]
    assert page.locator("#name b, #strip b, #line b").count() == 0
    for number, place in enumerate(many[:6]):
        page.locator("#strip .thumb").nth(number).click()
        assert page.locator("#name").text_content() == place.name
        until(page, "document.querySelector('#after').naturalWidth === 48")
        with page.expect_download() as waiting:
            page.locator("#save").click()
        assert Image.open(waiting.value.path()).size == (48, 36)
    with page.expect_download() as waiting:
        page.locator("#save-all").click()
    with zipfile.ZipFile(waiting.value.path()) as archive:
        # Without what not every system has in names.
        kept = [re.sub("[<>]", "", place.stem) for place in many[:5]]
        assert archive.namelist()[:5] == [f"{stem}_x4.png" for stem in kept]
    page.get_by_role("button", name="New photos").click()
    # However long the names are, nothing is wider than the window.
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    accessible(page)


def test_two_tabs_back_and_a_reload_while_it_works(opened: Callable[..., Any], serving: Callable[..., Any],
                                                   photos: dict[str, Path]) -> None:  # fmt: skip
    gate = Gate()
    page = opened(serving(gate))
    set_to_work(page, gate, photos["coffee.jpg"])
    until(page, "location.hash.startsWith('#job=')")
    other = page.context.new_page()
    open_page(other, page.url)
    other.locator("#working").wait_for()
    # The other tab goes away from it and back, and is reloaded; a second job of its own waits behind the first.
    other.reload()
    other.locator("#working").wait_for()
    other.goto(page.url.partition("#")[0] + "docs")
    other.go_back()
    other.locator("#working").wait_for()
    third = page.context.new_page()
    open_page(third, page.url.partition("#")[0])
    third.set_input_files("#files", photos["cat.png"])
    third.locator("#go").click()
    until(third, "document.querySelector('#working-what').textContent === 'Waiting, number 1 in line'")
    gate.opened.set()
    for tab, width in ((page, 360), (other, 360), (third, 480)):
        finish(tab)
        assert tab.locator("#after").evaluate("image => image.naturalWidth") == width
    # Each tab is in the list of what this browser had made.
    third.get_by_role("button", name="New photos").click()
    assert third.locator("#recent-list strong").all_inner_texts() == ["cat.png", "coffee.jpg"]


def test_a_broken_photo_fails_alone(page: Any, photos: dict[str, Path]) -> None:
    page.set_input_files("#files", [photos[n] for n in ("coffee.jpg", "broken.jpg", "scan.tif")])
    page.get_by_role("button", name="Upscale 3 photos").wait_for()
    choose(page, "#option-samples", "2")
    choose_size(page, "2")
    upscale(page)
    assert page.locator("#alert").inner_text() == "1 of 3 failed: look for the red signs."
    choose(page, "#views", "all")
    assert page.locator("#grid figure").count() == 2
    assert not page.locator("#legend").is_visible()
    page.locator("#map-kind").select_option("stability")
    until(page, "document.querySelectorAll('#grid figure img').length === 4")
    # The scale is the same for all photos, and words say what it means.
    assert page.locator("#legend-high").inner_text() == "13 of 255 levels or more"
    assert page.locator("#legend-words").inner_text().startswith("The results ")
    widths = page.locator("#grid figure img").evaluate_all("all => all.map((image) => image.naturalWidth)")
    assert widths == [180] * 4
    accessible(page)
    thumbs = page.locator("#strip .thumb")
    assert thumbs.nth(1).get_attribute("aria-label") == "broken.jpg, failed"
    thumbs.nth(1).click()
    told = page.locator("#failure").inner_text()
    assert told.startswith("broken.jpg: cannot be read: premature end of JPEG image (damaged")
    accessible(page)
    thumbs.nth(2).click()
    # No browser shows TIFF: the server's copy is shown.
    until(page, "document.querySelector('#before').naturalWidth === 60")
    with page.expect_download() as waiting:
        page.locator("#save-all").click()
    with zipfile.ZipFile(waiting.value.path()) as archive:
        assert archive.namelist() == [
            "coffee_x2_s00.jpg", "coffee_x2_s01.jpg", "scan_x2_s00.tif", "scan_x2_s01.tif",
        ]  # fmt: skip


# -- nothing is lost --------------------------------------------------------------------------------------------------


def test_results_belong_to_photos(opened: Callable[..., Any], serving: Callable[..., Any],
                                  photos: dict[str, Path]) -> None:  # fmt: skip
    page = opened(serving())
    page.set_input_files("#files", photos["coffee.jpg"])
    upscale(page)
    # Another photo leaves the first one's result alone, and is the only one that is due.
    page.set_input_files("#files", photos["cat.png"])
    page.get_by_role("button", name="Upscale 1 photo").wait_for()
    assert page.locator("#strip .thumb").nth(0).get_attribute("aria-label") == "coffee.jpg, done"
    upscale(page)
    until(page, "document.querySelectorAll('#strip .badge.good').length === 2")
    # A removed one comes back with its result.
    page.get_by_label("Remove coffee.jpg").click(force=True)
    assert page.locator("#strip .thumb").count() == 1
    until(page, "document.activeElement.className === 'thumb'")
    page.get_by_role("button", name="Undo").click()
    assert page.locator("#strip .thumb").nth(0).get_attribute("aria-label") == "coffee.jpg, done"
    until(page, "document.querySelector('#facts').textContent.startsWith('90 × 60 → 360 × 240')")
    # So do all of them: by Back, by the list of what was made, and by Undo.
    page.get_by_role("button", name="New photos").click()
    assert page.locator("#hero h1").is_visible()
    page.go_back()
    until(page, "document.querySelectorAll('#strip .badge.good').length === 2")
    page.get_by_role("button", name="New photos").click()
    page.get_by_role("button", name="Undo").click()
    until(page, "document.querySelectorAll('#strip .badge.good').length === 2")
    page.get_by_role("button", name="New photos").click()
    assert page.locator("#recent-list li").count() == 1
    accessible(page)
    page.get_by_role("link", name="coffee.jpg, cat.png").click()
    finish(page)
    until(page, "document.querySelectorAll('#strip .badge.good').length === 2")
    until(page, "document.querySelectorAll('#strip .thumb img:not([hidden])').length === 2")
    page.reload()
    finish(page)
    assert page.locator("#strip .thumb").count() == 2


def test_the_end_of_work_leaves_what_is_looked_at(opened: Callable[..., Any], serving: Callable[..., Any],
                                                  photos: dict[str, Path]) -> None:  # fmt: skip
    gate = Gate()
    gate.opened.set()
    page = opened(serving(gate))
    page.set_input_files("#files", photos["coffee.jpg"])
    upscale(page)
    gate.opened.clear()
    gate.reached.clear()
    set_to_work(page, gate, photos["cat.png"])
    coffee = page.locator("#strip .thumb").nth(0)
    coffee.click()
    gate.opened.set()
    until(page, "document.querySelectorAll('#strip .badge.good').length === 2")
    until(page, "!document.querySelector('#cancel').checkVisibility()")
    assert page.locator("#facts").inner_text().startswith("90 × 60 → 360 × 240")
    assert page.evaluate("() => document.activeElement.getAttribute('aria-label')") == "coffee.jpg, done"


def test_an_unknown_job_is_told(opened: Callable[..., Any], address: str) -> None:
    page = opened(f"{address}/#job=0123456789abcdef01234567")
    page.locator("#alert-empty").wait_for()
    assert page.locator("#alert-empty").inner_text().startswith("This job is no longer here: results are kept for 24 h")
    assert page.locator("#hero h1").is_visible()
    accessible(page)


# -- the truth about time, cancel and connection ----------------------------------------------------------------------


def test_what_would_take_too_long_is_told_before(opened: Callable[..., Any], serving: Callable[..., Any],
                                                 photos: dict[str, Path]) -> None:  # fmt: skip
    page = opened(serving(job_seconds=1))
    page.set_input_files("#files", photos["phone.jpg"])
    until(
        page,
        "document.querySelector('#summary').textContent.includes('It would be stopped: this server works at most')",
    )


def test_cancel_midway(page: Any, address: str, photos: dict[str, Path]) -> None:
    page.set_input_files("#files", photos["large.png"])
    page.locator("#go").click()
    until(page, "document.querySelector('#progress').value > 0.05")
    accessible(page)
    page.locator("#cancel").click()
    assert page.locator("#working-what").inner_text() == "Cancelling…" or page.locator("#go").is_visible()
    assert page.evaluate("document.activeElement.id") in ("cancel", "go")
    page.locator("#go").wait_for(state="visible")
    assert page.locator("#alert").inner_text() == "Cancelled."
    accessible(page)
    assert page.evaluate("document.activeElement.id") == "go"
    health = httpx2.get(f"{address}/healthz").json()
    assert (health["running"], health["waiting"]) == (0, 0)
    assert page.locator("#go").inner_text() == "Upscale photo"


def test_photos_dropped_while_it_works_join_the_line(opened: Callable[..., Any], serving: Callable[..., Any],
                                                     photos: dict[str, Path]) -> None:  # fmt: skip
    gate = Gate()
    page = opened(serving(gate))
    set_to_work(page, gate, photos["coffee.jpg"])
    page.set_input_files("#files", photos["cat.png"])
    page.locator("#strip .thumb").nth(1).wait_for()
    until(page, "document.querySelector('#working-what').textContent === '1 of 2'")
    # The page may be reloaded meanwhile.
    until(page, "location.hash.split(',').length === 2")
    page.reload()
    until(page, "document.querySelector('#working-what').textContent === '1 of 2'")
    gate.opened.set()
    finish(page)
    until(page, "document.querySelectorAll('#strip .badge.good').length === 2")


def test_one_of_those_that_wait_can_be_taken_out(opened: Callable[..., Any], serving: Callable[..., Any],
                                                 photos: dict[str, Path]) -> None:  # fmt: skip
    gate = Gate()
    page = opened(serving(gate))
    set_to_work(page, gate, [photos["coffee.jpg"], photos["cat.png"]])
    until(page, "location.hash.split(',').length === 2")
    page.get_by_label("Remove cat.png").click(force=True)
    gate.opened.set()
    finish(page)
    assert page.locator("#strip .thumb").count() == 1
    assert page.locator("#say").inner_text() == "Done: 1 of 1"


def test_a_lost_connection_is_taken_up_again(opened: Callable[..., Any], serving: Callable[..., Any],
                                             photos: dict[str, Path]) -> None:  # fmt: skip
    gate = Gate()
    page = opened(serving(gate))
    page.set_input_files("#files", photos["coffee.jpg"])
    until(page, "document.querySelector('#summary').textContent.length > 0")
    page.context.set_offline(True)
    page.locator("#go").click()
    page.locator("#lost").wait_for()
    assert page.locator("#lost").inner_text() == "Connection lost, trying again…"
    accessible(page)
    page.context.set_offline(False)
    assert gate.reached.wait()
    page.locator("#lost").wait_for(state="hidden")
    gate.opened.set()
    finish(page)


def test_a_server_that_is_started_again(opened: Callable[..., Any], tmp_path: Path, tiny: str,
                                        photos: dict[str, Path]) -> None:  # fmt: skip
    known = {"model": tiny, "data": str(tmp_path / "data"), "threads": 1, "device": "cpu"}
    gate = Gate()
    with listening_at(Service(ServeSettings.from_mapping(known), gate.factory)) as address:
        page = opened(address)
        set_to_work(page, gate, photos["coffee.jpg"])
    page.locator("#lost").wait_for()
    port = int(address.rpartition(":")[2])
    with listening_at(Service(ServeSettings.from_mapping(known)), port):
        finish(page)
        assert page.locator("#after").evaluate("image => image.naturalWidth") == 360
        assert not page.locator("#lost").is_visible()
        page.close()


# -- looking closely --------------------------------------------------------------------------------------------------


def border(page: Any) -> float:
    return float(
        page.evaluate("parseFloat(getComputedStyle(document.querySelector('#compare')).getPropertyValue('--cut'))")
    )


def percent(page: Any) -> int:
    return int(page.locator("#zoom-one").inner_text().removesuffix(" %"))


def offset(page: Any) -> tuple[float, float]:
    x, y = re.findall(r"-?[\d.]+(?=px)", page.evaluate("document.querySelector('#after').style.transform"))
    return float(x), float(y)


def test_the_border_and_the_zoom_by_mouse_and_keys(opened: Callable[..., Any], serving: Callable[..., Any],
                                                   photos: dict[str, Path]) -> None:  # fmt: skip
    page = opened(serving())
    page.set_input_files("#files", photos["cat.png"])
    upscale(page)
    assert border(page) == 50
    box = page.locator("#compare").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 40, steps=4)
    page.mouse.up()
    assert border(page) == pytest.approx(20, abs=1)
    page.locator("#cut").focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert border(page) == pytest.approx(25, abs=1.5)
    assert re.fullmatch(r"2\d % input, 7\d % result", page.locator("#cut").get_attribute("aria-valuetext"))

    fitted = percent(page)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    for _ in range(10):
        page.mouse.wheel(0, -150)
    until(page, f"parseInt(document.querySelector('#zoom-one').textContent) > {3 * fitted}")
    # The border stays where it was; a drag away from it moves the picture.
    assert border(page) == pytest.approx(25, abs=1.5)
    before = offset(page)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 70, box["y"] + box["height"] / 2 + 30, steps=3)
    page.mouse.up()
    assert offset(page) == pytest.approx((before[0] + 70, before[1] + 30), abs=1)
    assert border(page) == pytest.approx(25, abs=1.5)
    before = offset(page)
    page.keyboard.press("ArrowLeft")
    assert offset(page)[0] == pytest.approx(before[0] + 60, abs=1)
    page.keyboard.press("1")
    assert percent(page) == 100
    page.keyboard.press("0")
    assert percent(page) == fitted
    page.keyboard.press("+")
    assert percent(page) == pytest.approx(1.5 * fitted, abs=1)
    page.keyboard.press("-")
    assert percent(page) == fitted
    page.locator("#compare").dblclick(position={"x": 300, "y": 200})
    assert percent(page) > fitted
    page.get_by_role("button", name="Fit").click()
    assert percent(page) == fitted


def test_maps_of_what_differs_and_of_what_departs(opened: Callable[..., Any], serving: Callable[..., Any],
                                                  photos: dict[str, Path]) -> None:  # fmt: skip
    page = opened(serving())
    page.set_input_files("#files", photos["cat.png"])
    upscale(page)
    kinds = page.locator("#map-kind option:not([disabled])")
    assert kinds.all_inner_texts() == ["none", "where it departs from the photo"]
    assert "made small again, it " in page.locator("#facts").inner_text()
    page.get_by_label("Map").select_option("difference")
    page.locator("#legend").wait_for()
    assert re.fullmatch(r"Made small again, it .* the photo\.", page.locator("#legend-words").inner_text())
    assert page.locator("#legend-high").inner_text() == "13 of 255 levels or more"
    until(page, "document.querySelector('#map').naturalWidth === 120")
    accessible(page)
    choose(page, "#option-samples", "2")
    upscale(page)
    until(page, "document.querySelectorAll('#map-kind option:not([disabled])').length === 3")
    choose(page, "#views", "all")
    until(page, "document.querySelectorAll('#grid figure img').length === 4")
    page.get_by_label("Map").select_option("stability")
    until(page, "document.querySelector('#legend-low').textContent === 'the same in every result'")


def test_the_results_own_pixels(opened: Callable[..., Any], serving: Callable[..., Any],
                                photos: dict[str, Path]) -> None:  # fmt: skip
    """At 400 % one of them is sixteen on the screen."""
    page = opened(serving())
    page.set_input_files("#files", photos["cat.png"])
    upscale(page)
    page.keyboard.press("1")
    for _ in range(40):
        if percent(page) >= 400:
            break
        page.evaluate("document.querySelector('#compare').dispatchEvent(new WheelEvent('wheel',"
                      " {deltaY: -Math.log(4) / 0.002, clientX: 400, clientY: 300}))")  # fmt: skip
    assert percent(page) == 400
    page.locator("#cut").evaluate("slider => { slider.value = 0; slider.dispatchEvent(new Event('input')); }")
    box = page.locator("#compare").bounding_box()
    shot = Image.open(
        io.BytesIO(page.screenshot(clip={"x": box["x"] + 60, "y": box["y"] + 60, "width": 300, "height": 200}))
    )
    array = np.asarray(shot.convert("RGB"))
    columns = (array[:, 1:] != array[:, :-1]).any(axis=(0, 2)).nonzero()[0]
    assert len(columns) > 20
    assert len({int(c) % 4 for c in columns}) == 1


# -- protecting a part ------------------------------------------------------------------------------------------------


def paint(page: Any, left: float, right: float) -> None:
    """One stroke by mouse, up and down between these shares of the picture's width, from edge to edge."""
    box = page.locator("#compare").bounding_box()
    page.mouse.move(box["x"] + left * box["width"], box["y"] + 0.98 * box["height"])
    page.mouse.down()
    for number, x in enumerate(np.linspace(left, right, 12)):
        for y in (0.02, 0.98) if number % 2 else (0.98, 0.02):
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=3)
    page.mouse.up()


def painted(page: Any) -> list[float]:
    """The share of each tenth of the picture's width that is painted."""
    return list(
        page.evaluate(
            """() => {
                const canvas = document.querySelector("#paint");
                const { width, height } = canvas, { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
                const shares = new Array(10).fill(0);
                for (let at = 0; at < width * height; at++) {
                    if (data[4 * at + 3]) shares[Math.floor((at % width) * 10 / width)]++;
                }
                return shares.map((count) => count * 10 / (width * height));
            }"""
        )
    )


def test_what_is_painted_over_stays(opened: Callable[..., Any], serving: Callable[..., Any],
                                    photos: dict[str, Path]) -> None:  # fmt: skip
    page = opened(serving())
    page.set_input_files("#files", photos["cat.png"])
    choose_size(page, "2")
    protect = page.get_by_role("button", name="Protect a part")
    protect.click()
    assert protect.get_attribute("aria-pressed") == "true"
    assert page.get_by_role("button", name="Undo stroke").is_disabled()
    paint(page, 0.05, 0.4)
    shares = painted(page)
    assert min(shares[1:4]) == pytest.approx(1, abs=0.01)
    assert max(shares[5:]) == 0
    # Strokes are taken back one by one, by button and by key, and all at once; the focus stays within.
    paint(page, 0.7, 0.9)
    assert min(painted(page)[7:9]) == pytest.approx(1, abs=0.01)
    page.get_by_role("button", name="Undo stroke").click()
    assert painted(page) == pytest.approx(shares, abs=1e-3)
    paint(page, 0.7, 0.9)
    page.keyboard.press("Control+z")
    assert painted(page) == pytest.approx(shares, abs=1e-3)
    page.get_by_role("button", name="Clear").click()
    assert max(painted(page)) == 0
    assert page.evaluate("document.activeElement.id") == "brush-done"
    assert page.locator("#line").inner_text() == "ccsr upscale cat.png --scale 2"
    paint(page, 0.05, 0.4)
    accessible(page)
    page.keyboard.press("Escape")
    assert not page.locator("#brush").is_visible()
    assert page.evaluate("document.activeElement.id") == "protect"
    assert page.locator("#paint").is_visible()
    assert page.locator("#line").inner_text() == "ccsr upscale cat.png --scale 2 --mask cat_mask.png"

    upscale(page)
    assert not page.locator("#paint").is_visible()
    with page.expect_download() as waiting:
        page.locator("#save").click()
    got = np.asarray(Image.open(waiting.value.path()).convert("RGB")).astype(float)
    lq = np.asarray(Image.open(photos["cat.png"]).convert("RGB"), np.float32) / 255
    plain = np.round(enlarge(lq, 240, 160) * 255)
    assert got.shape == plain.shape
    np.testing.assert_array_equal(got[:, 24:96], plain[:, 24:96])
    assert np.abs(got - plain)[:, 130:].mean() > 2
    assert "the mask" not in page.locator("#facts").inner_text()

    # The mask as a file, for the command line.
    protect.click()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Save mask").click()
    assert waiting.value.suggested_filename == "cat_mask.png"
    mask = np.asarray(Image.open(waiting.value.path()).convert("L"))
    width = mask.shape[1]
    assert mask[:, width // 10 : width * 2 // 5].max() == 0
    assert mask[:, width * 3 // 5 :].min() == 255
    # Painted anew, the work is due again; taken back, it is not; a reloaded page still knows what was protected.
    assert not page.locator("#go").is_visible()
    paint(page, 0.7, 0.9)
    assert page.locator("#go").inner_text() == "Upscale again"
    page.get_by_role("button", name="Undo stroke").click()
    assert not page.locator("#go").is_visible()
    page.reload()
    finish(page)
    assert page.locator("#line").inner_text() == "ccsr upscale cat.png --scale 2 --mask cat_mask.png"
    assert not page.locator("#go").is_visible()
    page.get_by_role("button", name="Protect a part").click()
    assert painted(page) == pytest.approx(shares, abs=1e-3)


def test_a_mask_belongs_to_its_photo_and_is_finer_when_enlarged(page: Any, photos: dict[str, Path]) -> None:
    page.set_input_files("#files", [photos["cat.png"], photos["coffee.jpg"]])
    page.locator("#strip .thumb").nth(1).wait_for()
    page.get_by_role("button", name="Protect a part").click()
    box = page.locator("#compare").bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.click(*middle)
    coarse = sum(painted(page))
    page.get_by_role("button", name="Undo stroke").click()
    page.mouse.move(*middle)
    page.mouse.wheel(0, -400)
    page.mouse.click(*middle)
    assert 0 < sum(painted(page)) < coarse / 3
    page.locator("#strip .thumb").nth(1).click()
    assert sum(painted(page)) == 0
    page.locator("#strip .thumb").nth(0).click()
    assert 0 < sum(painted(page)) < coarse / 3
    commands = page.locator("#line .command").all_inner_texts()
    assert commands == ["ccsr upscale cat.png --mask cat_mask.png", "ccsr upscale coffee.jpg"]


def swipe(phone: Any, *moments: list[tuple[float, float]]) -> None:
    """Fingers that touch, move through these places and leave; there may be more of them in a later moment."""
    touch = phone.context.new_cdp_session(phone)
    fingers = 0
    for places in moments:
        kind = "touchStart" if len(places) > fingers else "touchMove"
        fingers = len(places)
        points = [{"x": x, "y": y, "id": n} for n, (x, y) in enumerate(places)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        phone.wait_for_timeout(20)
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_a_finger_paints_and_two_enlarge(opened: Callable[..., Any], serving: Callable[..., Any],
                                         photos: dict[str, Path]) -> None:  # fmt: skip
    phone = opened(
        serving(), viewport={"width": 360, "height": 740}, device_scale_factor=2, is_mobile=True, has_touch=True
    )
    phone.set_input_files("#files", photos["cat.png"])
    phone.get_by_role("button", name="Protect a part").tap()
    assert phone.evaluate("document.documentElement.scrollWidth") <= 360
    accessible(phone, sizes=False)
    box = phone.locator("#compare").bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    swipe(phone, *([(middle[0], middle[1] - 10 * step)] for step in range(8)))
    assert phone.evaluate("scrollY") == 0
    shares = painted(phone)
    assert max(shares[4:6]) > 0.2
    assert max(shares[:3] + shares[7:]) == 0
    fitted = percent(phone)
    spread = ([(middle[0] - 8 * step, middle[1]), (middle[0] + 30 + 8 * step, middle[1])] for step in range(8))
    swipe(phone, [middle], *spread)
    assert percent(phone) > 1.5 * fitted
    assert painted(phone) == shares
    phone.get_by_role("button", name="Done").tap()
    upscale(phone)


def test_print_tells_its_resolution(page: Any, photos: dict[str, Path]) -> None:
    """The size for print counts with the dots per inch asked for, and the file says them."""
    page.set_input_files("#files", photos["large.png"])
    choose_size(page, "print")
    assert page.locator("#line").inner_text() == "ccsr upscale large.png --dpi 300 --scale 8"
    page.get_by_text("More options").click()
    page.get_by_label("Dots per inch").fill("100")
    assert page.locator("#line").inner_text() == "ccsr upscale large.png --dpi 100 --scale 1181/420"
    until(page, "document.querySelector('#size-print').textContent === '1181 × 1181'")
    assert "Size on paper" not in page.locator("#panel").inner_text()
    assert "at 100 % within 2 levels of 255" in page.locator("#option-consistency-help").inner_text()


# -- hands, ears and phones -------------------------------------------------------------------------------------------


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


def test_the_button_pressed_twice_is_one_job(page: Any, photos: dict[str, Path]) -> None:
    page.set_input_files("#files", photos["coffee.jpg"])
    page.locator("#go").wait_for()
    page.evaluate("() => { for (let i = 0; i < 3; i++) document.querySelector('#panel').requestSubmit(); }")
    finish(page)
    assert page.locator("#say").inner_text() == "Done: 1 of 1"


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


def test_a_press_while_sizes_are_still_planned_makes_one_job(page: Any, photos: dict[str, Path]) -> None:
    held: list[Any] = []
    sent: list[str] = []
    # The first answer, which the chosen photo waits for, comes after the press.
    page.route("**/v1/plan", lambda route: route.continue_() if held else held.append(route))
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    page.set_input_files("#files", photos["coffee.jpg"])
    page.locator("#go").click()
    until(page, "document.querySelector('#app').dataset.stage !== 'ready'")
    held[0].continue_()
    finish(page)
    assert page.locator("#say").inner_text() == "Done: 1 of 1"
    assert len([url for url in sent if url.endswith("/v1/jobs")]) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_finding_of_axe(opened: Callable[..., Any], serving: Callable[..., Any], photos: dict[str, Path],
                           scheme: str) -> None:  # fmt: skip
    gate = Gate()
    page = opened(serving(gate), color_scheme=scheme)
    accessible(page)
    page.set_input_files("#files", [photos["cat.png"], photos["coffee.jpg"]])
    page.locator("#go").wait_for()
    page.get_by_text("More options").click()
    page.get_by_text("Expert", exact=True).click()
    # What only experts know is there, and nowhere else.
    assert page.locator("#expert #option-T").is_visible()
    assert page.locator("#rest #option-T").count() == 0
    assert "--" not in page.locator("#panel .help").all_inner_texts().__str__()
    accessible(page)
    page.locator("#go").click()
    assert gate.reached.wait()
    accessible(page)
    gate.opened.set()
    finish(page)
    accessible(page)
    page.get_by_label("Remove coffee.jpg").click(force=True)
    accessible(page)
    page.goto(page.url.partition("#")[0] + "docs")
    page.locator("#options tr").first.wait_for()
    accessible(page)


def test_no_flags_in_messages(opened: Callable[..., Any], serving: Callable[..., Any], photos: dict[str, Path]) -> None:
    page = opened(serving())
    page.set_input_files("#files", photos["coffee.jpg"])
    page.get_by_text("More options").click()
    page.get_by_text("Expert", exact=True).click()
    page.locator("#option-t_max").fill("0.9")
    page.locator("#go").click()
    until(page, "document.querySelector('#alert').checkVisibility()")
    told = page.locator("#alert").inner_text()
    assert "--" not in told
    assert told.startswith("“T max” and “T min” need “T”")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone(opened: Callable[..., Any], serving: Callable[..., Any], photos: dict[str, Path], scheme: str) -> None:
    phone = opened(
        serving(), viewport={"width": 360, "height": 740}, device_scale_factor=2, is_mobile=True, has_touch=True,
        color_scheme=scheme,
    )  # fmt: skip
    phone.set_input_files("#files", [photos["cat.png"], photos["coffee.jpg"]])
    # The button is at hand without scrolling.
    box = phone.get_by_role("button", name="Upscale 2 photos").bounding_box()
    assert box["y"] + box["height"] <= 740
    choose(phone, "#option-samples", "2")
    phone.locator("#go").tap()
    finish(phone)
    for view in ("all", "compare"):
        choose(phone, "#views", view)
        # Nothing is wider than the phone.
        assert phone.evaluate("document.documentElement.scrollWidth") <= 360
    accessible(phone, sizes=False)
    box = phone.locator("#save").bounding_box()
    assert box["y"] + box["height"] <= 740
    colors = phone.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
    ground, ink = (sum(map(int, re.findall(r"\d+", color)[:3])) / 3 for color in colors)
    assert (ground > ink) == (scheme == "light")
    assert abs(ground - ink) > 150
    swipe_and_pinch(phone)


def swipe_and_pinch(phone: Any) -> None:
    """Up over the picture scrolls, sideways moves the border, two fingers enlarge."""
    phone.evaluate("scrollTo(0, 0)")
    box = phone.locator("#compare").bounding_box()
    x, y = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    cut = border(phone)
    swipe(phone, *([(x, y - 15 * step)] for step in range(8)))
    until(phone, "scrollY > 30")
    assert border(phone) == cut
    phone.evaluate("scrollTo(0, 0)")
    phone.wait_for_timeout(400)
    swipe(phone, *([(x - 12 * step, y)] for step in range(8)))
    assert border(phone) < cut - 10
    fitted = percent(phone)
    swipe(phone, [(x, y)], *([(x - 8 * step, y), (x + 30 + 8 * step, y)] for step in range(8)))
    assert percent(phone) > 1.5 * fitted


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
        upscale(opened)
        assert opened.locator("#after").evaluate("image => image.naturalWidth") == 360
        context.close()
