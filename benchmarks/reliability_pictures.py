"""Mutated and odd pictures through `load_images` and the page: none ends it, all within budget.

Files of all formats are damaged at random, or made to be as expensive as their bytes allow: claims
of sizes, many scans, padded headers, transparency, 16 bits, float. Processes of their own load them
one by one, with the peak of memory and the processor time of each (Linux only), and then write a
page with all of theirs. A process that ends is counted, and the rest goes on without that file.
"""

import argparse
import io
import json
import os
import re
import resource
import struct
import subprocess
import sys
import tempfile
import time
import warnings
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
from _common import print_table, write_results
from PIL import Image

MAX_PIXELS = 2**22
BATCH = 200
MIB = 2**20


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=2000, help="pictures (default: 2000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="only see whether this runs")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child)
        return
    n = 60 if args.quick else args.n
    rng = np.random.default_rng(args.seed)
    valid, costly = valid_files(rng), costly_files(rng)
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for start in range(0, n, BATCH):
            paths = []
            for i in range(start, min(start + BATCH, n)):
                # One of thirty is of the costly kinds, each in turn.
                name, data = costly[i // 30 % len(costly)] if i % 30 == 0 else mutant(valid, rng)
                paths.append(Path(folder, f"{i:05}-{name}"))
                paths[-1].write_bytes(data)
            lines += run_batch(list(map(str, paths)))
            for path in paths:
                path.unlink()
            print(f"{min(start + BATCH, n)} of {n}", file=sys.stderr)
    report(lines, args, n)


def report(lines, args, n):
    from skdcec.datasets.budget import BYTES_PER_PIXEL

    files = [line for line in lines if "bytes" in line]
    ended = [line for line in lines if "ended" in line]
    allowed = MAX_PIXELS * BYTES_PER_PIXEL
    memory = max(files, key=lambda line: line["bytes"])
    slowest = max(files, key=lambda line: line["seconds"])
    over_memory = [line for line in files if line["bytes"] > allowed]
    over_time = [line for line in files if line["seconds"] > line["allowed"]]
    told = [line for line in lines if line.get("stderr")]
    print_table(
        ["of so many pictures", "asked", "measured"],
        [
            ["loaded", "-", sum(line["reason"] is None for line in files)],
            ["end load_images or the page", 0, len(ended)],
            ["print on stderr", 0, len(told)],
            [f"take more than {allowed / MIB:.0f} MiB", 0, len(over_memory)],
            ["take longer than their time", 0, len(over_time)],
            ["most MiB", allowed / MIB, memory["bytes"] / MIB],
            ["most seconds of a processor", slowest["allowed"], slowest["seconds"]],
        ],
    )
    print(f"most memory: {memory['file']}; slowest: {slowest['file']}")
    for line in ended + told + over_memory + over_time:
        print(json.dumps(line))
    reasons = Counter(in_short(line["reason"] or "loaded") for line in files)
    write_results(
        "reliability_pictures",
        {
            "n": n,
            "seed": args.seed,
            "max_pixels": MAX_PIXELS,
            "asked": {"ended": 0, "stderr": 0, "bytes": allowed, "over_time": 0},
            "measured": {
                "files": len(files),
                "loaded": sum(line["reason"] is None for line in files),
                "ended": ended,
                "stderr": told,
                "bytes": memory,
                "over_memory": over_memory,
                "seconds": slowest,
                "over_time": over_time,
            },
            "reasons": dict(reasons.most_common()),
        },
        quick=args.quick,
    )


def in_short(reason):
    """Return the beginning of a reason, with numbers that tell one file from another left out."""
    return re.sub(r"\d+", "#", " ".join(reason.split(":")[0].split()[:3]))


# The processes that read


def run_batch(paths):
    """Return a line for each file and the page, and one for each end of the process."""
    lines = []
    while paths:
        run = subprocess.run(
            [sys.executable, __file__, "--child", *paths], capture_output=True, text=True
        )
        new = [json.loads(line) for line in run.stdout.splitlines()]
        lines += new
        if run.stderr:
            lines.append({"stderr": run.stderr[-2000:]})
        if new and new[-1].get("page"):
            break
        done = len([line for line in new if "bytes" in line])
        lines.append({"ended": run.returncode, "file": (paths + ["page"])[done]})
        paths = paths[done + 1 :]
    return lines


def child(paths):
    """Load files one by one, then write a page of all."""
    from skdcec.datasets import load_images
    from skdcec.datasets.budget import seconds_for
    from skdcec.datasets.decode import UnusableImage, read_picture
    from skdcec.report import write_report

    warnings.simplefilter("ignore")
    for name in ("start.png", "start.tif"):
        # Once before anything is measured: what is imported late, and a worker.
        path = Path(paths[0]).with_name(f"{os.getpid()}{name}")
        options = {"compression": "tiff_lzw"} if name.endswith("tif") else {}
        Image.new("RGB", (16, 16)).save(path, **options)
        load_images([path], 64)
        path.unlink()
    for path in paths:
        before, start = watch(), time.perf_counter()
        try:
            reason = load_images([path], 64, max_pixels=MAX_PIXELS, cache=None).skipped
        except ValueError as error:
            reason = str(error)
            if "No image found" not in reason:
                raise
            # After the name, which is made of no odd characters here.
            reason = reason.partition(f"{os.path.basename(path)!r} (")[2].removesuffix(").")
        clock = time.perf_counter() - start
        # A tenth more, for what is not the decoder.
        line = spent(before) | {"reason": reason or None, "clock": clock}
        line["allowed"] = 1.1 * seconds_for((MAX_PIXELS, 1))
        print(json.dumps({"file": os.path.basename(path), **line}), flush=True)
        try:
            read_picture(path, side=2000, max_pixels=MAX_PIXELS)
        except UnusableImage:
            if reason is None:
                raise
    page = Path(paths[0]).with_name(f"{os.getpid()}page.html")
    write_report(page, paths, np.arange(len(paths)) % 3, max_pixels=MAX_PIXELS, n_jobs=2)
    print(json.dumps({"page": page.stat().st_size}), flush=True)
    page.unlink()


def workers_now():
    from skdcec.datasets import workers

    return [worker.process.pid for worker in workers._idle]


def status(pid, key):
    with open(f"/proc/{pid}/status") as file:
        return int(next(line for line in file if line.startswith(key)).split()[1]) * 1024


def cpu_seconds():
    """Of this process, of the workers that live and of those that were stopped."""
    total = time.process_time()
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total += ended.ru_utime + ended.ru_stime
    for pid in workers_now():
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def watch():
    before = {}
    for pid in [os.getpid(), *workers_now()]:
        with open(f"/proc/{pid}/clear_refs", "w") as file:
            file.write("5")
        before[pid] = status(pid, "VmRSS")
    return before, cpu_seconds()


def spent(watched):
    before, seconds = watched
    # A worker that was stopped took its peak with it; the system held it to its limit.
    pids = [pid for pid in (os.getpid(), *workers_now()) if pid in before]
    peaks = [status(pid, "VmHWM") - before[pid] for pid in pids]
    return {"bytes": sum(peaks), "seconds": cpu_seconds() - seconds}


# The files


def encode(image, name, **options):
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def noise(rng, width, height, mode="RGB"):
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def valid_files(rng):
    image = noise(rng, 90, 60)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769).update({0x9003: "2020:01:01 00:00:00"})
    gray16 = Image.fromarray(rng.integers(0, 2**16, (60, 90), dtype=np.uint16))
    forms = {
        "a.jpg": ("JPEG", image, {"exif": exif}),
        "progressive.jpg": ("JPEG", image, {"progressive": True}),
        "cmyk.jpg": ("JPEG", image.convert("CMYK"), {}),
        "a.png": ("PNG", image, {"exif": exif}),
        "alpha.png": ("PNG", noise(rng, 90, 60, "RGBA"), {}),
        "palette.png": ("PNG", image.convert("P"), {"transparency": bytes(range(200))}),
        "16.png": ("PNG", gray16, {}),
        "a.webp": ("WEBP", image, {"exif": exif}),
        "lossless.webp": ("WEBP", image, {"lossless": True}),
        "a.gif": ("GIF", image, {}),
        "a.bmp": ("BMP", image, {}),
        "a.ppm": ("PPM", image, {}),
        "raw.tif": ("TIFF", image, {"exif": exif}),
        "float.tif": ("TIFF", noise(rng, 90, 60, "F"), {}),
        "16.tif": ("TIFF", gray16, {}),
        **{
            f"{name}.tif": ("TIFF", image, {"compression": name})
            for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
        },
        "a.jp2": ("JPEG2000", image, {}),
        "a.avif": ("AVIF", image, {"speed": 10}),
    }
    files = []
    for name, (kind, picture, options) in forms.items():
        try:
            files.append((name, encode(picture, kind, **options)))
        except (KeyError, OSError):
            print(f"This Pillow does not write {kind}")
    return files


