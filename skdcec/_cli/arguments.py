"""What can be said to each command? Its arguments and their help, read into its options."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

from skdcec._cli.options import (
    AssignOptions,
    ChooseKOptions,
    ClusterOptions,
    FetchOptions,
    Options,
    PretrainOptions,
    ReportOptions,
    SimilarOptions,
)
from skdcec._cli.parser import Parser, filled
from skdcec._cli.values import Version, numbers, positive_float, positive_int, seed, several
from skdcec._folders import MODEL
from skdcec._named import PAINTING_SIZE
from skdcec._recipes import DEFAULT_CLUSTERS, DEFAULT_SIZE, MANY_IMAGES, NETWORK_SIZE

_OPTIONS: dict[str, type[Options]] = {
    "cluster": ClusterOptions,
    "report": ReportOptions,
    "choose-k": ChooseKOptions,
    "assign": AssignOptions,
    "similar": SimilarOptions,
    "pretrain": PretrainOptions,
    "fetch": FetchOptions,
}


def parse(argv: Sequence[str] | None = None) -> tuple[str, Options]:
    """Return the name of the command that is asked for, and its options.

    Wrong arguments, ``--help`` and ``--version`` end the process.
    """
    parser, commands = _parser()
    argv = [*(sys.argv[1:] if argv is None else argv)]
    if argv[:1] == ["help"]:
        # As other programs have it.
        argv = [*argv[1:2], "--help"]
    if not argv:
        # Whoever says nothing wants to know what can be said.
        parser.print_help(sys.stderr)
        parser.exit(2)
    known, unknown = parser.parse_known_args(argv)
    values = vars(known)
    name = values.pop("command")
    if unknown:
        commands[name].refuse(unknown)
    if name == "similar" and bool(values["images"]) == bool(values["text"]):
        commands[name].error("similar takes either one IMAGE or more, or --text.")
    return name, _OPTIONS[name](**values)


# The parser


def _parser() -> tuple[Parser, dict[str, Parser]]:
    parser = Parser(
        prog="skdcec",
        description="Group images by what they look like, without labels.",
        epilog="Each command explains itself: skdcec cluster --help",
    )
    parser.add_argument("--version", action=Version, help="show the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_cluster(commands)
    _add_report(commands)
    _add_choose_k(commands)
    _add_assign(commands)
    _add_similar(commands)
    _add_pretrain(commands)
    _add_fetch(commands)
    return parser, commands.choices


def _add_cluster(commands: Any) -> None:
    parser = _add_command(
        commands,
        "cluster FOLDER",
        "Group the images of a folder, and write tables and a page to look at.",
        """
        FOLDER is searched with its sub-folders. It may also be a pattern such as
        'scans/*.tif' in quotes, a CSV table with a column of file names, or a ZIP archive.

        Where something has to be trained, for how long is planned from the number of images and
        the measured speed of this computer. What was read and trained is kept in the cache, so
        then the second run over a folder, one that was interrupted, and one with another -k are
        much faster.
        """,
        """
        skdcec cluster paintings
        skdcec cluster paintings -k 12 --out twelve --metadata paintings.csv
        skdcec cluster paintings --edits cluster-edits.json --out paintings-corrected
        skdcec cluster paintings.csv --features dinov2.npy --export paintings.parquet
        """,
    )
    parser.add_argument("folder", metavar="FOLDER", help="the images")
    parser.add_argument(
        "-k",
        "--clusters",
        type=several,
        metavar="K",
        help=f"number of clusters (default: {DEFAULT_CLUSTERS}, fewer for fewer than "
        f"{5 * DEFAULT_CLUSTERS} images)",
    )
    parser.add_argument("--out", metavar="OUT", help="folder to write (default: FOLDER-clusters)")
    parser.add_argument(
        "--edits",
        nargs="?",
        const="",
        metavar="FILE",
        help="go on from the clusters in OUT (or FOLDER-clusters, where OUT is new) as somebody "
        "corrected them on the page, which saved FILE (default: as they are there)",
    )
    _add_training(parser, minutes=10.0)
    parser.add_argument(
        "--words",
        nargs="?",
        const="",
        metavar="FILE",
        help="propose names for the clusters, by an --encoder of open_clip, which knows words: "
        "those of a text file with one a line (default: words for art that come with skdcec). "
        "They are drafts, to be corrected on the page",
    )
    _add_export(parser)
    _add_page(parser)
    _add_common(parser)


def _add_report(commands: Any) -> None:
    parser = _add_command(
        commands,
        "report OUT",
        "Draw the page and the tables again, without training.",
        """
        Names and notes that were given to clusters on the page are saved there as a file, and
        read back with --names. They stay with OUT until the clusters change. So do images that were
        moved there, and clusters merged or split, with --edits: page and tables follow, the model
        does not.
        """,
        """
        skdcec report paintings-clusters
        skdcec report paintings-clusters --names cluster-names.json
        skdcec report paintings-clusters --edits cluster-edits.json
        skdcec report paintings-clusters --images /media/disk/paintings --export found.parquet
        """,
    )
    parser.add_argument("out", metavar="OUT", help="the folder that skdcec cluster wrote")
    parser.add_argument(
        "--names",
        metavar="FILE",
        help="names of clusters: saved by the page, or a CSV with cluster, name and note",
    )
    parser.add_argument(
        "--edits",
        metavar="FILE",
        help="images moved, and clusters merged or split, on the page: saved there",
    )
    parser.add_argument("--title", metavar="TEXT", help="heading of the page")
    parser.add_argument("--images", metavar="FOLDER", help="where the images have moved to")
    parser.add_argument(
        "--draft-names", metavar="FILE.csv", help="write proposals, to correct and give to --names"
    )
    _add_export(parser)
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    _add_page(parser)
    _add_common(parser)


def _add_choose_k(commands: Any) -> None:
    parser = _add_command(
        commands,
        "choose-k FOLDER",
        "Compare numbers of clusters, and say whether there are clusters at all.",
        """
        All numbers are compared in one embedding that is trained once; the plausible ones are
        trained further. Writes a page with their clusters side by side, a table and a picture.
        What is trained is kept in the cache, so a search that was stopped goes on.
        """,
        """
        skdcec choose-k paintings
        skdcec choose-k paintings --k 2..30 --out how-many
        skdcec choose-k paintings --k 5,10,20 --all --runs 3
        skdcec choose-k paintings --sample 1000 --json
        """,
    )
    parser.add_argument("folder", metavar="FOLDER", help="the images")
    parser.add_argument(
        "-k",
        "--k",
        type=numbers,
        default=list(range(2, 13)),
        metavar="K",
        help="numbers of clusters: 2..12 (the default), or 4,7,10",
    )
    parser.add_argument("--out", metavar="OUT", help="folder to write (default: FOLDER-choose-k)")
    parser.add_argument(
        "--runs", type=positive_int, default=1, metavar="N", help="trainings of each (default: 1)"
    )
    parser.add_argument("--all", action="store_true", help="train all, not only the plausible")
    _add_training(parser, minutes=20.0)
    _add_common(parser)


def _add_assign(commands: Any) -> None:
    parser = _add_command(
        commands,
        "assign MODEL FOLDER",
        "Say which of the clusters new images belong to.",
        """
        Writes a table with a row per image. Every image gets its nearest cluster; those with an
        unlikeness above 1 are flagged "unlike": in light, colours, edges and detail, in how well
        they can be redrawn, and in their distance to the clusters, they are farther from what is
        usual than all but one in 200 of the images that the clusters were found in. A flag is a
        reason to look, and its absence is no proof.
        """,
        """
        skdcec assign paintings-clusters new-scans
        skdcec assign paintings-clusters new-scans --out new-scans.csv
        skdcec assign paintings-clusters new-scans --json | jq '.[] | select(.flag == "unlike")'
        skdcec assign model.safetensors 'scans/2024-*.tif' --strict --quiet > labels.csv
        """,
    )
    parser.add_argument(
        "model", metavar="MODEL", help=f"a folder that skdcec cluster wrote, or its {MODEL}"
    )
    parser.add_argument("folder", metavar="FOLDER", help="the new images")
    parser.add_argument("--out", metavar="FILE.csv", help=_ASSIGNED)
    _add_weights(parser)
    _add_source(parser)
    parser.add_argument("--force", action="store_true", help="replace FILE.csv")
    _add_common(parser)


def _add_similar(commands: Any) -> None:
    parser = _add_command(
        commands,
        "similar MODEL IMAGE [IMAGE ...]",
        "Find the images that are most like given ones, or like a description.",
        """
        The smaller the distance, the more alike; it has no unit. An image itself is left out of its
        list; copies of it in other files are not.

        Where the clusters were found by a network of open_clip, which knows words, --text finds the
        images that are most like a description; the larger their similarity, the more.
        """,
        """
        skdcec similar paintings-clusters paintings/monet_7.jpg
        skdcec similar paintings-clusters sketch.jpg photo.png --top 20 --out similar.csv
        skdcec similar paintings-clusters detail.jpg --in other-museum --sheet detail-found.png
        skdcec similar paintings-clusters --text "a ship in a storm" --out storms.csv
        """,
    )
    parser.add_argument(
        "model", metavar="MODEL", help=f"a folder that skdcec cluster wrote, or its {MODEL}"
    )
    images = parser.add_argument(
        "images", metavar="IMAGE", nargs="+", default=[], help="images to find similar ones of"
    )
    # With "*", none would be found behind other options.
    images.required = False
    parser.add_argument(
        "--text", action="append", metavar="TEXT", help="find what words describe, instead"
    )
    parser.add_argument(
        "--in",
        dest="folder",
        metavar="FOLDER",
        help="where to look (default: the images that were clustered)",
    )
    parser.add_argument(
        "--top", type=positive_int, default=10, metavar="N", help="how many (default: 10)"
    )
    parser.add_argument("--out", metavar="FILE.csv", help="where to write (default: stdout)")
    parser.add_argument(
        "--sheet",
        metavar="FILE.jpg",
        help="contact sheet, JPEG, PNG or WebP (default: beside FILE.csv; none without --out)",
    )
    _add_weights(parser)
    parser.add_argument("--strict", action="store_true", help=_STRICT)
    parser.add_argument("--force", action="store_true", help="replace FILE.csv and FILE.jpg")
    _add_common(parser)


def _add_pretrain(commands: Any) -> None:
    parser = _add_command(
        commands,
        "pretrain FOLDER --out FILE.safetensors",
        "Train an encoder on many images, to describe other collections by.",
        """
        What comes with skdcec was trained in this way on paintings. In Python,
        ContrastiveEncoder(weights="FILE.safetensors", max_epochs=0) embeds images by the result.
        Thousands of images are needed; names of folders and tables are not looked at.
        """,
        """
        skdcec pretrain paintings --out encoder.safetensors
        skdcec pretrain paintings --out encoder.safetensors --epochs 10 --sample 1000
        skdcec pretrain textiles --start paintings --out textiles.safetensors --epochs 12
        skdcec pretrain 'scans/**/*.tif' --out scans.safetensors --size 96 --seed 1 --json
        """,
    )
    parser.add_argument("folder", metavar="FOLDER", help="the images")
    parser.add_argument("--out", metavar="FILE.safetensors", required=True, help="where to write")
    parser.add_argument(
        "--start",
        metavar="WEIGHTS",
        help="where training starts: paintings, or such a file (default: at random)",
    )
    parser.add_argument("--epochs", type=positive_int, default=40, metavar="E", help="default: 40")
    parser.add_argument(
        "--components",
        type=positive_int,
        default=128,
        metavar="N",
        help="size of the embedding, of which fewer may be taken later (default: 128)",
    )
    images = _add_source(parser)
    images.add_argument(
        "--size",
        type=positive_int,
        default=DEFAULT_SIZE,
        metavar="PIXELS",
        help=f"train on squares of this side (default: {DEFAULT_SIZE})",
    )
    _add_how(images, parser)
    parser.add_argument("--force", action="store_true", help="replace FILE.safetensors")
    _add_common(parser)


def _add_fetch(commands: Any) -> None:
    parser = _add_command(
        commands,
        "fetch MANIFEST --out FOLDER",
        "Fetch the images that a IIIF manifest names, once, into a folder.",
        """
        Only what is not there yet is fetched, so the same command goes on where one was stopped.
        What cannot be had is listed in failed.csv. The labels and metadata of the manifest are in
        manifest.csv, which the other commands take for FOLDER: skdcec cluster museum/manifest.csv
        """,
        """
        skdcec fetch https://example.org/iiif/manifest.json --out museum
        skdcec fetch manifest.json --out museum --size 512 --sample 200
        skdcec fetch manifest.json --out museum --full --max-mb 500 --json
        skdcec fetch manifest.json --out museum --sample 20 --quiet
        """,
    )
    parser.add_argument("manifest", metavar="MANIFEST", help="a file, or an address of http(s)")
    parser.add_argument("--out", metavar="FOLDER", required=True, help="where to write")
    parser.add_argument(
        "--size",
        type=positive_int,
        default=1024,
        metavar="PIXELS",
        help="longer side to ask for, where it is scaled there (default: 1024)",
    )
    parser.add_argument("--full", action="store_true", help="ask for all pixels there are")
    parser.add_argument(
        "--max-mb",
        type=positive_float,
        default=256.0,
        metavar="MB",
        help="a file that is larger is not kept (default: 256)",
    )
    parser.add_argument(
        "--sample", type=positive_int, metavar="N", help="fetch only N images, evenly spaced"
    )
    _add_common(parser)


_ASSIGNED = (
    "where to write (default: FOLDER-assigned.csv beside FOLDER; standard output where that is no "
    "terminal, as before | or >)"
)
_STRICT = "fail when a file cannot be used, instead of skipping it"


def _add_command(
    commands: Any,
    words: str,
    summary: str,
    details: str,
    examples: str,
) -> Parser:
    """Add a command by its name and what has to follow it."""
    name, needed = words.split(" ", 1)
    parser: Parser = commands.add_parser(
        name,
        help=summary,
        usage=f"skdcec {name} {needed} [options]",
        description=filled(f"{summary}\n\n{textwrap.dedent(details)}"),
        epilog=f"examples:\n{textwrap.indent(textwrap.dedent(examples).strip(), '  ')}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=name)
    return parser


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--export",
        metavar="FILE",
        help="also write all that is known of each image for other tools: .parquet or .csv",
    )


def _add_training(parser: argparse.ArgumentParser, *, minutes: float) -> None:
    parser.add_argument(
        "--force",
        action="store_true",
        help="write into a folder that holds other files, too, or in the place of clusters that "
        "somebody corrected by hand",
    )
    images = _add_source(parser)
    compared = parser.add_argument_group("what images are compared by, and for how long")
    compared.add_argument(
        "--features",
        metavar="FILE",
        help="compare images by vectors that exist already: a .npy file, with a row for each file "
        "of FOLDER in its order, or of FILE.txt beside it; or a Parquet file with a column of "
        "files. They are taken as they are, or learned from by --encoder autoencoder",
    )
    compared.add_argument(
        "--encoder",
        metavar="NAME",
        default="auto",
        help="what images are compared by: autoencoder (learns to reproduce them), contrastive "
        "(learns to recognise them in changed views; for paintings and photographs), paintings "
        "(the same, learned from other paintings before, beside colours and edges: nothing is "
        "trained, which takes seconds), or a network that was trained on other images, by its "
        "name: one of torchvision, such as densenet121, timm/NAME, hf-hub:OWNER/NAME, "
        "local-dir:FOLDER or open_clip/NAME/TAG. paintings and networks joined by +, such as "
        "paintings+densenet121, stand side by side. auto, the default, looks at some images: where "
        "shapes lie alike, as in digits or faces, it is autoencoder, else paintings",
    )
    _add_weights(compared)
    compared.add_argument(
        "--minutes",
        type=positive_float,
        default=minutes,
        metavar="M",
        help=f"time to plan for, from the first file to the page (default: {minutes:g})",
    )
    compared.add_argument(
        "--epochs",
        type=positive_int,
        metavar="E",
        help="epochs of pretraining, in place of a plan; two fifths as many of clustering follow "
        "(a tenth with --encoder contrastive)",
    )
    images.add_argument(
        "--size",
        type=positive_int,
        metavar="PIXELS",
        help=f"look at squares of this side (default: {DEFAULT_SIZE}, {PAINTING_SIZE} with the "
        f"painting encoder and up to {MANY_IMAGES} images, {NETWORK_SIZE} with a network); the "
        "page shows the files",
    )
    _add_how(images, compared)


def _add_how(images: Any, compared: Any) -> None:
    images.add_argument(
        "--resize",
        choices=("pad", "crop", "stretch"),
        default="pad",
        help="how other proportions become square (default: pad, the whole picture with bars)",
    )
    compared.add_argument(
        "--seed", type=seed, default=0, metavar="N", help="of all that is random (default: 0)"
    )
    compared.add_argument("--device", metavar="NAME", help="cpu, cuda, ... (default: the fastest)")


def _add_weights(parser: Any) -> None:
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="weights of the network (default: its library downloads them once)",
    )


def _add_source(parser: argparse.ArgumentParser) -> Any:
    group = parser.add_argument_group("which images, and what is known of them")
    group.add_argument(
        "--metadata",
        metavar="FILE.csv",
        help="table with a row per file (default: the names of the sub-folders)",
    )
    group.add_argument(
        "--file-column", metavar="NAME", help="its column of file names (default: found)"
    )
    group.add_argument(
        "--sample", type=positive_int, metavar="N", help="take only N files, evenly spaced"
    )
    group.add_argument(
        "--pages", choices=("first", "all"), default="first", help="of TIFF files (default: first)"
    )
    group.add_argument("--strict", action="store_true", help=_STRICT)
    return group


def _add_page(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--open", action="store_true", help="show the page in the browser")
    group = parser.add_argument_group("the page")
    group.add_argument(
        "--page-images",
        type=positive_int,
        default=20_000,
        metavar="N",
        help="how many images the page shows; of more, a sample with some of each cluster "
        "(default: 20000)",
    )
    group.add_argument(
        "--max-mb",
        type=positive_float,
        default=25.0,
        metavar="MB",
        help="size of the page, which decides that of its thumbnails (default: 25)",
    )


def _add_common(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how the command runs, and what it prints")
    group.add_argument(
        "--cache", metavar="FOLDER", help="what is kept for the next run (default: ~/.cache/skdcec)"
    )
    group.add_argument(
        "--jobs", type=int, default=-1, metavar="N", help="threads that read files (default: all)"
    )
    group.add_argument("--json", action="store_true", help="print results as JSON")
    group.add_argument("--quiet", action="store_true", help="show no progress")
    group.add_argument(
        "--progress", choices=("bar", "json", "none"), default="bar", help="how progress is shown"
    )
