"""The report page in Firefox, by WebDriver BiDi, which the browser speaks without a driver."""

import itertools
import json
import os
import re
import shutil
import subprocess
import time

import numpy as np
import pytest

from skdcec.report import write_report

client = pytest.importorskip("websockets.sync.client", reason="needs websockets")
FIREFOX = os.environ.get("FIREFOX") or shutil.which("firefox-esr") or shutil.which("firefox")
if FIREFOX is None:
    pytest.skip("needs Firefox", allow_module_level=True)

KEYS = {"right": "\ue014", "left": "\ue012", "escape": "\ue00c"}


class Page:
    """A tab with a page in it, and what its console said."""

    def __init__(self, socket):
        self._socket, self._numbers = socket, itertools.count()
        self.troubles = []
        self.send("session.new", capabilities={})
        self.send("session.subscribe", events=["log.entryAdded", "network.beforeRequestSent"])
        self._tab = self.send("browsingContext.getTree")["contexts"][0]["context"]

    def send(self, method, **params):
        """Send a command, and return its result; what happens meanwhile is looked at."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=60))
            if message.get("id") == number:
                assert message["type"] == "success", message
                return message["result"]
            self._note(message.get("method"), message.get("params", {}))

    def _note(self, event, params):
        if event == "log.entryAdded" and params["level"] in ("warn", "error"):
            self.troubles.append(params["text"])
        if event == "network.beforeRequestSent":
            url = params["request"]["url"]
            if not url.startswith(("file:", "data:", "blob:")):
                self.troubles.append(url)

    def open(self, url):
        self.send("browsingContext.navigate", context=self._tab, url=url, wait="complete")

    def evaluate(self, expression):
        """Return the value of an expression, which may be anything that JSON can say."""
        result = self.send(
            "script.evaluate",
            expression=f"Promise.resolve({expression}).then(JSON.stringify)",
            target={"context": self._tab},
            awaitPromise=True,
        )
        assert result["type"] == "success", result
        value = result["result"]
        return json.loads(value["value"]) if value["type"] == "string" else None

    def wait(self, expression):
        for _ in range(100):
            if self.evaluate(expression):
                return
            time.sleep(0.05)
        raise AssertionError(f"It never came that {expression}")

    def act(self, kind, *steps, **more):
        device = {"type": kind, "id": kind, "actions": steps, **more}
        self.send("input.performActions", context=self._tab, actions=[device])

    def type(self, text):
        pairs = [
            ({"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}) for key in text
        ]
        self.act("key", *itertools.chain(*pairs))

    def click(self, selector):
        element = f"document.querySelector({json.dumps(selector)})"
        self.evaluate(
            f"{element}.scrollIntoView({{ block: 'center', behavior: 'instant' }}) ?? null"
        )
        box = self.evaluate(f"{element}.getBoundingClientRect()")
        x, y = (round(box[at] + box[size] / 2) for at, size in (("x", "width"), ("y", "height")))
        press = [{"type": f"pointer{way}", "button": 0} for way in ("Down", "Up")]
        self.act("pointer", {"type": "pointerMove", "x": x, "y": y}, *press)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page of two groups of pictures, opened from disk."""
    folder = tmp_path_factory.mktemp("firefox")
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 20)
    images = rng.integers(0, 100, (40, 24, 24, 3)) + 150 * labels[:, None, None, None]
    places = np.column_stack([labels * 9 + rng.random(40), rng.random(40)])
    write_report(
        folder / "page.html",
        images.astype(np.uint8),
        labels,
        embedding=places,
        map_coordinates=places,
        metadata={"wing": [("north", "east", "south", "west")[i % 4] for i in range(40)]},
    )
    command = [FIREFOX, "--headless", "--no-remote", "--remote-debugging-port=0"]
    command += ["--profile", folder / "profile", "--window-size=1200,900"]
    (folder / "profile").mkdir()
    with (
        open(folder / "log", "w") as log,
        subprocess.Popen(
            command, stdout=log, stderr=log, env=os.environ | {"HOME": str(folder)}
        ) as it,
    ):
        try:
            with client.connect(_address(folder / "log"), max_size=None) as socket:
                page = Page(socket)
                page.open((folder / "page.html").as_uri())
                page.wait("document.querySelector('#table-body table') !== null")
                yield page
                page.send("session.end")
        finally:
            it.terminate()


def _address(log):
    """Return where the browser listens, once it says so."""
    for _ in range(600):
        found = re.search(r"WebDriver BiDi listening on (ws://\S+)", log.read_text())
        if found:
            return f"{found[1]}/session"
        time.sleep(0.1)
    raise AssertionError(f"Firefox did not start: {log.read_text()[-500:]}")


def test_the_page_is_whole_and_silent(page):
    assert page.evaluate("document.getElementById('problem').hidden")
    assert page.evaluate("document.querySelectorAll('article.cluster img').length") >= 12
    page.wait("state.found === 40 && document.getElementById('drawn').textContent !== ''")
    # Not the background alone.
    pixels = "canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data"
    page.wait(f"new Set(new Uint32Array({pixels}.buffer)).size > 100")
    assert page.troubles == []


def test_search_and_table_answer(page):
    page.click("#search")
    page.type("south")
    page.wait("document.getElementById('search-show').textContent === 'List 10 images'")
    page.click("#search-show")
    page.wait("document.querySelectorAll('#gallery .tile').length === 10")
    first = "document.querySelector('#table-body td button').textContent"
    assert page.evaluate(first) == "image 0"
    for _ in range(2):
        page.click("#table-body th button")
    page.wait(f"{first} === 'image 39'")
    assert page.troubles == []


def test_an_image_opens_and_arrows_move_on(page):
    shown = "document.querySelector('#dialog .image-view')?.dataset.image"
    page.click("article.cluster .tile")
    page.wait("document.getElementById('dialog').open")
    first = page.evaluate(shown)
    page.type([KEYS["right"]])
    page.wait(f"{shown} !== {json.dumps(first)}")
    page.type([KEYS["left"]])
    page.wait(f"{shown} === {json.dumps(first)}")
    page.type([KEYS["escape"]])
    page.wait("!document.getElementById('dialog').open")
    assert page.troubles == []
