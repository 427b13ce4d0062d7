"""Pictures within files: members of ZIP archives, pages of TIFF files; and HEIC."""

import io
import os
import shutil
import struct
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from skdcec._cli import main
from skdcec._runs import Run
from skdcec.datasets import ImageLoader, budget, load_images
from skdcec.datasets.decode import UnusableImage, read_picture
from skdcec.datasets.within import content_digest, n_pages, version_of

NAMES = ("monet/1.jpg", "monet/10.png", "klimt/2.tif", "klimt/é.webp")


def noise(seed, size=(24, 20)):
    shape = (size[1], size[0], 3)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def encoded(image, name, **options):
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def fill(folder, n=0):
    """Write four pictures of four formats, and `n` more."""
    names = [*NAMES, *(f"more/{i}.png" for i in range(n))]
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        noise(seed).save(folder / name)
    return folder


def pack(folder, archive, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(archive, "w", method) as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, path.relative_to(folder))
    return archive


def reason_of(path):
    with pytest.raises(UnusableImage) as caught:
        read_picture(path, side=8)
    return str(caught.value)


@pytest.fixture
def archive(tmp_path):
    return pack(fill(tmp_path / "folder"), tmp_path / "pictures.zip")


# Archives


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("n_jobs", [1, 4])
def test_an_archive_is_read_as_its_folder_would_be(method, n_jobs, tmp_path):
    folder = fill(tmp_path / "folder")
    archive = pack(folder, tmp_path / "pictures.zip", method)
    options = {"size": 16, "metadata": "folders", "cache": None, "n_jobs": n_jobs}
    before = sorted(tmp_path.rglob("*"))
    expected, found = load_images(folder, **options), load_images(archive, **options)
    assert found.paths.tolist() == expected.paths.tolist()
    np.testing.assert_array_equal(found.images, expected.images)
    assert found.metadata["folder"].tolist() == expected.metadata["folder"].tolist()
    # Their paths are good for whatever takes paths.
    again = ImageLoader(size=16).transform(found.filenames)
    np.testing.assert_array_equal(again, expected.images)
    assert sorted(tmp_path.rglob("*")) == before
    assert budget._unpacked == budget._taken == 0


def test_only_what_changed_in_an_archive_is_decoded_again(tmp_path, monkeypatch):
    folder = fill(tmp_path / "folder")
    archive = pack(folder, tmp_path / "pictures.zip")
    load_images(archive, 16, cache=tmp_path / "cache")
    noise(99).save(folder / "monet/10.png")
    pack(folder, archive)
    decoded = []
    from skdcec.datasets import steps

    real = steps.opened_picture
    monkeypatch.setattr(
        steps,
        "opened_picture",
        lambda path, **options: decoded.append(path) or real(path, **options),
    )
    load_images(archive, 16, cache=tmp_path / "cache")
    assert [os.path.basename(path) for path in decoded] == ["10.png"]


