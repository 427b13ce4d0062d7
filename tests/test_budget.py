"""What a file may cost, and that it costs no more."""

import io
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from skdcec.datasets import ImageLoader, budget, load_images, workers
from skdcec.datasets.budget import borrow_memory, memory_of
from skdcec.datasets.decode import (
    UnusableImage,
    fit_picture,
    opened_picture,
    read_picture,
    shrink,
)
from skdcec.report import write_report

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")


def noise(size=(64, 48), mode="RGB"):
    shape = (size[1], size[0], 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encode(image, name, **options):
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def scans(n, size=(64, 48)):
    """A JPEG file that says its last scan again and again."""
    data = encode(noise(size), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * n + data[-2:]


def reason_of(path, **options):
    with pytest.raises(UnusableImage) as caught:
        read_picture(path, side=8, **options)
    return str(caught.value)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "picture"


# Time


def test_jpeg_of_many_scans_is_stopped(path, monkeypatch):
    # This one takes a minute.
    path.write_bytes(scans(2000, (400, 300)))
    monkeypatch.setattr(budget, "SECONDS", 0.5)
    start = time.process_time()
    assert reason_of(path) == "takes more than 0.56 seconds to decode"
    assert time.process_time() - start < 1
    # Known from now on.
    with monkeypatch.context() as context:
        context.setattr(workers, "_next_worker", None)
        assert reason_of(path) == "takes more than 0.56 seconds to decode"
    # The next file finds another worker.
    path.write_bytes(scans(200))
    assert read_picture(path, side=8).size == (64, 48)


def test_ordinary_files_need_no_worker(path, monkeypatch):
    monkeypatch.setattr(workers, "_Worker", None)
    monkeypatch.setattr(workers, "_idle", [])
    for name in ("JPEG", "PNG", "GIF", "BMP", "PPM", "WEBP", "TIFF"):
        path.write_bytes(encode(noise(), name))
        assert read_picture(path, side=8).size == (64, 48)
    path.write_bytes(encode(noise(), "JPEG", progressive=True))
    assert read_picture(path, side=8).size == (64, 48)
    path.write_bytes(scans(200))
    assert reason_of(path).startswith("needs a process of its own, which did not start")


def chunk(kind, body=b""):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_time_counts_while_a_file_is_read(path, monkeypatch):
    data = encode(noise((300, 300)), "PNG", compress_level=0)
    start = data.index(b"IDAT") - 4
    pixels = data[start + 8 : start + 8 + int.from_bytes(data[start : start + 4], "big")]
    small = b"".join(chunk(b"IDAT", pixels[i : i + 1]) for i in range(len(pixels)))
    path.write_bytes(data[:start] + small + chunk(b"IEND"))
    monkeypatch.setattr(budget, "SECONDS", 0.02)
    monkeypatch.setattr(budget, "SECONDS_PER_PIXEL", 0)
    assert reason_of(path) == "takes more than 0.02 seconds to decode"


# Bytes


@pytest.mark.parametrize("limit", ["HEADER_BYTES", "HEADER_READS"])
@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "PPM", "TIFF"])
def test_headers_padded_with_junk(path, name, limit, monkeypatch):
    monkeypatch.setattr(budget, limit, 2**14)
    monkeypatch.setattr("skdcec.datasets.decode.WHOLE_BYTES", 0)
    junk = {
        "JPEG": (2, (b"\xff\xe5\0\x04ab" * 10_000)),
        "PNG": (33, chunk(b"juNK", bytes(10)) * 10_000),
        "GIF": (13, b"!\xfe" + b"\x01a" * 20_000 + b"\0"),
        "PPM": (2, b"\n#" + b"a" * 50_000 + b"\n"),
    }
    if name == "TIFF":
        data = encode(noise(), "TIFF", tiffinfo={37724: b"a" * 100_000})
        if limit == "HEADER_READS":
            return
    else:
        data = encode(noise(mode="P") if name == "GIF" else noise(), name)
        at, added = junk[name]
        if name == "GIF":
            at += 3 * 256
        data = data[:at] + added + data[at:]
    path.write_bytes(data)
    assert "holds no picture within" in reason_of(path)
    monkeypatch.undo()
    assert read_picture(path, side=8).size == (64, 48)


# Memory


@settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(st.lists(st.integers(1, 1600), min_size=2, max_size=30))
def test_files_wait_for_memory(needs):
    """At no moment do all threads together hold more than there is."""
    taken, most, lock = 0, 0, threading.Lock()

    def work(need):
        nonlocal taken, most
        with borrow_memory(need * 2**16, 100):
            with lock:
                taken += need
                most = max(most, taken)
            time.sleep(0)
            with lock:
                taken -= need

    threads = [threading.Thread(target=work, args=[min(n, 1024)]) for n in needs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert max(min(n, 1024) for n in needs) <= most <= 1024
    assert budget._taken == 0


def test_what_takes_more_memory_than_there_is_is_not_decoded(path, monkeypatch):
    monkeypatch.setattr(budget, "MIN_BYTES", 0)
    for name in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "JPEG2000"):
        try:
            path.write_bytes(encode(noise(), name))
        except (KeyError, OSError):
            # Pillow was built without it.
            continue
        monkeypatch.setattr(budget, "BYTES_PER_PIXEL", 1)
        assert "MiB to decode, more than 1 bytes for each" in reason_of(path, max_pixels=64 * 48)
        monkeypatch.setattr(budget, "BYTES_PER_PIXEL", 40)
        assert read_picture(path, side=8).size == (64, 48)


def peak(pid):
    with open(f"/proc/{pid}/status") as file:
        return int(next(line for line in file if line.startswith("VmHWM")).split()[1]) * 1024


TURNED = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06" + bytes(6)
PEAKS = {
    "transparent": ("PNG", "RGBA", {"compress_level": 1}),
    "turned": ("PNG", "RGB", {"compress_level": 1, "exif": TURNED}),
    "float": ("TIFF", "F", {}),
    "WebP": ("WEBP", "RGB", {"method": 0}),
    "progressive": ("JPEG", "RGB", {"progressive": True}),
    "TIFF in a worker": ("TIFF", "RGB", {"compression": "packbits"}),
    "JPEG 2000": ("JPEG2000", "RGB", {"quality_layers": [50]}),
}


measured = pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux")


def most_memory_of(work):
    """Return how much more this process and its workers take at most while something is done."""
    processes = [os.getpid(), *(worker.process.pid for worker in workers._idle)]
    before = 0
    for pid in processes:
        with open(f"/proc/{pid}/clear_refs", "w") as file:
            file.write("5")
        before += peak(pid)
    work()
    return sum(map(peak, processes)) - before


@pytest.fixture(scope="module")
def counted():
    """What files were expected to take."""
    found = []

    def spy(*args, **kwargs):
        found.append(memory_of(*args, **kwargs))
        return found[-1]

    with pytest.MonkeyPatch.context() as context:
        context.setattr("skdcec.datasets.decode.memory_of", spy)
        yield found


@measured
@pytest.mark.parametrize("name", PEAKS)
def test_memory_is_no_more_than_was_counted_on(path, name, counted):
    kind, mode, options = PEAKS[name]
    path.write_bytes(encode(noise((1500, 1500)).convert(mode), kind, **options))
    read_picture(path, side=1500)
    counted.clear()
    most = most_memory_of(lambda: read_picture(path, side=1500))
    assert most <= max(counted) + 2**23


