"""Make the screenshots of docs/web.md with a real server, nano and Chromium: `python docs/screenshots.py`."""

import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import skimage.data
from PIL import Image
from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).parent / "images"
PHOTOS = {"chelsea.jpg": skimage.data.chelsea(), "coffee.png": skimage.data.coffee()}
"""Of scikit-image: CC0, by Stefan van der Walt and by Rachel Michetti."""


def keep(page: Page, name: str, whole: bool = False) -> None:
    """Save what the page shows."""
    picture = Image.open(io.BytesIO(page.screenshot(full_page=whole)))
    picture.convert("RGB").save(IMAGES / f"web-{name}.webp", quality=82, method=6)


def work(page: Page, address: str, photos: list[str], samples: int) -> None:
    """From the empty page to results."""
    page.goto(address)
    page.locator("#front .field").first.wait_for(state="attached")
    page.set_input_files("#files", photos)
    page.locator(f"#option-samples input[value='{samples}']").check(force=True)
    page.locator("#go").click()
    page.locator("#done").wait_for(state="visible", timeout=600_000)
    page.wait_for_timeout(500)


def main(address: str, folder: Path) -> None:
    """All of them."""
    for name, array in PHOTOS.items():
        picture = Image.fromarray(array)
        picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BOX).save(folder / name, quality=92)
    photos = [str(folder / name) for name in PHOTOS]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        desk = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
        desk.goto(address)
        desk.locator("#front .field").first.wait_for(state="attached")
        keep(desk, "empty")
        work(desk, address, photos, 1)
        box = desk.locator("#compare").bounding_box()
        assert box is not None
        desk.mouse.move(box["x"] + box["width"] * 0.38, box["y"] + box["height"] * 0.42)
        desk.mouse.wheel(0, -450)
        desk.wait_for_timeout(300)
        keep(desk, "compare")
        night = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="dark")
        work(night, address, photos[1:], 4)
        night.locator("input[name=view][value=all]").check(force=True)
        night.locator("#map-kind").select_option("stability")
        night.locator("#legend").wait_for()
        night.wait_for_timeout(300)
        keep(night, "samples")
        for scheme in ("light", "dark"):
            phone = browser.new_context(
                viewport={"width": 390, "height": 844}, device_scale_factor=2, is_mobile=True, has_touch=True,
                color_scheme=scheme,
            ).new_page()  # fmt: skip
            work(phone, address, photos[:1], 1)
            phone.wait_for_timeout(600)
            keep(phone, f"phone-{scheme}")
        browser.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "ccsr", "serve", "--port", "0", "--data", f"{place}/data"]
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert server.stderr is not None
        found = re.match(r"open (\S+) in", server.stderr.readline())
        assert found is not None
        try:
            main(found[1], Path(place))
        finally:
            server.terminate()
            server.wait()
