"""Images that IIIF manifests name, fetched from a server on this machine."""

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from skdcec._cli import main
from skdcec.datasets import load_images
from skdcec.datasets.fetch import fetch_manifest
from skdcec.datasets.iiif import is_web_address, pictures_of
from skdcec.report import read_table


def picture(seed, name="JPEG"):
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, name)
    return buffer.getvalue()


@pytest.fixture
def server(monkeypatch):
    """A server whose answers are set by path, and which notes what it was asked."""
    monkeypatch.setenv("no_proxy", "*")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            served.asked.append(self.path)
            status, headers, body = served.answers.get(self.path, (404, {}, b"not here"))
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.answers, served.asked = {}, []
    served.root = f"http://127.0.0.1:{served.server_port}"
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    served.shutdown()
    thread.join()
    served.server_close()


def manifest_3(root, n):
    """A manifest of version 3 with a service for each picture."""
    return {
        "type": "Manifest",
        "metadata": [{"label": {"en": ["Artist"]}, "value": {"none": ["<b>Monet</b>"]}}],
        "items": [
            {
                "type": "Canvas",
                "label": {"none": [f"Sheet {i}/../{i}"]},
                "metadata": [{"label": {"en": ["Year"]}, "value": {"en": [str(1880 + i)]}}],
                "items": [
                    {
                        "items": [
                            {
                                "motivation": "painting",
                                "body": {
                                    "type": "Image",
                                    "id": f"{root}/own/{i}.jpg",
                                    "service": [
                                        {"id": f"{root}/iiif/{i}", "type": "ImageService3"}
                                    ],
                                },
                            }
                        ]
                    }
                ],
            }
            for i in range(n)
        ],
    }


def manifest_2(root, n):
    resources = [{"@type": "dctypes:Image", "@id": f"{root}/own/{i}.jpg"} for i in range(n)]
    canvases = [
        {"label": f"f. {i}r", "images": [{"resource": one}]} for i, one in enumerate(resources)
    ]
    return {"@type": "sc:Manifest", "sequences": [{"canvases": canvases}]}


def serve_pictures(server, n):
    for i in range(n):
        server.answers[f"/iiif/{i}/full/!64,64/0/default.jpg"] = (200, {}, picture(i))


def write(path, manifest):
    path.write_text(json.dumps(manifest), encoding="utf-8")
    return str(path)


def test_what_a_manifest_names_becomes_a_folder_and_a_table(server, tmp_path):
    serve_pictures(server, 3)
    source = write(tmp_path / "m.json", manifest_3(server.root, 3))
    found = fetch_manifest(source, tmp_path / "out", side=64)
    assert found.files == ["00001-Sheet_0_0.jpg", "00002-Sheet_1_1.jpg", "00003-Sheet_2_2.jpg"]
    assert (tmp_path / "out" / found.files[1]).read_bytes() == picture(1)
    bunch = load_images(tmp_path / "out" / "manifest.csv", 16, cache=None)
    assert bunch.metadata["Artist"].tolist() == ["Monet"] * 3
    assert bunch.metadata["Year"].tolist() == ["1880", "1881", "1882"]
    assert bunch.metadata["label"][1] == "Sheet 1/../1"


def test_manifests_of_version_2_and_addresses_of_manifests_do(server, tmp_path):
    for i in range(2):
        server.answers[f"/own/{i}.jpg"] = (200, {}, picture(i, "PNG"))
    content = json.dumps(manifest_2(server.root, 2)).encode()
    server.answers["/manifest.json"] = (200, {}, content)
    found = fetch_manifest(f"{server.root}/manifest.json", tmp_path / "out")
    # The ending is that of the content.
    assert found.files == ["00001-f_0r.png", "00002-f_1r.png"]


def test_what_is_there_is_not_asked_for_again(server, tmp_path):
    serve_pictures(server, 3)
    del server.answers["/iiif/1/full/!64,64/0/default.jpg"]
    source = write(tmp_path / "m.json", manifest_3(server.root, 3))
    first = fetch_manifest(source, tmp_path / "out", side=64)
    assert [file is None for file in first.files] == [False, True, False]
    assert first.reasons[1].startswith("404")
    failed = read_table(tmp_path / "out" / "failed.csv")
    assert failed["address"] == [f"{server.root}/iiif/1/full/!64,64/0/default.jpg"]
    assert len(read_table(tmp_path / "out" / "manifest.csv")["file"]) == 2
    serve_pictures(server, 3)
    server.asked.clear()
    second = fetch_manifest(source, tmp_path / "out", side=64)
    assert server.asked == ["/iiif/1/full/!64,64/0/default.jpg"]
    assert second.n_new == 1
    assert read_table(tmp_path / "out" / "failed.csv")["address"] == []