FORMS = [
    ("PNG", mode, {"compress_level": 1}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
]
FORMS += [("TIFF", mode, {}) for mode in ("L", "RGBA", "F", "I", "CMYK")]
FORMS += [("TIFF", "RGBA", {"compression": "tiff_lzw"}), ("BMP", "RGB", {}), ("PPM", "RGB", {})]
FORMS += [("GIF", "P", {}), ("JPEG", "RGB", {"progressive": True}), ("JPEG", "CMYK", {})]
# As far as these formats go on one side.
LONGEST = {"JPEG": 65_500, "GIF": 65_500}


@measured
@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    st.sampled_from(FORMS),
    st.integers(0, 11),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["pad", "crop", "stretch"]),
)
def test_pictures_of_any_proportions_take_what_was_counted(
    tmp_path_factory, counted, form, doublings, tall, turned, resize
):
    """From one pixel wide to square, as arrays as well as on the page."""
    kind, mode, options = form
    longer = min(2 ** (10 + doublings), LONGEST.get(kind, 2**21))
    size = (2**21 // longer, longer) if tall else (longer, 2**21 // longer)
    path = tmp_path_factory.mktemp("any") / "picture"
    if turned and kind in ("PNG", "JPEG"):
        options = options | {"exif": TURNED}
    path.write_bytes(encode(Image.new(mode, size), kind, **options))
    counted.clear()

    def work():
        with opened_picture(path, side=64) as picture:
            fit_picture(picture.image, (64, 64), resize)

    assert most_memory_of(work) <= max(counted) + 2**22


@posix
def test_memory_is_lent_until_a_picture_has_its_size(path, monkeypatch):
    path.write_bytes(encode(noise(), "PNG"))
    with opened_picture(path, side=8) as picture:
        assert budget._taken >= picture.image.width * picture.image.height * 4
    assert budget._taken == 0
    taken = []
    for module in ("skdcec.datasets.steps.fit_picture", "skdcec.report.thumbnails.shrink"):
        original = fit_picture if "fit" in module else shrink

        def spy(*args, original=original):
            taken.append(budget._taken)
            return original(*args)

        monkeypatch.setattr(module, spy)
    load_images([path], 8)
    write_report(path.with_name("page.html"), [str(path)], [0])
    assert len(taken) >= 2
    assert min(taken) > 64 * 48 * 4
    assert budget._taken == 0


# Workers


@posix
def test_worker_that_is_killed_costs_one_file(path, monkeypatch):
    path.write_bytes(scans(200))
    read_picture(path, side=8)
    workers._idle[-1].process.kill()
    workers._idle[-1].process.wait()
    assert read_picture(path, side=8).size == (64, 48)
    receive = workers._receive

    def crash(worker):
        worker.process.send_signal(signal.SIGSEGV)
        return receive(worker)

    path.write_bytes(scans(3000, (400, 300)))
    monkeypatch.setattr(workers, "_receive", crash)
    assert reason_of(path) == "damaged or unsupported: its decoder ended with code -11"


ORPHAN = """
import sys, threading, time
from skdcec.datasets import workers
from skdcec.datasets.decode import read_picture
threading.Thread(target=read_picture, args=[sys.argv[1]], kwargs={"side": 8}, daemon=True).start()
original = workers._Worker.send
def send(self, message):
    original(self, message)
    print(self.process.pid, flush=True)
workers._Worker.send = send
time.sleep(100)
"""


@posix
@pytest.mark.parametrize("n_scans", [3000, 101])
def test_no_worker_outlives_its_parent(path, n_scans):
    """Neither one that decodes, nor one that waits."""
    path.write_bytes(scans(n_scans, (400, 300) if n_scans > 101 else (64, 48)))
    with subprocess.Popen(
        [sys.executable, "-c", ORPHAN, str(path)], stdout=subprocess.PIPE, text=True
    ) as run:
        pid = int(run.stdout.readline())
        time.sleep(1)
        os.kill(pid, 0)
        run.kill()
    for _ in range(100):
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().split()[2] == "Z":
                    return
            os.kill(pid, 0)
        except OSError:
            return
        time.sleep(0.1)
    raise AssertionError("the worker is still there after 10 s")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_process_has_workers_of_its_own(path):
    path.write_bytes(scans(200))
    read_picture(path, side=8)
    pid = os.fork()
    if not pid:
        try:
            ok = not workers._idle and read_picture(path, side=8).size == (64, 48)
            workers._stop_all()
        finally:
            os._exit(0 if ok else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert read_picture(path, side=8).size == (64, 48)


def test_threads_use_workers_at_the_same_time(tmp_path, monkeypatch):
    paths = []
    for i in range(40):
        paths.append(tmp_path / f"{i:02}.tif")
        image = Image.new("RGB", (30, 20), (i, 0, 0))
        image.save(paths[-1], compression="tiff_lzw")
    paths[7].write_bytes(paths[7].read_bytes()[:90])
    loader = ImageLoader(16, n_jobs=4, on_error="blank")
    with pytest.warns(UserWarning, match="1 file"):
        images = loader.transform(paths)
    assert [index for index, *_ in loader.errors_] == [7]
    assert images[:, 8, 8, 0].tolist() == [0 if i == 7 else i for i in range(40)]
    with pytest.warns(UserWarning, match="1 file"):
        assert len(load_images(tmp_path, 16, n_jobs=4).images) == 39
    assert len(workers._idle) <= 4 + 1
