"""Open the reports of a folder in headless Chromium: `python tests/look.py FOLDER`.

Fails where a page writes an error to the console, asks for anything beyond the file itself, or
draws a figure wider than its place in a window of any of four widths, and leaves a picture of each
page beside it, NAME.look.png, for a person to look at.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome")
TALLEST = 8000
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-extensions", "--hide-scrollbars", f"--window-size=1280,{TALLEST}",
    "--virtual-time-budget=8000", "--enable-logging=stderr", "--v=0",
)  # fmt: skip
WIDTHS = (400, 800, 1200, 1600)
MEASURE = """<script>requestAnimationFrame(() => requestAnimationFrame(() => {
  const wide = [...document.querySelectorAll(".plotly-graph-div")].filter((figure) =>
    figure.clientWidth && figure.querySelector(".main-svg").clientWidth > figure.clientWidth);
  document.documentElement.dataset.tooWide = wide.length;
}));</script>"""
OWN = ("file:", "data:", "blob:", "about:", "chrome:", "devtools:")


def look(browser: str, page: Path) -> list[str]:
    """What is wrong with a page; writes its picture."""
    picture = page.with_suffix(".look.png")
    picture.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        log = Path(profile) / "net.json"
        done = subprocess.run(
            [
                browser,
                *FLAGS,
                f"--user-data-dir={profile}/user",
                f"--log-net-log={log}",
                f"--screenshot={picture}",
                page.resolve().as_uri(),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        faults = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        if picture.exists():
            crop(picture)
        else:
            faults.append(f"no picture was made (exit {done.returncode})")
        faults += [fault for width in WIDTHS for fault in too_wide(browser, page, profile, width)]
        return faults + [f"request for {url}" for url in requests(log)]


def too_wide(browser: str, page: Path, profile: str, width: int) -> list[str]:
    """How many figures are drawn wider than their place, in a window that is so wide."""
    measured = Path(profile) / "measured.html"
    measured.write_text(page.read_text(encoding="utf-8") + MEASURE, encoding="utf-8")
    done = subprocess.run(
        [browser, *FLAGS, f"--window-size={width},900", f"--user-data-dir={profile}/user",
         "--dump-dom", measured.as_uri()],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    found = re.search(r'<html[^>]*data-too-wide="(\d+)"', done.stdout)
    if found is None:
        return [f"the figures were not measured in a window {width} wide"]
    count = int(found[1])
    return [f"{count} figures are too wide in a window {width} wide"] if count else []


def crop(picture: Path) -> None:
    """Cut the empty window below the page off its picture."""
    with Image.open(picture) as window:
        pixels = np.asarray(window.convert("RGB"))
    written = np.flatnonzero((pixels != pixels[-1, 0]).any(axis=(1, 2)))
    height = min(len(pixels), int(written.max(initial=0)) + 40)
    Image.fromarray(pixels[:height]).save(picture)


def requests(log: Path) -> list[str]:
    """Addresses that the page asked for, from Chromium's own log of the network.

    What the browser asks for by itself (updates, the time) has no origin there.
    """
    events = json.loads(log.read_text(encoding="utf-8"))["events"]
    made = [event["params"] for event in events if "initiator" in event.get("params", {})]
    urls = {asked["url"] for asked in made if asked["initiator"] != "not an origin"}
    return sorted(url for url in urls if not url.startswith(OWN))


def main() -> int:
    if len(sys.argv) != 2:
        print("Name one folder: python tests/look.py FOLDER")
        return 2
    browser = next((path for name in NAMES if (path := shutil.which(name))), None)
    if browser is None:
        print("There is no Chromium here, so the reports were not looked at.")
        return 0
    pages = sorted(Path(sys.argv[1]).glob("*.html"))
    failed = not pages
    if failed:
        print(f"There is no .html file in {sys.argv[1]}.")
    for page in pages:
        faults = look(browser, page)
        failed |= bool(faults)
        print(f"{page}: {'; '.join(faults) or 'no error, no request'}; see {page.stem}.look.png")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
