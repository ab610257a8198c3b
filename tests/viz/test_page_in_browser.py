"""The page driven as a reader drives it, in Chromium, from disk and without a network."""

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bleep.data.slides import ArraySlide
from bleep.viz.page import Cell, Column, Grid, Nearest, Page, TissueView, tiles_folder, write_page

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
SPOTS, SIZE = 36, (3000.0, 2400.0)


ODD = '<img src=x onerror="document.title=1"> − b'
"""A predictor called as nobody should call one."""


def view(section: str, **more: Any) -> TissueView:
    """A lattice of six by six spots in the middle of a slide; spot 14 of gene ERBB2 is 14 as measured and 28 as predicted."""
    at = np.arange(SPOTS, dtype=np.float32)
    measured = np.stack([at, at[::-1]], axis=1)
    places = np.stack([1100 + 160.0 * (at % 6), 900 + 120.0 * (at // 6)], axis=1).astype(np.float64)
    near, alike = np.tile(np.arange(3), (SPOTS, 1)), np.tile(np.float32([0.9, 0.8, 0.7]), (SPOTS, 1))
    return TissueView(
        section, np.full((240, 300, 3), 230, np.uint8), SIZE, places, 50.0,
        tuple(f"{section}/{row}" for row in range(SPOTS)), 2 * measured, measured, measured / 10,
        Nearest(("T/a", "T/b", "T/c"), near, alike, np.full((SPOTS, 3), 1 / 3, np.float32)), **more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    def row(name: str, value: float) -> tuple[Cell, ...]:
        return Cell(name, name), Cell(f"{value:.3f}", value)

    table = Grid((Column("predictor"), Column("PCC", "Pearson r")), (row("ridge", 0.3), row("combined", 0.4), row("mean", 0.0)))
    at = np.arange(SPOTS, dtype=np.float32)
    others = {"ridge": np.stack([at[::-1], at[::-1]], axis=1), ODD: np.full((SPOTS, 2), np.nan, np.float32)}
    compared = view("S1", mpp=0.5, predictor="combined", others=others)
    page = Page(
        "Protocol toy", "Two sections.", ("ERBB2", "GNAS"), (0, 1), "log1p", "spread", (compared, view("S2")), table,
        ("Leak: none", "no patient on both sides"), {"split": "by section"}, "seed: 0\n", {"GNAS": "confidence low"},
        {"ERBB2": ("high", 0.41), "GNAS": ("low", 0.02)},
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


@contextlib.contextmanager
def opened(browser: Any, address: str, scheme: str = "light", **how: Any) -> Iterator[Any]:
    """A page, opened without a network; a word on the console or a request to elsewhere fails the test."""
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 1400}, color_scheme=scheme, **how)
    found = context.new_page()
    said: list[str] = []
    found.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    found.on("pageerror", lambda error: said.append(str(error)))
    found.on("request", lambda asked: said.append(asked.url) if not asked.url.startswith(("file:", "data:", "blob:")) else None)
    found.goto(address)
    found.wait_for_selector("body[data-ready]", timeout=60_000)
    yield found
    assert said == []
    context.close()


@pytest.fixture(scope="module")
def light(browser: Any, address: str) -> Iterator[Any]:
    with opened(browser, address) as found:
        yield found


@pytest.fixture
def page(light: Any, address: str) -> Any:
    """The page, opened anew in one window."""
    light.mouse.move(0, 0)
    light.goto(address)
    light.wait_for_selector("body[data-ready]")
    return light


@pytest.fixture(scope="module", params=["light", "dark"])
def coloured(request: pytest.FixtureRequest, browser: Any, address: str) -> Iterator[Any]:
    """The page by day and by night."""
    with opened(browser, address, request.param) as found:
        yield found


def drawn(page: Any) -> None:
    """Wait until what was asked for is on the screen."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def looks(page: Any) -> tuple[float, float, float]:
    """Where the maps look: the place in the middle, and how many level-0 pixels one of the screen is."""
    drawn(page)
    x, y, unit = page.evaluate("(({ x, y, unit }) => [x, y, unit].map(Number))(document.getElementById('map').dataset)")
    return x, y, unit


def place_of(page: Any, spot: int, pane: int = 0) -> tuple[float, float]:
    """Where a spot lies on the screen."""
    x, y, unit = looks(page)
    box = page.locator("#map canvas").nth(pane).bounding_box()
    right, down = 1100 + 160.0 * (spot % 6) - x, 900 + 120.0 * (spot // 6) - y
    return box["x"] + box["width"] / 2 + right / unit, box["y"] + box["height"] / 2 + down / unit


def colour_at(page: Any, place: tuple[float, float], pane: int = 0) -> list[int]:
    """The colour of a map at a place on the screen."""
    drawn(page)
    found: list[int] = page.evaluate(
        """([pane, x, y]) => {
          const canvas = document.querySelectorAll("#map canvas")[pane], box = canvas.getBoundingClientRect();
          const dense = canvas.width / box.width, one = document.createElement("canvas");
          const pen = one.getContext("2d", { willReadFrequently: true });
          pen.drawImage(canvas, -Math.floor((x - box.left) * dense), -Math.floor((y - box.top) * dense));
          return [...pen.getImageData(0, 0, 1, 1).data];
        }""",
        [pane, *place],
    )
    return found


def titles(page: Any) -> list[str]:
    return [text.split("\n")[0] for text in page.locator("#map figcaption").all_inner_texts()]


def test_a_gene_is_found_by_its_name_in_any_case_and_an_unknown_one_is_said(page: Any) -> None:
    assert "ERBB2, measured: 0 to 35, predicted (combined): 0 to 70 in section S1" in page.inner_text("#status")
    page.fill("#gene", "gnas")
    page.press("#gene", "Enter")
    assert "GNAS, measured" in page.inner_text("#status")
    assert page.inner_text("#status").endswith("; confidence low")
    page.fill("#gene", "NOGENE")
    page.press("#gene", "Enter")
    assert "No gene NOGENE" in page.inner_text("#status")


def test_layers_and_colour_scales_switch(page: Any) -> None:
    page.check("input[value=one]")
    page.check("input[value=measured]")
    assert "ERBB2, measured: 0 to 35" in page.inner_text("#status")
    page.check("input[value=shared]")
    assert "ERBB2, measured: 0 to 70" in page.inner_text("#status")
    page.check("input[value='predicted − measured']")
    assert "− measured: -35 to 35" in page.inner_text("#status")
    page.check("input[value=uncertainty]")
    assert "uncertainty: 0 to 3.5 in section S1 (spread)" in page.inner_text("#status")


def test_it_opens_on_the_tissue_and_shows_the_whole_slide_when_asked(page: Any) -> None:
    x, y, unit = looks(page)
    assert (x, y) == (1500, 1200)
    box = page.locator("#map canvas").first.bounding_box()
    assert max(1100 / box["width"], 900 / box["height"]) == pytest.approx(unit, rel=1e-2)
    page.focus("#map")
    page.keyboard.press("w")
    assert looks(page)[2] == pytest.approx(max(SIZE[0] / box["width"], SIZE[1] / box["height"]), rel=1e-2)
    page.click("#tissue")
    assert looks(page) == (x, y, unit)


def test_maps_stand_side_by_side_and_move_together(page: Any) -> None:
    assert titles(page) == ["H&E", "measured", "predicted (combined)"]
    page.locator("#map").scroll_into_view_if_needed()
    places = [place_of(page, 8, pane) for pane in range(3)]
    before = [colour_at(page, place, pane) for pane, place in enumerate(places)]
    assert before[0] == [230, 230, 230, 255]
    assert before[1] == before[2] != before[0]  # A gene of half the values has the same colours on its own scale.
    middle = place_of(page, 14, 1)
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 60, middle[1] + 30, steps=4)
    page.mouse.up()
    moved = [place_of(page, 8, pane) for pane in range(3)]
    assert moved[0][0] - places[0][0] == pytest.approx(60, abs=1)
    unit = looks(page)[2]
    page.mouse.wheel(0, -200)
    page.wait_for_function("(unit) => Number(document.getElementById('map').dataset.unit) < unit", arg=unit)
    again = [place_of(page, 8, pane) for pane in range(3)]
    assert [colour_at(page, place, pane) for pane, place in enumerate(again)] == before


def test_genes_are_sorted_by_score_and_by_trust_and_chosen_by_keyboard(page: Any) -> None:
    headings = page.locator("#genelist th[scope=col]")
    assert headings.all_inner_texts() == ["gene", "r", "trust", "expected"]
    rows = page.locator("#genelist tbody tr")
    headings.nth(2).locator("button").press("Enter")
    assert rows.all_inner_texts() == ["ERBB2\t1.00\thigh\t0.41", "GNAS\t1.00\tlow\t0.02"]
    headings.nth(2).locator("button").press("Enter")
    assert rows.first.inner_text().startswith("GNAS")
    assert headings.nth(2).get_attribute("aria-sort") == "ascending"
    page.focus("#genelist tbody tr[tabindex='0']")
    page.keyboard.press("Home")
    assert page.input_value("#gene") == "GNAS"
    page.keyboard.press("ArrowDown")
    assert page.input_value("#gene") == "ERBB2"
    assert page.evaluate("document.activeElement.getAttribute('aria-selected')") == "true"


def test_long_names_of_genes_are_told_apart_by_their_ends(browser: Any, tmp_path: Path) -> None:
    genes = tuple(f"ENSMUSG000000{number:05d}.14" for number in range(30))
    shown = view("S1")
    layers = (np.repeat(layer[:, :1], len(genes), axis=1) for layer in (shown.predicted, shown.measured, shown.uncertainty))
    page = Page(
        "Long names", "One section.", genes, tuple(range(len(genes))), "log1p", "spread",
        (dataclasses.replace(shown, **dict(zip(("predicted", "measured", "uncertainty"), layers, strict=True))),),
        settings="seed: 0\n", grades=dict.fromkeys(genes, ("medium", 0.41)),
    )  # fmt: skip
    write_page(page, tmp_path / "page.html")
    with opened(browser, (tmp_path / "page.html").as_uri()) as found:
        names = found.locator("#genelist tbody th")
        assert sorted(names.all_inner_texts()) == sorted(genes), "search and copying find the whole name"
        assert names.first.evaluate("(cell) => cell.scrollWidth <= cell.clientWidth"), "the end of a name is not cut off"
        assert found.locator("#genebox").evaluate(
            "(box) => box.scrollWidth <= box.clientWidth && box.scrollHeight > box.clientHeight"
        )


def test_a_swipe_lays_the_map_over_the_picture_by_mouse_and_keyboard(page: Any) -> None:
    page.check("input[value=swipe]")
    page.locator("#map").scroll_into_view_if_needed()
    left, right = place_of(page, 6), place_of(page, 11)
    assert colour_at(page, left) == [230, 230, 230, 255] != colour_at(page, right)
    page.focus("#handle")
    page.keyboard.press("ArrowRight")
    assert page.get_attribute("#handle", "aria-valuenow") == "52"
    page.keyboard.press("Home")
    assert page.get_attribute("#handle", "aria-valuenow") == "0"
    assert colour_at(page, left) != [230, 230, 230, 255]
    box = page.locator("#map canvas").bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"], box["y"] + 40, steps=4)
    page.mouse.up()
    assert page.get_attribute("#handle", "aria-valuenow") == "100"
    assert colour_at(page, right) == [230, 230, 230, 255]


def test_two_predictors_are_compared_with_their_difference(page: Any) -> None:
    page.check("input[value=compare]")
    assert titles(page) == ["predicted (combined)", "ridge", "predicted (combined) − ridge"]
    assert "ridge: 0 to 35, predicted (combined) − ridge: -70 to 70 in section S1" in page.inner_text("#status")
    assert "r = -1.00 between ridge and measured" in page.inner_text("#status")
    assert page.locator("#genelist th[scope=col]").all_inner_texts()[:3] == ["gene", "r of A", "r of B"]
    page.select_option("#first", "measured")
    assert "measured − ridge: -35 to 35" in page.inner_text("#status")
    page.select_option("#second", "other1")
    assert ODD in titles(page)
    assert page.title() == "Protocol toy"
    page.select_option("#section", "1")
    page.wait_for_function("document.getElementById('status').textContent.includes('section S2')")
    assert titles(page) == ["measured", "predicted", "measured − predicted"]


def test_a_click_on_a_spot_tells_its_values_and_its_neighbours(page: Any) -> None:
    page.locator("#map").scroll_into_view_if_needed()
    page.mouse.click(*place_of(page, 14))
    page.wait_for_function("document.getElementById('spot').value === 'S1/14'")
    values = page.inner_text("#values").split("\n")
    told = dict(zip(values[::2], values[1::2], strict=True))
    assert float(told["measured"]) == pytest.approx(14, abs=0.1)
    assert float(told["predicted (combined)"]) == pytest.approx(28, abs=0.2)
    # The page unpacks neighbours beside the values, and shows them when it has them.
    page.wait_for_function("document.querySelectorAll('#nearest tbody tr').length === 3")
    rows = page.locator("#nearest tbody tr")
    assert "T/a" in rows.nth(0).inner_text()
    assert "0.900" in rows.nth(0).inner_text()


def test_everything_works_by_keyboard(page: Any) -> None:
    page.focus("#map")
    page.keyboard.press("n")
    page.keyboard.press("n")
    assert page.input_value("#spot") == "S1/1"
    page.keyboard.press("p")
    assert page.input_value("#spot") == "S1/0"
    before = looks(page)[2]
    page.keyboard.press("+")
    assert looks(page)[2] == pytest.approx(before / 1.4)
    page.keyboard.press("ArrowRight")
    assert looks(page)[0] > 1500
    page.keyboard.press("0")
    assert looks(page) == (1500, 1200, before)
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


def test_the_map_shows_what_is_chosen(coloured: Any) -> None:
    page = coloured

    def shot() -> bytes:
        drawn(page)
        taken: bytes = page.locator("#map").screenshot()
        return taken

    page.mouse.move(0, 0)
    page.check("input[value=one]")
    predicted = shot()
    page.check("input[value='predicted − measured']")
    assert shot() != predicted
    page.check("input[value=predicted]")
    assert shot() == predicted


def test_letters_stand_out_from_the_paper(coloured: Any) -> None:
    """WCAG's contrast of body text, which asks for 4.5."""
    colours = coloured.evaluate("(() => { const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]; })()")

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    light, dark = sorted((luminance(colour) for colour in colours), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_a_large_slide_is_looked_into_by_tiles_beside_the_page(browser: Any, tmp_path: Path) -> None:
    """Each pixel of the slide is there, though the page holds a picture of 300; without the folder that picture stays."""
    pixels = np.full((2400, 3000, 3), 200, np.uint8)
    pixels[1190:1210, 1490:1510] = (255, 0, 0)
    deep = view("S1", slide=ArraySlide(pixels))
    path = tmp_path / "my page #1.html"
    write_page(Page("t", "", ("ERBB2", "GNAS"), (0, 1), "log1p", "spread", (deep,)), path)
    folder = tiles_folder(path)
    assert path.stat().st_size < 200_000
    with opened(browser, path.as_uri()) as page:
        page.focus("#map")
        for _ in range(8):
            page.keyboard.press("+")
        assert looks(page)[2] < 1
        page.wait_for_timeout(300)
        taken = page.locator("#map canvas").first.screenshot(path=tmp_path / "deep.png")
        assert taken
    with Image.open(tmp_path / "deep.png") as shot:
        middle = np.asarray(shot.convert("RGB"))[shot.height // 2, shot.width // 2].astype(int)
    assert middle[0] > 230
    assert middle[1:].max() < 40
    shutil.rmtree(folder)
    context = browser.new_context(offline=True)
    alone = context.new_page()
    alone.goto(path.as_uri())
    alone.wait_for_function("document.getElementById('shown').textContent.includes('is not beside this page')")
    context.close()