def mutant(valid, rng):
    """Bytes with some of them overwritten, left out, inserted, or the end cut off."""
    name, data = valid[rng.integers(len(valid))]
    data = bytearray(data)
    # Most of what can go wrong is in the header.
    span = [40, 400, len(data)][rng.integers(3)]
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(min(span, len(data)))) if data else 0
        new = [b"\0", b"\xff", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", rng.bytes(3)]
        new = new[rng.integers(len(new))]
        kind = rng.integers(5)
        if kind < 2:
            data[at : at + len(new)] = new
        elif kind == 2:
            del data[at : at + int(rng.integers(1, 20))]
        elif kind == 3:
            data[at:at] = new
        elif rng.random() < 0.3:
            del data[at:]
    return name, bytes(data)


def chunk(kind, body=b""):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def costly_files(rng):
    """What is as large, slow or padded as it can be, most of it just within `max_pixels`."""
    side = 2000
    image = noise(rng, 250, 250).resize((side, side))
    gray = np.asarray(image.convert("L"))
    files = [
        ("alpha.png", encode(image.convert("RGBA"), "PNG", compress_level=1)),
        ("16.png", encode(Image.fromarray(gray.astype(np.uint16) * 200), "PNG", compress_level=1)),
        ("float.tif", encode(image.convert("F"), "TIFF")),
        ("int.tif", encode(image.convert("I"), "TIFF", compression="tiff_lzw")),
        ("alpha.tif", encode(image.convert("RGBA"), "TIFF", compression="tiff_lzw")),
        ("strip.tif", encode(image, "TIFF", compression="tiff_lzw", tiffinfo={278: side})),
        ("progressive.jpg", encode(image, "JPEG", progressive=True, subsampling=0)),
        ("cmyk.jpg", encode(image.convert("CMYK"), "JPEG", progressive=True)),
        ("a.webp", encode(image.convert("RGBA"), "WEBP", method=0)),
        ("lossless.webp", encode(image, "WEBP", lossless=True, method=0, quality=0)),
        ("a.gif", encode(image, "GIF")),
        ("thin.png", encode(Image.new("RGB", (MAX_PIXELS, 1)), "PNG")),
        ("tall.png", encode(Image.new("RGBA", (1, MAX_PIXELS)), "PNG")),
        ("wide.jpg", encode(Image.new("RGB", (60000, 60)), "JPEG")),
    ]
    for name, kind, options in (
        ("a.jp2", "JPEG2000", {"quality_layers": [20]}),
        ("tiles.jp2", "JPEG2000", {"tile_size": (64, 64), "quality_layers": [20]}),
        ("a.avif", "AVIF", {"speed": 10}),
    ):
        try:
            files.append((name, encode(image, kind, **options)))
        except (KeyError, OSError):
            print(f"This Pillow does not write {kind}")
    jpeg = encode(image.resize((900, 900)), "JPEG", progressive=True)
    last = jpeg.rindex(b"\xff\xda")
    for n in (60, 2000):
        files.append((f"{n}scans.jpg", jpeg[:last] + jpeg[last:-2] * n + jpeg[-2:]))
    png, small = encode(image, "PNG", compress_level=1), encode(noise(rng, 50, 50), "JPEG")
    rle = struct.pack("<2sIHHI", b"BM", 0, 0, 0, 1078)
    rle += struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, 0, 0, 0, 256, 0) + bytes(1024)
    files += [
        ("junk.png", png[:33] + chunk(b"juNK", bytes(1)) * 400_000 + png[33:]),
        ("large-junk.png", png[:33] + chunk(b"juNK", bytes(2**25)) + png[33:]),
        ("junk.jpg", small[:2] + (b"\xff\xe5\xff\xff" + bytes(65533)) * 500 + small[2:]),
        ("fill.jpg", small[:2] + b"\xff" * 2_000_000 + small[2:]),
        ("comment.ppm", b"P6\n#" + b"a" * 2_000_000 + b"\n9 9 255\n" + bytes(243)),
        ("text.ppm", b"P3 2000 2000 255\n" + b"1 " * 12_000_000),
        ("dots.bmp", rle + b"\x01\x07" * (side * side)),
        ("claim.png", png[:16] + struct.pack(">II", 60000, 60000) + png[24:]),
        ("claim.webp", b"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\x3f\0\xff\x3f\0" + bytes(34)),
        ("strips.tif", strips(500_000)),
    ]
    return files


def strips(n):
    """A gray TIFF file that claims so many pieces."""
    entries = [(256, 3, 9), (257, 4, n), (258, 3, 8), (259, 3, 1), (262, 3, 1), (278, 3, 1)]
    tags = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    tags += struct.pack("<HHII", 273, 4, n, 200)
    tags = b"".join(sorted(tags[i : i + 12] for i in range(0, len(tags), 12)))
    head = b"II*\0" + struct.pack("<IH", 8, len(entries) + 1) + tags + bytes(4)
    return head.ljust(200, b"\0") + struct.pack("<I", 200) * n


if __name__ == "__main__":
    main()
