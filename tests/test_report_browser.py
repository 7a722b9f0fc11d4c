"""The pages in a browser: they fit a phone, run nothing of the data and can be read at night."""

import html
import json
import re
import shutil
import subprocess

import pytest
from reports import fake_report, luminance, pages, replaced

from creagen_jax.creativity import record, report

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROME = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(CHROME is None, reason="no Chromium")

WIDTHS = (360, 1280)
HOSTILE = (
    "</p></style></title></svg><script>top.owned = 1</script>"
    "<img src=x onerror='top.owned = 1'><svg onload='top.owned = 1'>"
)
# Frames of the pages, and a script of this test, not of the pages, that measures them.
HARNESS = """<!doctype html><body>%s<pre id="found"></pre><script>
onload = () => {
  const found = {};
  for (const frame of document.querySelectorAll("iframe")) {
    const page = frame.contentDocument, view = frame.contentWindow;
    const style = (part, pseudo) => view.getComputedStyle(page.querySelector(part), pseudo);
    const mark = page.querySelector("mark[tabindex]");
    if (mark) mark.focus();
    const tip = mark && view.getComputedStyle(mark, "::after");
    found[frame.name] = {
      width: page.documentElement.scrollWidth,
      height: page.documentElement.scrollHeight,
      title: page.title,
      ink: style("body").color,
      paper: style("body").backgroundColor,
      broken: [...page.images].filter(image => !image.complete || !image.naturalWidth).length,
      sharp: page.images.length && view.getComputedStyle(page.images[0]).imageRendering,
      shown: [...page.images].map(image => image.clientWidth / image.clientHeight),
      tip: tip && [tip.content, parseFloat(tip.width)],
      text: page.querySelector("svg text") && view.getComputedStyle(page.querySelector("svg text")).fill,
    };
  }
  document.getElementById("found").textContent = JSON.stringify([found, !!window.owned]);
};
</script>"""  # noqa: E501


def measure(folder, shown: dict[str, str], *flags: str) -> tuple[dict, bool]:
    """What the harness finds in each page at each width, and whether anything of a page ran."""
    frames = [
        f'<iframe name="{name} {width}" width="{width}" height="800" style="border:0" '
        f'srcdoc="{html.escape(content)}"></iframe>'
        for name, content in shown.items()
        for width in WIDTHS
    ]
    (folder / "harness.html").write_text(HARNESS % "".join(frames), encoding="utf-8")
    command = [CHROME, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", *flags]
    command += [f"--user-data-dir={folder / 'profile'}", (folder / "harness.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    found = re.search(r'<pre id="found">(.+?)</pre>', done.stdout, re.S)
    assert found, done.stderr
    return json.loads(html.unescape(found[1]))


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    fields = record.to_json(fake_report())
    bad = replaced({**fields, "metrics": {}, "anchors": {}}, HOSTILE)
    bad["metrics"] = {HOSTILE: replaced(fields["metrics"]["kid"], HOSTILE)}
    bad["curves"]["novelty"]["series"] = {"generated": [0.5] * 16, f"{HOSTILE} 1": [0.5] * 16}
    hostile = report.render(record.from_json(bad))
    return measure(tmp_path_factory.mktemp("light"), {**pages(), "hostile": hostile})


@pytest.fixture(scope="module")
def dark(tmp_path_factory):
    flag = "--blink-settings=preferredColorScheme=0"
    return measure(tmp_path_factory.mktemp("dark"), {"names": pages()["names"]}, flag)


def test_no_page_scrolls_sideways(light):
    found, _ = light
    assert len(found) == (len(pages()) + 1) * len(WIDTHS)
    for name, page in found.items():
        assert page["width"] <= int(name.split()[-1]), name
        assert page["height"] > 800


def test_pictures_are_shown_crisp_and_undistorted(light):
    for name in ("pictures 360", "pictures 1280", "guidance 360"):
        page = light[0][name]
        assert len(page["shown"]) > 40 and page["broken"] == 0 and page["sharp"] == "pixelated"
        assert all(abs(each - 1) < 0.02 for each in page["shown"])


def test_hostile_text_does_not_run(light):
    found, owned = light
    assert not owned
    assert found["hostile 360"]["title"].startswith(HOSTILE)


def test_sources_appear_on_focus_and_fit_the_screen(light):
    found, _ = light
    content, width = found["prose 360"]["tip"]
    assert "From fairest creatures" in content
    assert 200 < width <= 360


def test_light_and_dark_follow_the_system(light, dark):
    def luminances(page):
        channels = [map(int, re.findall(r"\d+", page[key])[:3]) for key in ("ink", "paper", "text")]
        return [luminance("#" + "".join(f"{each:02x}" for each in rgb)) for rgb in channels]

    ink, paper, text = luminances(light[0]["names 360"])
    assert paper > 0.9 > 0.2 > ink and text < 0.2
    ink, paper, text = luminances(dark[0]["names 360"])
    assert paper < 0.05 < 0.6 < ink and text > 0.3