def test_a_service_that_does_not_scale_gives_the_picture_as_it_is(server, tmp_path):
    server.answers["/own/0.jpg"] = (200, {}, picture(0))
    server.answers["/iiif/0/full/!64,64/0/default.jpg"] = (501, {}, b"level 0")
    source = write(tmp_path / "m.json", manifest_3(server.root, 1))
    assert fetch_manifest(source, tmp_path / "out", side=64).files == ["00001-Sheet_0_0.jpg"]
    assert server.asked[-1] == "/own/0.jpg"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((200, {}, b"<html>no picture</html>" + bytes(100)), "not an image of a known format"),
        ((200, {"Content-Length": "5000000000"}, picture(0)), "has 5e+03 MB"),
        ((200, {"Content-Length": "5000"}, picture(0)), "ended early"),
        ((302, {"Location": "file:///etc/passwd"}, b""), "302"),
        ((302, {"Location": "ftp://127.0.0.1/a.jpg"}, b""), "not of http or https"),
        ((302, {"Location": "/again.jpg"}, b""), "404"),
        ((200, {}, b""), "not an image"),
        ((500, {}, b""), "500"),
    ],
)
def test_what_cannot_be_had_is_listed_and_leaves_nothing(answer, reason, server, tmp_path):
    server.answers["/own/0.jpg"] = answer
    source = write(tmp_path / "m.json", manifest_2(server.root, 1))
    found = fetch_manifest(source, tmp_path / "out", max_bytes=10**6)
    assert found.files == [None]
    assert reason in found.reasons[0]
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["failed.csv", "manifest.csv", "manifest.json"]


def test_a_file_without_a_length_is_cut_off(server, tmp_path):
    endless = picture(0) + bytes(3_000_000)
    server.answers["/own/0.jpg"] = (200, {"Content-Length": ""}, endless)
    source = write(tmp_path / "m.json", manifest_2(server.root, 1))
    found = fetch_manifest(source, tmp_path / "out", max_bytes=10**6)
    assert "has more than 1 MB" in found.reasons[0]


def test_no_other_addresses_are_opened(tmp_path):
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(picture(0))
    for address in (secret.as_uri(), "ftp://a/b.jpg", "data:image/png;base64,AA", "http://", 7):
        assert not is_web_address(address)
        manifest = manifest_2("", 1)
        manifest["sequences"][0]["canvases"][0]["images"][0]["resource"]["@id"] = address
        with pytest.raises(ValueError, match="names no pictures of http or https"):
            pictures_of(json.dumps(manifest).encode(), "m.json", None)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "is no IIIF manifest"),
        (b'{"type": "Collection"}', "a collection of manifests"),
        (b'{"type": "Manifest", "items": {"a": 1}}', "names no pictures"),
        (b'{"type": "Manifest", "items": [null, 3, {"items": [{"items": "a"}]}]}', "no pictures"),
    ],
)
def test_what_is_no_manifest_is_told(content, reason, tmp_path):
    (tmp_path / "m.json").write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        fetch_manifest(str(tmp_path / "m.json"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_tells_what_came_of_it(server, tmp_path, capsys):
    serve_pictures(server, 2)
    source = write(tmp_path / "m.json", manifest_3(server.root, 3))
    out = tmp_path / "out"
    arguments = ["fetch", source, "--out", str(out), "--size", "64", "--quiet"]
    assert main([*arguments, "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["n_images"] == 2
    assert "1 of 3 images cannot be had, such as 00003-Sheet_2_2: 404" in printed.err
    server.answers.clear()
    assert main(["fetch", source, "--out", str(tmp_path / "none"), "--quiet"]) == 1
    assert "None of the images" in capsys.readouterr().err
    assert main(["fetch", "no such file", "--out", str(out), "--quiet"]) == 1
    assert "does not exist" in capsys.readouterr().err
