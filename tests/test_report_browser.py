"""The report page in a real browser, opened from disk with the network blocked."""

import json
import math
import os
import shutil

import numpy as np
import pytest

from skdcec.report import read_names, write_report

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright for Python")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or "/usr/bin/chromium"
if not os.path.exists(CHROMIUM):
    pytest.skip("needs Chromium", allow_module_level=True)

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
]
N = 120
ODD_NAMES = {
    3: "<script>window.hacked = 1</script>.png",
    4: "<img src=x onerror=window.hacked=1>.png",
    5: "line\nbreak \"quote\" 'quote'.png",
    6: os.fsdecode(b"caf\xe9.png"),
    7: "=HYPERLINK(1).png",
}


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """Three well separated groups of images of one colour each, every image another colour."""
    colours = np.stack([np.arange(N) * 2, 255 - np.arange(N) * 2, np.arange(N) % 3 * 100], axis=1)
    images = np.broadcast_to(colours[:, None, None, :], (N, 40, 40, 3)).astype(np.uint8)
    labels = np.arange(N) % 3
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [5.0, 8.0]])
    places = centres[labels] + rng.uniform(-1.5, 1.5, (N, 2))
    path = tmp_path_factory.mktemp("browser") / "page.html"
    write_report(
        path,
        images,
        labels,
        paths=[ODD_NAMES.get(i, f"room {i % 4}/Müller {i}.png") for i in range(N)],
        embedding=places,
        map_coordinates=places,
        metadata={
            "school": [["north", "south", "<b>east</b>"][label] for label in labels],
            "year": np.arange(N) + 1700,
            "id": [f"inventory {i}" for i in range(N)],
        },
        history={"Pretraining": {"loss": [3, 2, 1]}, "Joint training": {"loss": [1, 0.5]}},
        settings={"n_clusters": 3},
    )
    return path


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium, playwright
        chromium.close()


