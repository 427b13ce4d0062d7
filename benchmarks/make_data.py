"""Make usps.npz and mnist_test.npz, which quality.py and choose_k.py read, from public files.

Nothing is downloaded: name the files that you have, compressed or not.

USPS, training part first, is read in either of two formats: that of the LIBSVM data sets (`usps`
and `usps.t`, kinds counted from 1) or the text files of "The Elements of Statistical Learning"
(`zip.train` and `zip.test`). The test part of MNIST is `t10k-images-idx3-ubyte` and
`t10k-labels-idx1-ubyte`. Each .npz file holds x, uint8 of shape (n, height, width), and y, the
digits, uint8.
"""

import argparse
import bz2
import gzip
from pathlib import Path

import numpy as np

# How often each digit occurs, the surest sign that a file is complete and its kinds are read right.
COUNTS = {
    "usps": [1553, 1269, 929, 824, 852, 716, 834, 792, 708, 821],
    "mnist_test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
}


def read_bytes(path):
    """Return what a file holds, decompressed if it is compressed."""
    data = Path(path).read_bytes()
    if data[:2] == b"\x1f\x8b":
        return gzip.decompress(data)
    return bz2.decompress(data) if data[:3] == b"BZh" else data


def read_usps(path):
    """Return images and digits of one part of USPS, in either of its text formats."""
    digits, rows = [], []
    for number, line in enumerate(read_bytes(path).decode("ascii").splitlines(), 1):
        kind, *values = line.split()
        row = np.zeros(256)
        sparse = ":" in line
        if sparse:
            for value in values:
                place, _, gray = value.partition(":")
                row[int(place) - 1] = float(gray)
        elif len(values) == 256:
            row[:] = [float(value) for value in values]
        else:
            raise ValueError(f"{path}, line {number}: {len(values)} values instead of 256.")
        digits.append(int(float(kind)) - sparse)
        rows.append(row)
    grays = np.array(rows).reshape(-1, 16, 16)
    if not rows or np.abs(grays).max() > 1:
        raise ValueError(f"{path} holds no images with grays from -1 to 1.")
    return np.rint((grays + 1) * 127.5).astype(np.uint8), np.array(digits, np.uint8)


def read_idx(path):
    """Return the array of bytes that a file in the format of MNIST holds."""
    data = read_bytes(path)
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise ValueError(f"{path} is no idx file of bytes.")
    n_axes = data[3]
    shape = np.frombuffer(data, ">u4", n_axes, offset=4)
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * n_axes)
    if values.size != shape.prod():
        raise ValueError(f"{path} holds {values.size} values instead of {shape.prod()}.")
    return values.reshape(shape)


def usps(train, test):
    """Return all images and digits of USPS."""
    parts = [read_usps(train), read_usps(test)]
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def mnist_test(images, labels):
    """Return images and digits of the test part of MNIST."""
    return read_idx(images), read_idx(labels)


def write(folder, name, x, y, counts=None):
    """Check how often each digit occurs, and write the .npz file."""
    counts = COUNTS[name] if counts is None else counts
    found = np.bincount(y, minlength=10).tolist()
    if len(x) != len(y) or found != counts:
        raise ValueError(
            f"{name}: {len(x)} images, of the digits {found}; expected were {counts}. Is the "
            "order of the files right?"
        )
    np.savez_compressed(folder / f"{name}.npz", x=x, y=y)
    return folder / f"{name}.npz"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the .npz files go")
    parser.add_argument("--usps", type=Path, nargs=2, metavar=("TRAIN", "TEST"))
    parser.add_argument("--mnist", type=Path, nargs=2, metavar=("IMAGES", "LABELS"))
    args = parser.parse_args()
    if not (args.usps or args.mnist):
        parser.error("nothing to do: name files by --usps, --mnist or both")
    args.folder.mkdir(parents=True, exist_ok=True)
    try:
        if args.usps:
            print("Written:", write(args.folder, "usps", *usps(*args.usps)))
        if args.mnist:
            print("Written:", write(args.folder, "mnist_test", *mnist_test(*args.mnist)))
    except (OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
