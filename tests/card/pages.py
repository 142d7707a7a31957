"""What is asked of a page: of its text, and of what a real browser makes of it."""

import html
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest

LENSES = ("spectra", "bounds", "memory", "inversion", "geometry")
FETCHED = ('src="http', 'href="http', "@import", "url(http", "<script", "javascript:")


class Page(HTMLParser):
    """Tags with their attributes, in order."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def check_page(text):
    """What holds of every page."""
    page = Page(text)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {attrs["href"][1:] for attrs in page.all("a")} <= set(ids)
    assert set(LENSES) <= set(ids)
    assert all(fetched not in text for fetched in FETCHED)
    assert all("xlink:href" not in a or a["xlink:href"].startswith("#") for _, a in page.tags)
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert headings[0] == 1
    assert set(headings[1:]) == {2}
    assert all(attrs.get("alt") for attrs in page.all("img"))
    assert all(attrs["src"].startswith("data:image/png;base64,") for attrs in page.all("img"))
    assert all(attrs.get("role") == "img" and attrs["aria-label"] for attrs in page.all("svg"))
    assert all(attrs.get("scope") in ("row", "col") for attrs in page.all("th"))
    assert len(page.all("figure")) == len(page.all("figcaption"))
    assert page.tags[0][0] == "html"
    assert page.all("html")[0]["lang"] == "en"
    for part in text.split("<svg")[1:]:
        ET.fromstring("<svg" + part.split("</svg>")[0] + "</svg>")


PROBE = """<!doctype html><title>wait</title><body><pre id="out"></pre><script>
const frame = document.createElement("iframe");
frame.width = 375; frame.height = 800; frame.srcdoc = PAGE;
frame.onload = () => {
  const page = frame.contentDocument, root = page.documentElement;
  const inner = e => e.closest(".scroll, nav ul, .skip, thead") || e.ownerSVGElement;
  const wide = [...page.body.querySelectorAll("*")].filter(
    e => !inner(e) && e.getBoundingClientRect().right > 375.5).map(e => e.tagName);
  out.textContent = JSON.stringify({
    over: root.scrollWidth - root.clientWidth, wide: wide.slice(0, 5),
    heights: [...page.querySelectorAll("section")].map(s => [s.id, s.offsetHeight]),
    blank: [...page.images].filter(i => !i.naturalWidth).length,
    plots: [...page.querySelectorAll("svg")].map(s => Math.round(s.getBoundingClientRect().width)),
    focus: [...page.querySelectorAll("a[href], summary, [tabindex]")].length,
  });
};
document.body.append(frame);
</script>"""


def browse(text, folder):
    """What headless Chromium says of a page 375 pixels wide, and its console."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    browser = next((found for name in names if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip("needs Chromium to look at the page: apt-get install chromium")
    file = folder / "probe.html"
    page = json.dumps(text).replace("</", "<\\/")  # the page's end tags must not end the script
    file.write_text(PROBE.replace("PAGE", page), encoding="utf-8")
    done = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu",
            f"--user-data-dir={folder / 'user'}", "--virtual-time-budget=20000",
            "--enable-logging=stderr", "--dump-dom", file.as_uri(),
        ],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip(f"Chromium does not run here: {done.stderr[-300:]}")
    found = re.search(r'<pre id="out">(.+?)</pre>', done.stdout, flags=re.DOTALL)
    assert found, done.stderr[-2000:]
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(html.unescape(found[1])), console


def check_browser(text, folder):
    """No console messages, every section there, nothing wider than a phone, pictures drawn."""
    found, console = browse(text, folder)
    assert console == []
    assert found["over"] == 0
    assert found["wide"] == []
    heights = dict(found["heights"])
    assert set(LENSES) <= set(heights)
    assert min(heights.values()) > 80
    assert found["blank"] == 0
    assert min(found["plots"]) > 250
    assert found["focus"] > 5