def test_a_run_over_an_archive_goes_all_the_way(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    archive = pack(fill(tmp_path / "folder", 16), tmp_path / "pictures.zip")
    options = ["--encoder", "autoencoder", "--size", "8", "--epochs", "2", "--jobs", "1"]
    assert main(["cluster", str(archive), "-k", "2", *options, "--quiet"]) == 0
    out = tmp_path / "pictures-clusters"
    assert Run.load(out).missing == []
    moved = shutil.move(archive, tmp_path / "moved.zip")
    assert len(Run.load(out).missing) == 20
    assert main(["report", str(out), "--images", str(moved), "--quiet"]) == 0
    assert Run.load(out).missing == []
    # A member stands for itself where a file is asked for, and a table of the run for its images.
    capsys.readouterr()
    assert main(["similar", str(out), f"{moved}/monet/1.jpg", "--top", "20", "--quiet"]) == 0
    found = [line.split(",")[2] for line in capsys.readouterr().out.splitlines()[1:]]
    assert len(found) == 19
    assert "monet/10.png" in found
    assert "monet/1.jpg" not in found
    assert len(load_images(out / "clusters.csv", 8, cache=None).paths) == 20


def test_names_that_lead_out_of_an_archive_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as file:
        for name in ("../out.png", "/root.png", "a/../../b.png", "C:/c.png", "..\\d.png"):
            file.writestr(zipfile.ZipInfo(name), encoded(noise(0), "PNG"))
        file.writestr("fine.png", encoded(noise(1), "PNG"))
        file.writestr("__MACOSX/._fine.png", b"junk")
    with pytest.warns(UserWarning, match="leads out of the archive"):
        bunch = load_images(tmp_path / "p.zip", 8, cache=None)
    assert bunch.paths.tolist() == ["fine.png"]
    assert len(bunch.skipped) == 5
    assert not (tmp_path / "out.png").exists()


def lied(archive, name, *, size):
    """Let the directory of an archive claim another size for a file."""
    content = bytearray(archive.read_bytes())
    entry = content.index(b"PK\x01\x02")
    while name.encode() not in content[entry : entry + 46 + len(name)]:
        entry = content.index(b"PK\x01\x02", entry + 1)
    struct.pack_into("<L", content, entry + 24, size)
    archive.write_bytes(content)


def test_a_bomb_is_not_unpacked(tmp_path):
    archive = tmp_path / "bomb.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for i in range(40):
            file.writestr(f"{i}.png", b"\x89PNG\r\n\x1a\n" + bytes(2**18))
    for i in range(40):
        lied(archive, f"{i}.png", size=2**28)
    with pytest.raises(ValueError, match=r"claims 10\.7 GB: pictures do not shrink like that"):
        load_images(archive, 8, cache=None)


def test_a_member_is_never_unpacked_further_than_it_claims(tmp_path):
    archive = tmp_path / "p.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("small.png", b"\x89PNG\r\n\x1a\n" + bytes(2**24))
        file.writestr("large.png", b"\x89PNG\r\n\x1a\n" + bytes(2**24))
        file.writestr("text.txt", b"no picture" + bytes(2**24))
    lied(archive, "small.png", size=100)
    lied(archive, "large.png", size=2**28 + 1)
    assert "not what its directory says" in reason_of(f"{archive}/small.png")
    assert "at most 256 are read" in reason_of(f"{archive}/large.png")
    # What does not begin like an image is left packed.
    assert reason_of(f"{archive}/text.txt") == "not an image of a known format"


def test_damaged_archives_and_members_have_a_reason(archive, tmp_path):
    content = archive.read_bytes()
    (tmp_path / "cut.zip").write_bytes(content[:-30])
    with pytest.raises(ValueError, match="cannot be read as a ZIP archive"):
        load_images(tmp_path / "cut.zip", 8, cache=None)
    start = content.index(b"\x89PNG") if b"\x89PNG" in content else content.index(b"10.png") + 40
    broken = bytearray(content)
    broken[start : start + 60] = bytes(60)
    (tmp_path / "broken.zip").write_bytes(broken)
    with pytest.warns(UserWarning, match="monet/10.png"):
        bunch = load_images(tmp_path / "broken.zip", 8, cache=None)
    assert [name for name, _ in bunch.skipped] == ["monet/10.png"]
    assert reason_of(f"{archive}/monet/11.png") == "cannot be read: no such file in the archive"
    with zipfile.ZipFile(tmp_path / "lzma.zip", "w", zipfile.ZIP_LZMA) as file:
        file.writestr("a.png", encoded(noise(0), "PNG"))
    assert "only stored and deflated are read" in reason_of(tmp_path / "lzma.zip" / "a.png")


def test_random_damage_never_raises_anything_else(archive):
    random = np.random.default_rng(0)
    content = np.frombuffer(archive.read_bytes(), dtype=np.uint8)
    for _ in range(60):
        damaged = content.copy()
        places = random.integers(0, len(content), 8)
        damaged[places] = random.integers(0, 256, 8)
        archive.write_bytes(damaged.tobytes())
        try:
            load_images(archive, 8, cache=None)
        except ValueError:
            pass
        except UserWarning:
            pass


# Pages


@pytest.fixture
def document(tmp_path):
    """A TIFF file of three pages, of different sizes."""
    pages = [noise(i, size=(20 + i, 16)) for i in range(3)]
    pages[0].save(tmp_path / "scan.tif", save_all=True, append_images=pages[1:])
    return tmp_path / "scan.tif"


def test_pages_are_images_where_they_are_asked_for(document, tmp_path):
    noise(9).save(tmp_path / "other.png")
    first = load_images(tmp_path, 16, cache=None)
    every = load_images(tmp_path, 16, pages="all", cache=None, resize="stretch")
    assert first.paths.tolist() == ["other.png", "scan.tif"]
    assert every.paths.tolist() == ["other.png", "scan.tif", "scan.tif#2", "scan.tif#3"]
    for page in (2, 3):
        picture = read_picture(f"{document}#{page}", side=99)
        assert picture.size == (19 + page, 16)
        np.testing.assert_array_equal(
            np.asarray(picture.image), noise(page - 1, size=(19 + page, 16))
        )
    assert every.duplicates == []


def test_content_is_known_again_wherever_it_lies(archive, document, tmp_path):
    name = NAMES[0]
    digest = content_digest(str(archive / name))
    assert digest == content_digest(str(tmp_path / "folder" / name))
    pages = {content_digest(f"{document}{page}") for page in ("", "#2", "#3")}
    assert len(pages | {digest, content_digest(str(archive / NAMES[1]))}) == 5
    with pytest.raises(FileNotFoundError):
        content_digest(str(archive / "none.png"))


def test_a_page_has_the_metadata_of_its_file_or_its_own(document, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("file,year\nscan.tif,1888\nscan.tif#3,1901\n")
    bunch = load_images(tmp_path, 16, pages="all", metadata=table, cache=None)
    assert bunch.metadata["year"].tolist() == ["1888", "1888", "1901"]
    bunch = load_images(table, 16, pages="all", cache=None)
    assert bunch.paths.tolist()[:3] == ["scan.tif", "scan.tif#2", "scan.tif#3"]


def test_a_page_that_is_not_there_has_a_reason(document, tmp_path):
    noise(0).save(tmp_path / "photo.jpg")
    assert reason_of(f"{document}#4") == "has no page 4"
    assert "page 2 of a JPEG file" in reason_of(tmp_path / "photo.jpg#2")
    # A file that is called so is the file.
    noise(5, size=(7, 7)).save(tmp_path / "scan.tif#2", "PNG")
    assert read_picture(f"{document}#2", side=9).size == (7, 7)


def test_smaller_copies_at_the_end_are_no_pages(tmp_path):
    pages = [noise(0), noise(1), noise(2, size=(6, 5))]
    pages[2].encoderinfo = {"tiffinfo": {254: 1}}
    pages[0].save(tmp_path / "p.tif", save_all=True, append_images=pages[1:])
    assert n_pages(tmp_path / "p.tif") == 2


@pytest.mark.parametrize(
    "content", [b"", b"II*\0", b"II*\0\x08\0\0\0\x08\0", b"MM\0*\0\0\0\x08\0\x01"]
)
def test_damaged_directories_end(content, tmp_path):
    (tmp_path / "p.tif").write_bytes(content)
    assert n_pages(tmp_path / "p.tif") == 1


def test_a_circle_of_directories_ends(tmp_path):
    (tmp_path / "p.tif").write_bytes(b"II*\0\x08\0\0\0" + b"\0\0\x08\0\0\0")
    assert n_pages(tmp_path / "p.tif") == 1


def test_the_version_of_what_is_missing_is_an_error(archive):
    for path in (archive.with_name("none.zip"), archive / "none.png", archive / "a" / "b.png"):
        with pytest.raises(FileNotFoundError):
            version_of(path)


# HEIC


def test_heic_is_read_where_its_reader_is_installed(tmp_path):
    pytest.importorskip("pillow_heif", reason="needs pillow-heif, of the extra [heif]")
    from pillow_heif import from_pillow

    smooth = Image.linear_gradient("L").resize((64, 48)).convert("RGB")
    from_pillow(smooth).save(tmp_path / "photo.heic", quality=95)
    picture = read_picture(tmp_path / "photo.heic", side=64)
    assert picture.size == (64, 48)
    assert np.abs(np.asarray(picture.image).astype(int) - np.asarray(smooth)).mean() < 4
    content = (tmp_path / "photo.heic").read_bytes()
    (tmp_path / "cut.heic").write_bytes(content[: len(content) // 2])
    assert "damaged or unsupported" in reason_of(tmp_path / "cut.heic")
    with pytest.raises(UnusableImage, match="more than max_pixels=100"):
        read_picture(tmp_path / "photo.heic", side=8, max_pixels=100)


def test_the_extra_for_heic_is_named_and_tried_again_once_it_is_there(tmp_path, monkeypatch):
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    reason = reason_of(tmp_path / "photo.heic")
    assert reason.startswith("cannot be read: ")
    assert "skdcec[heif]" in reason
