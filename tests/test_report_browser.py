"""The report page in a real browser, opened from disk with the network blocked."""

import json
import math
import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skdcec.report import Report, read_edits, read_names, read_table, write_report
from skdcec.report.choice import write_choice_page

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
        settings={"n_clusters": 3, "seed": 0},
        skipped=[(name, "not an image") for name in ODD_NAMES.values()],
        duplicates=[[3, 4], [5, 6, 7]],
    )
    return path


@pytest.fixture(scope="module")
def file_page(page_file):
    """Files of two sizes beside their page, one of them under a name that is no UTF-8."""
    folder = page_file.parent / "originals"
    folder.mkdir()
    names = [f"{i} 100%#?&'ü.png" for i in range(11)] + [ODD_NAMES[6]]
    for i, name in enumerate(names):
        Image.new("RGB", (300 + i, 200), (20 * i, 60, 90)).save(folder / name)
    places = np.column_stack([np.arange(12) // 6 * 9 + np.arange(12) % 6 * 0.1, np.arange(12.0)])
    path = page_file.parent / "files.html"
    labels = np.repeat([0, 1], 6)
    files = [folder / name for name in names]
    options = {"embedding": places, "map_coordinates": places, "paths": names}
    write_report(path, files, labels, **options)
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
    originals = page_file.parent.joinpath("originals").as_uri()
    contexts, troubles, opened = [], [], set()

    def watch_request(request):
        known = request.url.startswith(("data:", "blob:")) or request.url.split("#")[0] in opened
        # What the reader asks for, which lies on the same disk.
        if not known and not request.url.startswith(originals):
            troubles.append(f"request {request.url}")

    def start(device=None, fragment="", script=None, file=page_file, **options):
        opened.add(file.as_uri())
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
        page.goto(file.as_uri() + fragment)
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
    lead, agreement, _ = page.text_content("#lead").split("; ")
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


def test_columns_that_divide_alike_share_a_sentence(open_page, tmp_path):
    labels = np.repeat([0, 1], 10)
    names = ["Monet" if label else "Sisley" for label in labels]
    metadata = {"artist": names, "folder": names, "wall": [str(i % 3) for i in range(20)]}
    metadata["room"] = ["north", "south"] * 10
    options = {"embedding": np.eye(2)[labels], "metadata": metadata}
    path = tmp_path / "page.html"
    write_report(path, np.zeros((20, 8, 8), np.uint8), labels, **options)
    said = open_page(file=path).locator("#metadata-body li").all_inner_texts()
    assert len(said) == 2
    assert "its artist and its folder, which divide the images alike (1.00, by chance" in said[0]
    assert said[0].endswith(" almost entirely.")
    # Those of one degree are said in one sentence.
    assert "its wall (" in said[1]
    assert " and its room (" in said[1]
    assert said[1].endswith(" hardly more than chance would.")


def test_what_chance_would_give_can_be_shown_beside_every_count(open_page):
    page = open_page("Pixel 7")
    label = "In brackets, what chance would give"
    beside = (
        "[...document.querySelectorAll('.cross button')].slice(0, 3)"
        ".map((cell) => getComputedStyle(cell, '::after').content)"
    )
    assert {*page.evaluate(beside)} == {"none"}
    # Without a mouse, also of cells that hold nothing.
    page.get_by_label(label).first.focus()
    page.keyboard.press("Space")
    shown = page.evaluate(beside)
    assert all(re.fullmatch(r'"\(\d+\.\d\)"', text) for text in shown)
    titles = page.locator(".cross td button").evaluate_all("(cells) => cells.map((c) => c.title)")
    assert all(
        f"{text[2:-2]} expected" in title for text, title in zip(shown, titles[:3], strict=True)
    )


def test_a_single_image_is_no_more_than_chance_would_give(open_page, tmp_path):
    path = tmp_path / "page.html"
    metadata = {"by": ["a"] * 60 + ["b"] + ["a"] * 4 + ["c"] * 35}
    labels = np.repeat([0, 1, 2], [60, 5, 35])
    write_report(path, np.zeros((100, 8, 8), dtype=np.uint8), labels, metadata=metadata)
    cells = open_page(file=path).evaluate(
        "[...document.querySelectorAll('.cross td button')].map((cell) => "
        "[cell.textContent, cell.title.split('residual ')[1], cell.style.length > 0])"
    )
    strong = {text: shaded for text, residual, shaded in cells if float(residual) > 2}
    assert strong["1"] is False
    assert strong["35"] is True


def test_a_name_too_long_for_its_card_shows_that_it_goes_on(open_page):
    page = open_page("Pixel 7")
    page.locator(".cluster-name input").first.fill("Dark figures, after Caravaggio and others")
    style = "getComputedStyle(document.querySelector('.cluster-name input')).textOverflow"
    assert page.evaluate(style) == "ellipsis"


def test_what_is_changed_in_a_card_stays_within_it(open_page):
    page = open_page()
    page.evaluate("changeName(2, { name: 'A very long name of a cluster with many words in it' })")
    page.locator("article.cluster summary").first.click()
    ends = (
        "[...document.querySelectorAll('.cluster-about, .cluster-about .mover select')].slice(0, 2)"
    )
    about, select = page.evaluate(f"{ends}.map((node) => node.getBoundingClientRect().right)")
    assert select <= about


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
    page.get_by_role("button", name="Next", exact=True).click()
    assert page.locator("#table-body tbody tr").count() == 25
    assert "26 to 50 of 120" in page.inner_text("#table-body")
    with page.expect_download() as download:
        page.click("#save-all")
    download.value.save_as(tmp_path / "clusters.csv")
    assert "\r\n'=HYPERLINK(1).png," in (tmp_path / "clusters.csv").read_bytes().decode("utf-8")


def test_a_sample_says_so_and_counts_all(open_page, tmp_path):
    path = tmp_path / "sampled.html"
    labels = np.repeat([0, 1, 2], [900, 96, 4])
    places = np.random.default_rng(0).normal(size=(1000, 2)) + 9 * labels[:, None]
    images = np.zeros((1000, 8, 8), dtype=np.uint8)
    metadata = {"school": ["north", "south"] * 500}
    write_report(path, images, labels, embedding=places, metadata=metadata, max_images=60)
    page = open_page(file=path)
    words = "a sample of 60 of 1\u2009000 images"
    for place in ("#sample", "#similar-hint", "#table-hint", "#drawn"):
        assert words in page.locator(place).inner_text()
    assert page.locator("#lead").inner_text().startswith("1\u2009000 images in 3 clusters")
    sizes = page.locator("article.cluster .cluster-size").all_inner_texts()
    assert [size.split(",")[0] for size in sizes] == ["900 images", "96 images", "4 images"]
    assert page.locator("#legend .number").all_inner_texts() == ["900", "96", "4"]
    small = page.locator('article[data-cluster="2"] button')
    assert small.filter(has_text="See all 4").count() == 1
    shown = int(page.evaluate("indicesOf((i) => labels[i] === 0).length"))
    page.get_by_role("button", name=f"See {shown} of 900").click()
    assert f"{shown} images on this page" in page.locator("#gallery h3").inner_text()
    # What is moved is on the page; what is not stays where it was.
    page.evaluate("moveImages(indicesOf((i) => labels[i] === 0), 1)")
    sizes = page.locator("article.cluster .cluster-size").all_inner_texts()
    counts = [f"{900 - shown} images", f"{96 + shown} images", "4 images"]
    assert [size.split(",")[0] for size in sizes] == counts
    assert "not on this page stay" in page.locator("#edit-count").inner_text()


def test_without_canvas_a_message_and_the_table_remain(open_page):
    page = open_page(script="HTMLCanvasElement.prototype.getContext = () => null;")
    assert "cannot draw the map" in page.text_content("#problem")
    assert page.is_hidden("#map")
    assert page.locator("article.cluster img").count() > 0
    assert page.locator("#table-body tbody tr").count() == 25
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


def test_the_original_fills_the_screen_and_arrows_move_on(open_page, file_page):
    page = open_page(file=file_page)
    page.locator("article.cluster .tile").first.click()
    shown = (
        page.locator("article.cluster")
        .first.locator(".tile")
        .evaluate_all("nodes => nodes.slice(0, 3).map(n => +n.dataset.image)")
    )
    for i in shown:
        assert page.get_attribute("#dialog .image-view", "data-image") == str(i)
        page.keyboard.press("ArrowRight")
    page.keyboard.press("f")
    for i in range(12):
        page.evaluate(f"viewing.among = [...Array(N).keys()]; showImage({i})")
        wait_until(page, f"document.querySelector('.large img').naturalWidth === {300 + i}")
    page.keyboard.press("ArrowLeft")
    assert page.text_content(".large figcaption").startswith("10 100%#?&'ü.png")
    page.keyboard.press("f")
    assert page.locator("#dialog .image-view").count() == 1
    page.keyboard.press("f")
    wait_until(page, "document.fullscreenElement !== null")
    page.keyboard.press("Escape")
    wait_until(page, "!viewing.full")
    assert page.evaluate("$('dialog').open")


def test_the_press_that_ends_the_full_screen_leaves_the_image_open(open_page, file_page):
    page = open_page(file=file_page)
    page.locator("article.cluster .tile").first.click()
    page.keyboard.press("f")
    wait_until(page, "document.fullscreenElement !== null")
    # As a browser does by itself: first the screen, then the dialog.
    page.evaluate("document.exitFullscreen()")
    wait_until(page, "!viewing.full")
    asked = "$('dialog').dispatchEvent(new Event('cancel', { cancelable: true }))"
    assert page.evaluate(f"viewing.ended = performance.now(); !{asked}")
    assert page.evaluate(f"viewing.ended -= ONE_PRESS; {asked}")


def test_an_original_that_is_gone_leaves_its_thumbnail(browser, file_page, tmp_path):
    moved = tmp_path / "moved.html"
    shutil.copy(file_page, moved)
    page = browser[0].new_page()
    page.goto(moved.as_uri())
    page.wait_for_selector("#table-body table")
    page.evaluate("openImage(3); showFull(true)")
    page.wait_for_selector(".large figcaption:has-text('small picture')")
    assert page.evaluate("document.querySelector('.large img').src").startswith("data:image/webp")
    page.close()


def test_a_page_without_its_images_says_once_that_there_are_no_originals(
    open_page, browser, file_page, tmp_path
):
    moved = tmp_path / "moved.html"
    shutil.copy(file_page, moved)
    page = browser[0].new_page()
    page.goto(moved.as_uri())
    page.wait_for_selector("#table-body table")
    page.evaluate("openImage(3)")
    page.wait_for_selector("#dialog .gone")
    assert "mailed or moved without the folder" in page.text_content("#dialog .gone")
    assert page.locator("#dialog a").count() == 0
    page.keyboard.press("ArrowRight")
    wait_until(page, "document.querySelectorAll('#dialog a').length === 0")
    assert "No original here" in page.text_content("#dialog .dialog-bar")
    assert page.locator("#dialog .gone").count() == 0
    page.close()
    # In its place it says nothing, and after the first no other is read before it is asked for.
    page = open_page(file=file_page)
    page.evaluate("openImage(3)")
    wait_until(page, "sought.found")
    assert page.locator("#dialog a").count() == 1
    assert page.locator("#dialog .gone").count() == 0


def test_files_that_were_not_used_and_copies_are_named(open_page, tmp_path):
    path = tmp_path / "page.html"
    skipped = [
        (ODD_NAMES[4], "<script>window.hacked = 1</script>"),
        (os.fsdecode(b"\xe9.tif"), "x"),
    ]
    options = {"paths": [ODD_NAMES.get(i, f"{i}.png") for i in range(12)], "embedding": np.eye(12)}
    images = np.zeros((12, 8, 8, 3), dtype=np.uint8)
    write_report(
        path, images, np.arange(12) % 2, skipped=skipped, duplicates=[[4, 1], [8, 9, 2]], **options
    )
    page = open_page(file=path)
    assert page.get_by_role("link", name="Settings").count() == 1
    assert page.is_hidden("#skipped li")
    page.click("#lead >> text=2 files were not used")
    assert page.locator("#skipped li").all_inner_texts()[0] == " ".join(skipped[0])
    assert page.evaluate("document.activeElement.textContent") == "Files that were not used: 2"
    page.click("#copies summary")
    lines = page.locator("#copies li").all_inner_texts()
    assert lines == [f"1.png = {ODD_NAMES[4]}", "2.png = 8.png = 9.png"]
    assert page.text_content("#copies summary") == "Copies of other images: 3"
    page.click("#copies >> text=8.png")
    assert page.evaluate("viewing.image") == 8
    assert page.evaluate("viewing.among") == [2, 8, 9]


def test_of_many_files_that_were_not_used_some_are_named(open_page, tmp_path):
    path = tmp_path / "page.html"
    skipped = [(f"{i}.txt", "no image") for i in range(1000)]
    images = np.zeros((400, 8, 8), dtype=np.uint8)
    write_report(path, images, np.arange(400) % 2, skipped=skipped, duplicates=[range(400)])
    page = open_page(file=path)
    assert page.locator("#skipped li").count() == 200
    assert "800 more, in the file skipped.csv" in page.text_content("#skipped")
    assert "200 more, in the file duplicates.csv" in page.text_content("#copies")
    assert page.locator("#copies li button").count() == 200


def test_images_without_files_have_no_link(open_page):
    page = open_page()
    page.evaluate("openImage(3)")
    assert page.locator("#dialog a").count() == 0


def test_no_image_is_hidden_on_the_map_without_a_sign(open_page):
    page = open_page()
    drawn, behind = page.evaluate(
        "[layoutThumbnails().length, [...layout.behind.values()].map((list) => list.length)]"
    )
    assert drawn + sum(behind) == N
    page.set_viewport_size({"width": 500, "height": 400})
    wait_until(page, f"layoutThumbnails().length < {N} && layout.behind.size > 0")
    assert "Marked ones have others behind them" in page.text_content("#drawn")
    owner, hidden = page.evaluate("[...layout.behind][0]")
    page.evaluate(f"placeOf({owner})")
    page.mouse.click(*place_of(page, owner))
    assert page.get_attribute("#dialog .image-view", "data-image") == str(owner)
    page.keyboard.press("ArrowRight")
    assert page.get_attribute("#dialog .image-view", "data-image") == str(hidden[0])


def test_pictures_on_the_map_do_not_overlap(open_page):
    page = open_page()
    cells = page.evaluate("layoutThumbnails().map((i) => [layout.column[i], layout.row[i]])")
    assert len({tuple(cell) for cell in cells}) == len(cells) > N / 2


@pytest.mark.parametrize("n", [5, 40, 192, N])
def test_the_whole_map_cuts_no_picture_off(open_page, page_file, tmp_path, n):
    path = page_file
    if n != N:
        path = tmp_path / "page.html"
        places = np.random.default_rng(n).random((n, 2))
        images = np.zeros((n, 8, 8), dtype=np.uint8)
        write_report(path, images, np.arange(n) % 2, embedding=places, map_coordinates=places)
    page = open_page(file=path)
    edges = """layoutThumbnails().map((i) => placeOf(i)).flatMap(([x, y]) => [x, y,
        screen2d.width - x, screen2d.height - y]).reduce((a, b) => Math.min(a, b))"""
    for width in (1280, 1240, 1000, 820, 390):
        page.set_viewport_size({"width": width, "height": 900})
        wait_until(page, "screen2d.width === canvas.clientWidth")
        assert page.evaluate(edges) >= page.evaluate("layout.side / 2"), width


def test_a_small_cluster_is_shown_whole_at_a_glance(open_page, tmp_path):
    path = tmp_path / "page.html"
    images = np.zeros((8, 8, 8), dtype=np.uint8)
    write_report(path, images, [0] * 5 + [1] * 3, embedding=np.random.default_rng(0).random((8, 3)))
    page = open_page(file=path)
    shown = [page.locator(f"#overview li >> nth={k}").locator("img").count() for k in (0, 1)]
    assert shown == [4, 3]


def test_few_pictures_are_large_on_the_map(open_page, file_page):
    few = open_page(file=file_page)
    assert few.evaluate("[N, layoutThumbnails().length]") == [12, 12]
    assert few.evaluate("thumbnailSide()") > 70
    assert open_page().evaluate("thumbnailSide()") <= 56


@pytest.mark.parametrize("word", ["Lightness", "Confidence", "Typical"])
def test_words_say_what_they_mean(open_page, word):
    page = open_page()
    source = page.locator("article.cluster .term", has_text=word).first
    assert source.get_attribute("title")
    source.focus()
    page.keyboard.press("Enter")
    assert page.text_content("#meaning") == source.get_attribute("title")
    page.keyboard.press("Escape")
    assert page.is_hidden("#meaning")


def test_a_copy_of_the_page_holds_names_and_moved_images(open_page, tmp_path):
    page = open_page()
    name = "</script><b>Dunkel\u2028 \U0001f3a8"
    page.evaluate(f"changeName(1, {{ name: {json.dumps(name)} }})")
    page.evaluate("moveImages([0, 6], 2)")
    page.evaluate("moveImages([3], nextCluster())")
    page.evaluate("changeName(3, { name: 'Own' })")
    with page.expect_download() as download:
        page.click("#save-copy")
    assert download.value.suggested_filename == "page-named.html"
    copy = tmp_path / "copy.html"
    download.value.save_as(copy)
    again = open_page(file=copy)
    assert again.evaluate("[clusterName(1), clusterName(3)]") == [name, "Own"]
    assert again.evaluate("[labels[0], labels[6], labels[3]]") == [2, 2, 3]
    assert again.locator("article.cluster").count() == 4
    assert again.evaluate("data.files.join()") == page.evaluate("data.files.join()")
    # From a copy, another one.
    with again.expect_download() as download:
        again.click("#save-copy")
    assert copy.stat().st_size == pytest.approx(os.path.getsize(download.value.path()), abs=60)


def test_images_are_moved_merged_and_split(open_page, tmp_path):
    page = open_page()
    sizes = "Object.fromEntries(data.clusters.map(({ cluster, size }) => [cluster, size]))"
    page.locator('[data-cluster="0"] button', has_text="See all").click()
    page.click("#gallery >> text=Choose images")
    for k in range(3):
        page.locator("#gallery .tile").nth(k).click()
    page.locator("#gallery .mover select").select_option(label="a new cluster")
    page.click("#gallery .mover button")
    assert page.evaluate(sizes) == {"0": 37, "1": 40, "2": 40, "3": 3}
    page.locator('[data-cluster="1"] summary').click()
    page.locator('[data-cluster="1"] .mover select').select_option(label="Cluster 2")
    page.locator('[data-cluster="1"] .mover button').click()
    assert page.evaluate(sizes) == {"0": 37, "2": 80, "3": 3}
    # Where the images went, and not where the page happens to be without their card.
    assert page.evaluate("document.activeElement.dataset.cluster") == "2"
    page.click("#undo")
    assert page.evaluate(sizes) == {"0": 37, "1": 40, "2": 40, "3": 3}
    page.evaluate("moveImages(indicesOf((i) => labels[i] === 1), 2); splitCluster(2)")
    # Two groups that lie apart are told apart again.
    assert page.evaluate(sizes) == {"0": 37, "2": 40, "3": 3, "4": 40}
    page.reload()
    assert page.evaluate(sizes) == {"0": 37, "2": 40, "3": 3, "4": 40}
    with page.expect_download() as download:
        page.click("#save-edits")
    download.value.save_as(tmp_path / "edits.json")
    edits = read_edits(tmp_path / "edits.json")
    labels = page.evaluate("[...labels]")
    for i, name in enumerate(page.evaluate("data.files")):
        assert edits.moves.get(name, (None, i % 3))[1] == labels[i]
    page.click("#undo-all")
    assert page.evaluate(sizes) == {"0": 40, "1": 40, "2": 40}
    assert page.is_hidden("#edit-bar")


def test_what_to_type_is_said_when_a_file_was_saved(open_page, tmp_path):
    scans, folder = tmp_path / "scans", tmp_path / "Anna's clusters"
    for one in (scans, folder):
        one.mkdir()
    files = [scans / f"{i}.png" for i in range(4)]
    for i, file in enumerate(files):
        Image.new("RGB", (8, 8), (60 * i, 0, 0)).save(file)
    options = {"paths": [file.name for file in files], "embedding": np.eye(4)}
    write_report(folder / "report.html", files, [0, 0, 1, 1], **options)
    page = open_page(file=folder / "report.html")
    assert page.is_hidden("#saved")
    with page.expect_download():
        page.click("#save-names")
    typed = page.locator("#saved code").all_inner_texts()
    assert [shlex.split(line) for line in typed] == [
        ["skdcec", "report", str(folder), "--names", "~/Downloads/cluster-names.json"]
    ]
    page.evaluate("moveImages([0], 1)")
    with page.expect_download():
        page.click("#save-edits")
    edits = ["--edits", "~/Downloads/cluster-edits.json"]
    assert [shlex.split(line) for line in page.locator("#saved code").all_inner_texts()] == [
        ["skdcec", "report", str(folder), *edits],
        ["skdcec", "cluster", str(scans), "--out", str(folder), *edits],
    ]
    page.locator("#saved button", has_text="Close").click()
    assert page.is_hidden("#saved")


CLIPBOARDS = {
    "allowed": "navigator.clipboard.writeText = async (text) => { window.copied = text; };",
    "refused": "navigator.clipboard.writeText = async () => { throw new Error('no'); };",
    "absent": "Object.defineProperty(navigator, 'clipboard', { value: undefined });",
    "closed": "document.execCommand = () => false; navigator.clipboard.writeText = async () => {"
    " throw new Error('no'); };",
}
# What was copied in the older way, or is only marked.
NOTE_WHAT_IS_COPIED = (
    "document.addEventListener('copy', () => { window.copied = getSelection().toString(); });"
)


@pytest.mark.parametrize("clipboard", CLIPBOARDS)
def test_a_command_is_copied_by_its_button_and_by_keys_alone(open_page, clipboard):
    page = open_page(script=CLIPBOARDS[clipboard] + NOTE_WHAT_IS_COPIED)
    with page.expect_download():
        page.click("#save-names")
    button = page.locator("#saved .copy")
    button.focus()
    page.keyboard.press("Enter")
    wait_until(page, "document.querySelector('#saved .copy').textContent !== 'Copy'")
    command = page.inner_text("#saved code")
    if clipboard == "closed":
        assert button.inner_text() == "Marked: press Ctrl+C"
        assert page.evaluate("getSelection().toString()") == command
    else:
        assert button.inner_text() == "Copied"
        assert page.evaluate("window.copied") == command
    assert button.evaluate("(one) => one === document.activeElement")


def test_what_was_saved_leaves_half_of_a_phone_to_the_page(open_page):
    page = open_page("Pixel 7")
    with page.expect_download():
        page.click("#save-names")
    page.evaluate("moveImages([0], 1)")
    with page.expect_download():
        page.click("#save-edits")
    height = page.viewport_size["height"]
    assert page.locator("#saved").bounding_box()["height"] <= height / 2
    # It can be closed without looking for how.
    close = page.locator("#saved button", has_text="Close")
    assert close.bounding_box()["y"] < page.locator("#saved code").first.bounding_box()["y"]
    close.click()
    assert page.is_hidden("#saved")


def test_long_values_of_the_table_do_not_make_towers(open_page, tmp_path):
    museum = "Museum der bildenden Künste, Leipzig"
    metadata = {name: [museum, "short"] * 5 for name in ("owner", "keeper", "lender", "place")}
    path = tmp_path / "page.html"
    options = {"embedding": np.eye(2)[np.arange(10) % 2], "metadata": metadata}
    write_report(path, np.zeros((10, 8, 8), np.uint8), np.arange(10) % 2, **options)
    page = open_page(file=path, viewport={"width": 820, "height": 900})
    rows = page.locator("#table-body tbody tr")
    assert rows.first.bounding_box()["height"] < 60


def test_the_command_of_the_choice_is_copied_within_its_policy(browser, tmp_path):
    troubles = []
    page = browser[0].new_page()
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.add_init_script(CLIPBOARDS["refused"] + NOTE_WHAT_IS_COPIED)
    page.goto(choice_page(tmp_path, "skdcec cluster 'Anna''s & <all>' -k 2").as_uri())
    page.click(".copy")
    wait_until(page, "document.querySelector('.copy').textContent === 'Copied'")
    assert page.evaluate("window.copied") == "skdcec cluster 'Anna''s & <all>' -k 2"
    assert troubles == []
    page.close()


def test_clusters_are_merged_into_others_that_have_their_present_names(open_page):
    page = open_page()
    page.fill('[data-cluster="1"] input', "Dunkel")
    page.locator('[data-cluster="0"] summary').click()
    choices = page.locator('[data-cluster="0"] .mover option')
    # A new cluster has nothing to be merged with.
    assert choices.all_text_contents() == ["Dunkel", "Cluster 2"]
    page.evaluate("moveImages(indicesOf((i) => labels[i] > 0), 0)")
    assert page.locator(".cluster .mover").count() == 0


def test_a_list_loses_what_was_moved_out_of_its_cluster_and_says_so(open_page):
    page = open_page()
    page.locator('[data-cluster="0"] button', has_text="See all").click()
    choices = page.locator("#gallery .mover option").all_inner_texts()
    # Not where they are already.
    assert choices == ["Cluster 1", "Cluster 2", "a new cluster"]
    page.click("#gallery >> text=Choose images")
    page.locator("#gallery .tile").first.click()
    page.locator("#gallery .mover select").select_option(label="Cluster 1")
    page.click("#gallery .mover button")
    assert page.locator("#gallery .tile").count() == 39
    assert "1 image moved to Cluster 1." in page.inner_text("#gallery")
    assert page.locator('[data-cluster="0"] h4').all_inner_texts() == ["Typical", "Odd"]


def test_the_page_says_what_stands_where_somebody_put_it(open_page, tmp_path):
    places = np.column_stack([np.repeat([0.0, 9.0], 6), np.arange(12.0)])
    labels = np.repeat([0, 1], 6)
    labels[5] = 1
    images = np.arange(12, dtype=np.uint8)[:, None, None, None] * np.full((1, 8, 8, 3), 20, "u1")
    options = {"embedding": places, "map_coordinates": places}
    write_report(tmp_path / "page.html", images, labels, by_hand=[5, 7], **options)
    page = open_page(file=tmp_path / "page.html")
    facts = {}
    for i in (5, 6, 7):
        page.evaluate(f"openImage({i})")
        facts[i] = page.inner_text("#dialog .facts")
        page.keyboard.press("Escape")
    assert ["somebody put it here" in facts[i] for i in (5, 6, 7)] == [True, False, True]
    assert ["another cluster fits better" in facts[i] for i in (5, 6, 7)] == [True, False, False]
    assert ["Next best" in facts[i] for i in (5, 6, 7)] == [False, True, True]
    head = page.locator("#table-body th").all_inner_texts()
    said = page.locator(f"#table-body td:nth-child({head.index('by hand') + 1})")
    assert said.all_inner_texts() == ["yes" if i in (5, 7) else "" for i in range(12)]
    with page.expect_download() as download:
        page.click("#save-all")
    assert read_table(download.value.path())["by_hand"] == said.all_inner_texts()
    # What is moved now stands there by hand as well.
    page.evaluate("moveImages([6], 0)")
    with page.expect_download() as download:
        page.click("#save-all")
    assert read_table(download.value.path())["by_hand"][5:8] == ["yes"] * 3


def test_moved_images_outlast_new_names_but_not_new_clusters(open_page, tmp_path):
    images = np.arange(12, dtype=np.uint8)[:, None, None, None] * np.full(
        (1, 8, 8, 3), 20, np.uint8
    )
    labels = np.arange(12) % 3
    options = {"embedding": np.eye(12), "map_coordinates": np.random.default_rng(0).random((12, 2))}
    file = tmp_path / "page.html"
    write_report(file, images, labels, **options)
    page = open_page(file=file)
    page.evaluate("moveImages([0], 1)")
    write_report(file, images, labels, cluster_names={1: "Dark"}, **options)
    page.reload()
    assert page.evaluate("[labels[0], movedTo.size, clusterName(1)]") == [1, 1, "Dark"]
    write_report(file, images, labels[::-1], **options)
    page.reload()
    assert page.evaluate("movedTo.size") == 0


def test_one_key_leaves_the_map_and_links_take_the_focus_with_them(open_page):
    page = open_page()
    page.click("nav a[href='#metadata']")
    assert page.evaluate("document.activeElement.id") == "metadata"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('section').id") == "metadata"
    page.locator("#canvas").focus()
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "map-help"
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.closest('#stage')") is None


def test_a_phone_shows_pictures_first(open_page):
    page = open_page(device="Pixel 7")
    height = page.evaluate("innerHeight")
    boxes = page.locator("#overview img").evaluate_all(
        "nodes => nodes.map(node => node.getBoundingClientRect().bottom)"
    )
    assert len([bottom for bottom in boxes if bottom < height]) >= 12
    # The map stands upright where the screen does.
    wide, high = np.ptp(np.array(page.evaluate("[...positions]")).reshape(N, 2), axis=0)
    assert high > wide


def test_a_notebook_shows_the_page_in_a_frame(browser, page_file, file_page):
    for file in (page_file, file_page):
        report = Report(file, 0, 0, 0, {}, {}, math.nan, n_images=0)
        page = browser[0].new_context(offline=True).new_page()
        troubles = []
        page.on("pageerror", lambda error: troubles.append(str(error)))  # noqa: B023
        page.on("console", lambda message: troubles.append(message.text))  # noqa: B023
        page.set_content(f"<body><h1>Notebook</h1>{report._repr_html_()}</body>")
        frame = page.frames[1]
        frame.wait_for_selector("#table-body table")
        assert frame.locator("#problem").is_hidden()
        frame.click("nav a[href='#map']")
        frame.click("#zoom-in")
        frame.evaluate("moveImages([0], 1)")
        assert frame.locator("#edit-bar").is_visible()
        frame.locator("article.cluster img").first.click()
        frame.wait_for_selector("#dialog[open]")
        with page.expect_download() as download:
            frame.evaluate("saveEdits()")
        assert download.value.suggested_filename == "cluster-edits.json"
        # It sees nothing of the notebook, which stays where it is.
        with pytest.raises(sync_api.Error, match="cross-origin|SecurityError"):
            frame.evaluate("parent.document.title")
        assert page.text_content("h1") == "Notebook"
        page.wait_for_timeout(400)  # for the view of the map, which is remembered a while later
        assert troubles == []
        page.context.close()


@pytest.fixture(scope="module")
def axe():
    """The script of axe-core, which a package for Python brings along."""
    path = os.environ.get("AXE_CORE")
    if path is None:
        package = pytest.importorskip("axe_playwright_python", reason="needs axe-playwright-python")
        path = Path(package.__file__).with_name("axe.min.js")
    return Path(path).read_text(encoding="utf-8")


def serious(page, *places):
    """Return what axe-core finds serious or critical in parts of the page."""
    # Of what else it finds it need not tell every place, which takes longest.
    run = f"axe.run({list(places or ['html'])}, {{ resultTypes: ['violations'] }})"
    found = page.evaluate(run)["violations"]
    return [one for one in found if one["impact"] in ("serious", "critical")]


WIDTHS_AND_SCHEMES = [(width, s) for width in (1440, 820, 390) for s in ("light", "dark")]


@pytest.mark.parametrize(("width", "scheme"), WIDTHS_AND_SCHEMES)
def test_accessible(browser, axe, page_file, width, scheme):
    page = browser[0].new_page(
        bypass_csp=True, color_scheme=scheme, viewport={"width": width, "height": 900}
    )
    page.goto(page_file.as_uri())
    page.wait_for_selector("#table-body table")
    page.evaluate("moveImages([0], 1)")
    # Rows are alike, and looking at each takes longest.
    page.locator("#table-body tr:nth-child(n+6)").evaluate_all(
        "rows => rows.forEach(row => row.remove())"
    )
    page.evaluate(axe)
    for state, *places in (
        ("for (const one of document.querySelectorAll('details')) one.open = true",),
        (
            "showCluster(data.clusters[0]); document.querySelector('.term').click()",
            "#gallery",
            "#meaning",
        ),
        ("openImage(1)", "#dialog"),
        ("showFull(true)", "#dialog"),
    ):
        page.evaluate(f"{state}; null")
        assert serious(page, *places) == [], state
    page.close()


@pytest.mark.parametrize(("width", "scheme"), WIDTHS_AND_SCHEMES)
def test_the_choice_is_accessible(browser, axe, tmp_path, width, scheme):
    path = choice_page(tmp_path, "skdcec")
    page = browser[0].new_page(
        bypass_csp=True, color_scheme=scheme, viewport={"width": width, "height": 900}
    )
    page.goto(path.as_uri())
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    page.evaluate(axe)
    assert serious(page) == []
    page.close()


def choice_page(folder, command):
    """Write a page that compares two numbers of clusters."""
    numbers = np.array([2, 3])
    scores = ("silhouette", "standard_error", "excess_silhouette", "smallest_share")
    results = {name: np.full(2, 0.5) for name in scores}
    results |= {name: np.array([True, False]) for name in ("plausible", "trained")}
    results |= {"n_clusters": numbers, "n_found": numbers, "error": np.full(2, "")}
    labels_of = {k: np.arange(12) % k for k in (2, 3)}
    named = {"best": 2, "verdict": "Two.", "title": "Dots", "answer": "2", "command": command}
    path = folder / "choice.html"
    files = [np.full((8, 8, 3), 20 * i, dtype=np.uint8) for i in range(12)]
    write_choice_page(path, files, np.eye(12), labels_of, results, **named)
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_headings_and_names(open_page, scheme):
    page = open_page(color_scheme=scheme)
    levels = page.locator("h1, h2, h3, h4").evaluate_all(
        "nodes => nodes.filter((one) => one.offsetParent).map((one) => Number(one.tagName[1]))"
    )
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    unnamed = page.locator("button, input, select, textarea, a").evaluate_all(
        """nodes => nodes.filter((one) => one.offsetParent && !one.labels?.length && ![
            one.textContent, one.getAttribute("aria-label"), one.querySelector("img")?.alt
        ].some((text) => text?.trim())).length"""
    )
    assert unnamed == 0


def test_columns_of_the_table_are_explained_where_nothing_can_point(open_page):
    page = open_page("iPhone 13")
    heads = [text.split(" ↓")[0] for text in page.locator("#table-body th").all_inner_texts()]
    page.tap("#table summary")
    explained = page.locator("#table dl").inner_text()
    for head in heads[2:7]:
        assert f"\n{head}\n" in f"\n{explained}\n"
    assert "school" not in explained
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def test_the_button_says_how_many_it_moves(open_page):
    page = open_page()
    page.get_by_role("button", name="See all").first.click()
    move = page.locator("#gallery .mover button")
    assert move.inner_text() == "Move all to"
    page.locator("#gallery").get_by_text("Choose images").click()
    assert move.inner_text() == "Move chosen to"
    page.locator("#gallery .tile").first.click()
    move.click()
    assert page.evaluate("movedTo.size") == 1
    assert move.inner_text() == "Move all to"
