"""The page driven as a reader drives it, in Chromium, from disk and without a network."""

import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from bleep.viz.page import Cell, Column, Grid, Nearest, Page, TissueView, write_page

playwright = pytest.importorskip("playwright.sync_api", reason="drives a browser by playwright")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's package chromium, which .ci/run installs"),
    # Playwright's own event loop and pipes are closed by it, not always before the interpreter looks.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
SPOTS = 36


def view(section: str) -> TissueView:
    """A lattice of six by six spots; spot 14 of gene ERBB2 is 14 as measured and 28 as predicted."""
    at = np.arange(SPOTS, dtype=np.float32)
    measured = np.stack([at, at[::-1]], axis=1)
    places = np.stack([100 + 160.0 * (at % 6), 100 + 120.0 * (at // 6)], axis=1).astype(np.float64)
    near, alike = np.tile(np.arange(3), (SPOTS, 1)), np.tile(np.float32([0.9, 0.8, 0.7]), (SPOTS, 1))
    return TissueView(
        section, np.full((80, 100, 3), 230, np.uint8), (1000.0, 800.0), places, 50.0,
        tuple(f"{section}/{row}" for row in range(SPOTS)), 2 * measured, measured, measured / 10,
        Nearest(("T/a", "T/b", "T/c"), near, alike, np.full((SPOTS, 3), 1 / 3, np.float32)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    def row(name: str, value: float) -> tuple[Cell, ...]:
        return Cell(name, name), Cell(f"{value:.3f}", value)

    table = Grid((Column("predictor"), Column("PCC", "Pearson r")), (row("ridge", 0.3), row("combined", 0.4), row("mean", 0.0)))
    page = Page(
        "Protocol toy", "Two sections.", ("ERBB2", "GNAS"), (0, 1), "log1p", "spread", (view("S1"), view("S2")), table,
        ("Leak: none", "no patient on both sides"), {"split": "by section"}, "seed: 0\n", {"GNAS": "confidence low"},
    )  # fmt: skip
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_page(page, path)
    return path.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, browser: Any, address: str) -> Iterator[Any]:
    """The page, opened without a network; a word on the console or a request to elsewhere fails the test."""
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 1400}, color_scheme=request.param)
    opened = context.new_page()
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on(
        "request", lambda asked: said.append(asked.url) if not asked.url.startswith(("file:", "data:", "blob:")) else None
    )
    opened.goto(address)
    opened.wait_for_selector("body[data-ready]", timeout=60_000)
    yield opened
    assert said == []
    context.close()


def place_of(page: Any, spot: int) -> tuple[float, float]:
    """Where a spot lies on the screen."""
    found = page.evaluate(
        """(spot) => {
          const [plot, spots] = ["tissue", "spots"].map((name) => Bokeh.documents[0].get_model_by_name(name));
          const drawn = Bokeh.index.find_one_by_id(plot.id), box = drawn.frame.bbox, whole = drawn.el.getBoundingClientRect();
          const share = (range, value) => (value - range.start) / (range.end - range.start);
          return [whole.left + box.left + share(plot.x_range, spots.data.x[spot]) * box.width,
                  whole.top + box.top + (1 - share(plot.y_range, spots.data.y[spot])) * box.height];
        }""",
        spot,
    )
    return found[0], found[1]


def test_a_gene_is_found_by_its_name_in_any_case_and_an_unknown_one_is_said(page: Any) -> None:
    assert "ERBB2, predicted: 0 to 70 in section S1" in page.inner_text("#status")
    page.fill("#gene", "gnas")
    page.press("#gene", "Enter")
    assert "GNAS, predicted" in page.inner_text("#status")
    assert page.inner_text("#status").endswith("; confidence low")
    page.fill("#gene", "NOGENE")
    page.press("#gene", "Enter")
    assert "No gene NOGENE" in page.inner_text("#status")


def test_layers_and_colour_scales_switch(page: Any) -> None:
    page.check("input[value=measured]")
    assert "ERBB2, measured: 0 to 35" in page.inner_text("#status")
    page.check("input[value=shared]")
    assert "ERBB2, measured: 0 to 70" in page.inner_text("#status")
    page.check("input[value=difference]")
    assert "predicted − measured: -35 to 35" in page.inner_text("#status")
    page.check("input[value=uncertainty]")
    assert "uncertainty: 0 to 3.5 in section S1 (spread)" in page.inner_text("#status")


def test_a_click_on_a_spot_tells_its_values_and_its_neighbours(page: Any) -> None:
    page.locator("#map").scroll_into_view_if_needed()
    page.mouse.click(*place_of(page, 14))
    page.wait_for_function("document.getElementById('spot').value === 'S1/14'")
    values = page.inner_text("#values").split("\n")
    told = dict(zip(values[::2], values[1::2], strict=True))
    assert float(told["measured"]) == pytest.approx(14, abs=0.1)
    assert float(told["predicted"]) == pytest.approx(28, abs=0.2)
    rows = page.locator("#nearest tbody tr")
    assert rows.count() == 3
    assert "T/a" in rows.nth(0).inner_text()
    assert "0.900" in rows.nth(0).inner_text()


def test_everything_works_by_keyboard(page: Any) -> None:
    page.focus("#map")
    page.keyboard.press("n")
    page.keyboard.press("n")
    assert page.input_value("#spot") == "S1/1"
    page.keyboard.press("p")
    assert page.input_value("#spot") == "S1/0"
    width = (
        "(() => { const range = Bokeh.documents[0].get_model_by_name('tissue').x_range; return range.end - range.start; })()"
    )
    before = page.evaluate(width)
    page.keyboard.press("+")
    assert page.evaluate(width) == pytest.approx(before / 1.4)
    page.keyboard.press("0")
    assert page.evaluate(width) == pytest.approx(before)
    page.focus("#section")
    page.keyboard.press("ArrowDown")
    page.wait_for_function("document.getElementById('status').textContent.includes('section S2')")


def test_the_table_sorts_both_ways(page: Any) -> None:
    heading = page.locator("#table th[scope=col]").nth(1)
    first = page.locator("#table tbody tr").first
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert first.inner_text().startswith("combined")
    heading.locator("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    assert first.inner_text().startswith("mean")


def test_the_map_shows_what_is_chosen(page: Any) -> None:
    def shot() -> bytes:
        page.wait_for_timeout(300)
        taken: bytes = page.locator("#map").screenshot()
        return taken

    page.mouse.move(0, 0)
    predicted = shot()
    page.check("input[value=difference]")
    assert shot() != predicted
    page.check("input[value=predicted]")
    assert shot() == predicted


def test_letters_stand_out_from_the_paper(page: Any) -> None:
    """WCAG's contrast of body text, which asks for 4.5."""
    colours = page.evaluate("(() => { const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]; })()")

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    light, dark = sorted((luminance(colour) for colour in colours), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5