@pytest.fixture
def open_page(browser, page_file):
    """Open the page; fail the test on any request, console error or exception."""
    chromium, playwright = browser
    contexts, troubles = [], []

    def watch_request(request):
        if not request.url.startswith(("data:", "blob:")) and request.url.split("#")[0] != url:
            troubles.append(f"request {request.url}")

    url = page_file.as_uri()

    def start(device=None, fragment="", script=None, **options):
        options.setdefault("reduced_motion", "reduce")
        options |= {
            key: value
            for key, value in (playwright.devices[device] if device else {}).items()
            if key != "default_browser_type"
        }
        context = chromium.new_context(offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("request", watch_request)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on(
            "console",
            lambda message: (
                troubles.append(message.text) if message.type in ("error", "warning") else None
            ),
        )
        if script:
            page.add_init_script(script)
        page.goto(url + fragment)
        page.wait_for_selector("#table-body table")
        return page

    yield start
    hacked = [page.evaluate("window.hacked") for context in contexts for page in context.pages]
    for context in contexts:
        context.close()
    assert troubles == []
    assert not any(hacked)


def place_of(page, i):
    """Return where image i is on the screen, the map scrolled into view."""
    page.locator("#stage").scroll_into_view_if_needed()
    box = page.locator("#canvas").bounding_box()
    x, y = page.evaluate(f"placeOf({i})")
    return box["x"] + x, box["y"] + y


def wait_until(page, condition):
    """Poll: Playwright's own wait evaluates strings, which the page's policy forbids."""
    for _ in range(100):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never true: {condition}")


def use_dots(page):
    page.click("#mode button[data-value=dots]")


def test_names_on_the_map_stand_where_their_cluster_is_densest(browser, tmp_path):
    rng = np.random.default_rng(0)
    places = np.concatenate([rng.normal(0, 1, (60, 2)), rng.normal([9, 0], 1, (60, 2))])
    labels = np.repeat([0, 1], 60)
    # The most typical image of 1 lies amid 0, as may be where the map is not the refined space.
    labels[0] = 1
    distances = np.ones((120, 2))
    distances[0] = 0
    write_report(
        tmp_path / "page.html",
        np.zeros((120, 8, 8, 3), dtype=np.uint8),
        labels,
        embedding=places,
        map_coordinates=places,
        distances=distances,
    )
    page = browser[0].new_page()
    page.goto((tmp_path / "page.html").as_uri())
    page.wait_for_selector("#table-body table")
    assert page.evaluate("data.clusters[rankOfCluster.get(1)].typical[0]") == 0
    (first, _), (second, _) = page.evaluate("[0, 1].map((c) => namePlaces[rankOfCluster.get(c)])")
    page.close()
    assert first < 0.3 < 0.7 < second


def test_every_part_is_there(open_page):
    page = open_page()
    assert page.locator("article.cluster").count() == 3
    first = page.locator("article.cluster").first
    assert first.locator("img").count() == 24
    assert all(first.locator("img").evaluate_all("nodes => nodes.map(node => node.alt)"))
    assert first.locator(".palette span").count() >= 1
    assert page.locator("#metadata-body details").count() == 2
    assert "120 different values" in page.text_content("#metadata-body")
    assert page.locator(".curves figure").count() == 2
    assert "nothing leaves this computer" in page.text_content("footer")
    lead, agreement = page.text_content("#lead").split("; ")
    assert lead == "120 images in 3 clusters"
    assert "agree by" in agreement
    assert page.is_hidden("#problem")
    undrawn = "nodes => nodes.filter(node => node.complete && !node.naturalWidth).length"
    assert page.locator("img").evaluate_all(undrawn) == 0


def test_every_picture_has_the_colour_of_its_file(open_page):
    page = open_page()
    colours = page.evaluate(
        """async () => {
            const canvas = document.createElement("canvas");
            const brush = canvas.getContext("2d", { willReadFrequently: true });
            const found = [];
            for (let i = 0; i < N; i++) {
                const image = picture(i);
                await image.decode();
                brush.drawImage(image, 0, 0, 1, 1);
                const single = [...brush.getImageData(0, 0, 1, 1).data.slice(0, 3)];
                const cell = cellOf(i);
                await sheet(cell.number).loaded;
                brush.drawImage(sheet(cell.number).image, cell.x, cell.y, CELL, CELL, 0, 0, 1, 1);
                const small = [...brush.getImageData(0, 0, 1, 1).data.slice(0, 3)];
                found.push([image.alt, single, small]);
            }
            return found;
        }"""
    )
    for i, (name, single, cell) in enumerate(colours):
        assert name == ODD_NAMES.get(i, f"room {i % 4}/Müller {i}.png")
        expected = [2 * i, 255 - 2 * i, i % 3 * 100]
        np.testing.assert_allclose(single, expected, atol=8)
        np.testing.assert_allclose(cell, expected, atol=8)


@pytest.mark.parametrize("i", [50, 4])
def test_hover_shows_the_image_under_the_pointer(open_page, i):
    page = open_page()
    use_dots(page)
    x, y = place_of(page, i)
    page.mouse.move(x + 1, y + 1)
    assert page.evaluate("state.focus") == i
    assert page.is_hidden("#card")
    page.wait_for_selector("#card:not([hidden])")
    assert ODD_NAMES.get(i, f"Müller {i}.png") in page.text_content("#card")
    page.mouse.move(5, 5)
    page.wait_for_selector("#card", state="hidden")


def test_click_opens_the_image_and_those_like_it(open_page):
    page = open_page()
    use_dots(page)
    page.mouse.click(*place_of(page, 41))
    page.wait_for_selector("#dialog[open]")
    assert page.text_content("#dialog h3") == "Müller 41.png"
    shown = page.locator("#dialog .tile").evaluate_all("nodes => nodes.map(n => +n.dataset.image)")
    places = np.array(page.evaluate("[...positions]")).reshape(N, 2)
    nearest = np.linalg.norm(places - places[41], axis=1).argsort()[1:19]
    assert len(set(shown) & set(nearest.tolist())) >= 17
    page.locator("#dialog .tile").first.click()
    assert page.get_attribute("#dialog .image-view", "data-image") == str(shown[0])
    page.keyboard.press("Escape")
    assert page.locator("#dialog[open]").count() == 0


def test_lasso_lists_and_saves_what_it_encloses(open_page, tmp_path):
    page = open_page()
    use_dots(page)
    page.click("#tool button[data-value=lasso]")
    members = range(0, N, 3)
    places = np.array([place_of(page, i) for i in members])
    x, y = places.mean(axis=0)
    radius = np.linalg.norm(places - [x, y], axis=1).max() + 12
    page.mouse.move(x + radius, y)
    page.mouse.down()
    for step in range(1, 25):
        angle = step / 24 * 2 * math.pi
        page.mouse.move(x + radius * math.cos(angle), y + radius * math.sin(angle))
    page.mouse.up()
    page.wait_for_selector("#gallery:not([hidden])")
    assert "40 images" in page.text_content("#gallery h3")
    assert page.locator("#gallery .tile").count() == 40
    with page.expect_download() as download:
        page.click("#save-selection")
    download.value.save_as(tmp_path / "selection.csv")
    lines = (tmp_path / "selection.csv").read_text(encoding="utf-8-sig")
    assert lines.splitlines()[0].startswith("file,cluster,cluster_name,confidence")
    assert lines.count(",Cluster 0,") == 40
    assert "<script>window.hacked = 1</script>.png,0," in lines


def test_box_with_shift(open_page):
    page = open_page()
    use_dots(page)
    places = np.array([place_of(page, i) for i in range(1, N, 3)])
    (left, top), (right, bottom) = places.min(axis=0) - 6, places.max(axis=0) + 6
    page.keyboard.down("Shift")
    page.mouse.move(left, top)
    page.mouse.down()
    page.mouse.move(right, bottom, steps=4)
    page.mouse.up()
    page.keyboard.up("Shift")
    page.wait_for_selector("#gallery:not([hidden])")
    assert "40 images" in page.text_content("#gallery h3")


def test_search_over_names_metadata_and_clusters(open_page):
    page = open_page()
    for text, found in [("muller 11", 11), ("<b>east", 40), ("Cluster 2", 40), ("zzz", 0)]:
        page.fill("#search", text)
        expected = f"List {found} images" if found else "No match"
        wait_until(page, f"$('search-show').textContent === {json.dumps(expected)}")
    page.fill("#search", "inventory 113")
    wait_until(page, "state.found === 1")
    page.click("#search-show")
    assert page.get_attribute("#gallery .tile", "data-image") == "113"


def test_the_address_keeps_the_view(open_page):
    page = open_page(fragment="#x=0.3&y=0.6&zoom=4&colour=school&search=north")
    assert page.evaluate("[state.x, state.y, state.zoom, state.found]") == [0.3, 0.6, 4, 40]
    assert page.input_value("#colour") == "school"
    assert page.locator("#legend li").count() == 3
    page.select_option("#colour", "year")
    page.fill("#search", "")
    wait_until(page, "location.hash.includes('colour=year') && !location.hash.includes('se')")
    page.click("#zoom-all")
    wait_until(page, "!location.hash.includes('zoom')")


def test_keyboard_alone(open_page):
    page = open_page()
    page.locator("#canvas").focus()
    page.keyboard.press("ArrowRight")
    first = page.evaluate("state.focus")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("state.focus") != first >= 0
    before = page.evaluate("state.zoom")
    page.keyboard.press("+")
    assert page.evaluate("state.zoom") > before
    focus = page.evaluate("state.focus")
    page.keyboard.press("Enter")
    assert page.get_attribute("#dialog .image-view", "data-image") == str(focus)
    page.keyboard.press("Escape")
    page.keyboard.press("0")
    wait_until(page, "state.zoom === 1")


def test_the_wheel_scrolls_the_page_until_the_map_is_chosen(open_page):
    page = open_page()
    page.mouse.move(*place_of(page, 0))
    page.mouse.wheel(0, -60)
    assert page.evaluate("state.zoom") == 1
    page.locator("#canvas").focus()
    page.mouse.move(*place_of(page, 0))
    page.mouse.wheel(0, -300)
    wait_until(page, "state.zoom > 1.5")
    assert "images drawn" in page.text_content("#drawn")


def test_names_are_kept_exported_and_read_back(open_page, tmp_path):
    page = open_page()
    name = '<i>Portraits</i> "dark"'
    page.locator('[data-cluster="1"] input').fill(name)
    page.locator('[data-cluster="1"] textarea').fill("two\nlines")
    assert name in page.text_content("#legend")
    with page.expect_download() as download:
        page.click("#save-names")
    download.value.save_as(tmp_path / "names.json")
    assert read_names(tmp_path / "names.json")[1] == {"name": name, "note": "two\nlines"}
    page.reload()
    assert page.locator('[data-cluster="1"] input').input_value() == name


def test_metadata_cells_open_their_images(open_page):
    page = open_page()
    page.locator(".cross td button:not(:disabled)").first.click()
    assert "40 images" in page.text_content("#gallery h3")


def test_rare_values_share_a_row_that_opens_them(browser, tmp_path):
    # Forty values of three images each, and nine of one.
    values = [f"v{i % 40}" for i in range(120)] + [f"rare {i}" for i in range(9)]
    images = np.zeros((129, 8, 8, 3), dtype=np.uint8)
    places = np.random.default_rng(0).normal(size=(129, 2))
    write_report(
        tmp_path / "page.html",
        images,
        np.arange(129) % 2,
        embedding=places,
        map_coordinates=places,
        metadata={"kind": values},
    )
    page = browser[0].new_page()
    page.goto((tmp_path / "page.html").as_uri())
    row = page.locator(".cross tr", has=page.locator("th", has_text="9 others"))
    assert row.locator("button").all_text_contents() == ["5", "4"]
    row.locator("button").first.click()
    assert "9 others in Cluster 0, 5 images" in page.text_content("#gallery h3")
    assert page.locator("#gallery .tile").count() == 5
    page.close()


def test_table_sorts_and_saves(open_page, tmp_path):
    page = open_page()
    page.get_by_role("button", name="year").click()
    page.get_by_role("button", name="year").click()
    assert page.text_content("#table-body tbody tr td") == "room 3/Müller 119.png"
    page.get_by_role("button", name="Next").click()
    assert page.locator("#table-body tbody tr").count() == 20
    with page.expect_download() as download:
        page.click("#save-all")
    download.value.save_as(tmp_path / "clusters.csv")
    assert "\r\n'=HYPERLINK(1).png," in (tmp_path / "clusters.csv").read_bytes().decode("utf-8")


def test_without_canvas_a_message_and_the_table_remain(open_page):
    page = open_page(script="HTMLCanvasElement.prototype.getContext = () => null;")
    assert "cannot draw the map" in page.text_content("#problem")
    assert page.is_hidden("#map")
    assert page.locator("article.cluster img").count() > 0
    assert page.locator("#table-body tbody tr").count() == 100
    page.locator("article.cluster .tile").first.click()
    assert page.locator("#dialog .tile").count() == 18
    page.keyboard.press("Escape")
    page.locator("article.cluster button", has_text="See all").first.click()
    assert page.locator("#gallery .tile").count() == 40


def test_phone(open_page):
    page = open_page(device="Pixel 7")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    use_dots(page)
    page.touchscreen.tap(*place_of(page, 8))
    page.wait_for_selector("#dialog[open]")
    assert page.get_attribute("#dialog .image-view", "data-image") == "8"
    page.click("#dialog .dialog-bar button:last-child")
    page.locator("#stage").scroll_into_view_if_needed()
    box = page.locator("#canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = page.context.new_cdp_session(page)

    def touches(kind, spread):
        points = [{"x": x - spread, "y": y, "id": 0}, {"x": x + spread, "y": y, "id": 1}]
        touch.send(
            "Input.dispatchTouchEvent",
            {"type": kind, "touchPoints": points if kind != "touchEnd" else []},
        )

    touches("touchStart", 20)
    for spread in (40, 60, 80):
        touches("touchMove", spread)
    touches("touchEnd", 0)
    assert page.evaluate("state.zoom") == pytest.approx(4, rel=0.2)
    assert page.locator("#dialog[open]").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(open_page, scheme):
    page = open_page(color_scheme=scheme)
    paper = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(paper)
    assert (before == "rgb(20, 20, 19)") == (scheme == "dark")
    page.click("#theme")
    assert page.evaluate(paper) != before


@pytest.mark.parametrize(("motion", "frames"), [("reduce", 1), ("no-preference", 3)])
def test_reduced_motion(open_page, motion, frames):
    page = open_page(reduced_motion=motion)
    page.evaluate("window.seen = []; rememberView = () => window.seen.push(state.zoom); null")
    page.click("#zoom-in")
    wait_until(page, "Math.abs(state.zoom - 1.8) < 1e-9")
    steps = page.evaluate("window.seen.length")
    assert steps == 1 if motion == "reduce" else steps >= frames


def test_print_keeps_the_pictures_and_drops_the_controls(open_page):
    page = open_page()
    page.emulate_media(media="print")
    assert page.is_hidden(".controls")
    assert page.is_visible("article.cluster img >> nth=0")
