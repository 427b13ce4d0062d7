"""Runs that meet each other, faults, damaged files and kills: what is left, and what comes next?

Four campaigns, each of which counts what must not be:

- two processes that write one folder at the same time: a folder with files of both, or a loser
  that is not told who was first;
- a kill, a full disk or a missing permission at every operation on files while a run is saved: a
  folder that is neither the old run nor the new one;
- damaged caches, plans, data and names: a traceback, another result without a word, or a later run
  that no longer works;
- kills -9 at random moments of ``skdcec cluster`` with each encoder and of a search in processes:
  other labels after the same command was given again, something left over, or a process that is
  alive ten seconds later.

``--n 100`` kills that often (twenty by default), ``--pairs`` and ``--mutations`` set the others.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from _common import HERE, print_table, provenance, write_results
from _faults import Faults, every_fault, found_in, hidden, two_runs
from _mutations import mutated
from PIL import Image

from skdcec import ConvAutoencoder, DeepConvEmbeddingClustering
from skdcec._files import read_table
from skdcec._runs import Run
from skdcec.datasets import load_images

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
TINY = ["--size", "16", "--epochs", "1", "--jobs", "1", "--quiet"]

SEARCH = """
import sys
from pathlib import Path
import numpy as np
from skdcec import ConvAutoencoder, DeepConvEmbeddingClustering
from skdcec.datasets import load_images
from skdcec.model_selection import NClustersSearch
source, out, cache = sys.argv[1:]
images = load_images(source, 16, cache=cache).images
encoder = ConvAutoencoder(4, filters=(4, 8), max_epochs=1)
model = DeepConvEmbeddingClustering(3, encoder=encoder, max_epochs=1, n_init=2, random_state=0)
search = NClustersSearch(model, [2, 3, 4], memory=cache, n_jobs=2, screen=None, random_state=0)
labels = search.fit(images).labels_of_
Path(out).mkdir(exist_ok=True)
text = "".join(f"{k}: {labels[k].tolist()}" for k in sorted(labels))
Path(out, "clusters.csv").write_text(text)
"""


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=20, help="kills at random moments")
    parser.add_argument("--pairs", type=int, default=50, help="runs that meet")
    parser.add_argument("--mutations", type=int, default=300, help="damaged files")
    names = ["meetings", "faults", "runs", "caches", "kills"]
    parser.add_argument("--only", nargs="+", choices=names, help="some of the campaigns")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="only see whether this runs")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        serve()
        return
    if args.quick:
        args.n, args.pairs, args.mutations = 3, 3, 30
    random = np.random.default_rng(args.seed)
    warnings.simplefilter("ignore")
    rows = {}
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        source = make_images(scratch / "images", random)
        runs = handmade(source, scratch)
        campaigns = {
            "meetings": lambda folder: meetings(source, folder, args.pairs),
            "faults": lambda folder: faults(runs, folder),
            "runs": lambda folder: damaged_runs(runs, folder, args.mutations // 2, random),
            "caches": lambda folder: damaged_caches(
                source, folder, -(-args.mutations // 2), random
            ),
            "kills": lambda folder: kills(source, folder, args.n, random),
        }
        for name in args.only or campaigns:
            start = time.monotonic()
            title, n, bad, details = campaigns[name](scratch / name)
            row = {"campaign": title, "tried": n, "asked": 0, "bad": bad, **details}
            row |= {"seed": args.seed, "seconds": round(time.monotonic() - start, 1)}
            rows[name] = row | provenance()
            print(json.dumps(row), flush=True)
    print()
    print_table(
        ["campaign", "tried", "bad, asked", "bad, measured"],
        [[row["campaign"], row["tried"], row["asked"], row["bad"]] for row in rows.values()],
    )
    if args.only and not args.quick:
        # The others stay as they were measured.
        path = HERE / "results" / "reliability_runs.json"
        known = json.loads(path.read_text())["campaigns"] if path.exists() else {}
        rows = known | rows
    write_results("reliability_runs", {"campaigns": rows}, quick=args.quick)


def make_images(folder, random, n=24):
    folder.mkdir()
    for i in range(n):
        pixels = random.integers(0, 60, (16, 16, 3), dtype=np.uint8)
        pixels[: 4 + 4 * (i % 3), :, i % 3] += 180
        Image.fromarray(pixels).save(folder / f"{i:02}.png")
    return folder


def handmade(source, scratch):
    bunch = load_images(source, 16, cache=None)
    encoder = ConvAutoencoder(4, filters=(4, 8), max_epochs=1)
    model = DeepConvEmbeddingClustering(3, encoder=encoder, max_epochs=1, n_init=2, random_state=0)
    model.fit(bunch.images)
    run = Run.from_model(model, bunch.images, bunch, title="first")
    return two_runs(run, model, None, scratch)


# A process that does what it is told, so that nothing is imported twice


def serve():
    import contextlib
    import io
    import traceback

    from skdcec._cli import main as command

    for line in sys.stdin:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            try:
                status = command(json.loads(line))
            except BaseException:
                status = "traceback"
                traceback.print_exc()
        print(json.dumps({"status": status, "printed": printed.getvalue()}), flush=True)


class Server:
    """Runs commands one after the other, in a process of its own."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )

    def ask(self, command):
        self.process.stdin.write(json.dumps([str(part) for part in command]) + "\n")
        self.process.stdin.flush()

    def answer(self):
        return json.loads(self.process.stdout.readline())

    def run(self, command):
        self.ask(command)
        return self.answer()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


# Campaigns: each returns its name, how often it tried, how often it was bad, and details


def meetings(source, folder, n):
    """Let two processes write one folder, one of two clusters and one of three."""
    folder.mkdir()
    out, cache = folder / "out", folder / "cache"
    servers = Server(), Server()
    train = ["--cache", cache, "--encoder", "autoencoder", *TINY]
    commands = [["cluster", source, "-k", k, "--out", out, *train] for k in (2, 3)]
    for server, command in zip(servers, commands, strict=True):
        server.run(command)
    mixed = untold = refused = 0
    for _ in range(n):
        for server, command in zip(servers, commands, strict=True):
            server.ask(command)
        answers = [server.answer() for server in servers]
        losers = [answer for answer in answers if answer["status"] != 0]
        refused += len(losers)
        told = r"written by another skdcec process \((\d+) on .*, since"
        untold += sum(not re.search(told, answer["printed"]) for answer in losers)
        winners = [k for k, a in zip((2, 3), answers, strict=True) if a["status"] == 0]
        mixed += not winners or clusters_in(out) not in winners or bool(hidden(out))
    for server in servers:
        server.close()
    details = {"mixed": mixed, "not told who was first": untold, "refused": refused}
    return "two runs on one OUT", n, mixed + untold, details


def clusters_in(out):
    """Return of how many clusters a folder is, or None where its files do not agree."""
    try:
        state, _, page = found_in(out)
    except (OSError, ValueError):
        return None
    numbers = {len({*labels}) for labels in state.values()}
    summary = len(read_table(out / "cluster_summary.csv")["cluster"])
    return summary if numbers == {summary} and "<html" in page else None


def faults(runs, folder):
    folder.mkdir()
    first, second = runs
    old, new = (first.state, first.names, "first"), (second.state, {}, "second")
    bad = []
    numbers = iter(range(10**9))

    def start():
        out = folder / str(next(numbers)) / "out"
        out.parent.mkdir()
        first.write(out)
        first.name_clusters(out)
        return out

    def check(out, raised, was_killed):
        try:
            is_good = found_in(out) in (old, new)
            second.write(out)
            if not is_good or found_in(out) != new or hidden(out):
                bad.append(repr(raised))
        except Exception as error:
            bad.append(f"{raised!r}: {error!r}")

    n = every_fault(Faults(), start, second.write, check)
    return "fault at every operation on files", n, len(bad), {"examples": bad[:5]}


def damaged_runs(runs, folder, n, random):
    """Damage the files of a run, read it, and write the next."""
    folder.mkdir()
    first, second = runs
    bad, refused = [], 0
    names = ["data.json", "data.npz", "names.json", "run.json", "model.safetensors"]
    for i in range(n):
        out, name = folder / str(i), names[i % len(names)]
        first.write(out)
        first.name_clusters(out)
        (out / name).write_bytes(mutated((out / name).read_bytes(), random))
        try:
            state, given, _ = found_in(out)
            if state != first.state or (given not in ({}, first.names) and name != "names.json"):
                bad.append(f"{name}: another result")
        except (ValueError, OSError) as error:
            refused += 1
            if "\n" in str(error):
                bad.append(f"{name}: {error}")
        except Exception as error:
            bad.append(f"{name}: {error!r}")
        try:
            second.write(out)
            if found_in(out)[0] != second.state:
                bad.append(f"{name}: the next run is not whole")
        except Exception as error:
            bad.append(f"{name}: the next run: {error!r}")
        shutil.rmtree(out)
    return (
        "damaged data, names, records, models",
        n,
        len(bad),
        {
            "refused": refused,
            "examples": bad[:5],
        },
    )


def damaged_caches(source, folder, n, random):
    """Damage a file of the cache, and give the same command again, twice."""
    folder.mkdir()
    server, out, cache = Server(), folder / "out", folder / "cache"
    command = ["cluster", source, "-k", 3, "--out", out, "--cache", cache]
    command += ["--encoder", "autoencoder", *TINY]
    server.run(command)
    expected = read_table(out / "clusters.csv")
    whole = folder / "whole"
    shutil.copytree(cache, whole)
    files = sorted(path.relative_to(cache) for path in cache.rglob("*") if path.stat().st_size)
    files = [path for path in files if (cache / path).is_file() and path.suffix != ".lock"]
    bad, counts = [], {}
    for i in range(n):
        path = files[i % len(files)]
        shutil.rmtree(cache)
        shutil.copytree(whole, cache)
        (cache / path).write_bytes(mutated((cache / path).read_bytes(), random))
        counts[str(path.parent)] = counts.get(str(path.parent), 0) + 1
        for which in ("first", "second"):
            answer = server.run(command)
            if answer["status"] != 0:
                bad.append(f"{path}, {which} run: {answer['printed'][-300:]}")
            elif read_table(out / "clusters.csv") != expected:
                bad.append(f"{path}, {which} run: other labels")
    server.close()
    return "damaged caches and plans", n, len(bad), {"of": counts, "examples": bad[:10]}


def kills(source, folder, n, random):
    """Kill commands at random moments, and give them again."""
    folder.mkdir()
    kinds = ["autoencoder", "contrastive", "paintings", "search"]
    bad, leftover, orphans, ended = [], 0, 0, 0
    known = {}
    for i in range(n):
        kind = kinds[i % len(kinds)]
        if kind not in known:
            start = time.monotonic()
            finish(command_of(kind, source, folder / kind))
            known[kind] = time.monotonic() - start, labels_of(folder / kind)
        seconds, expected = known[kind]
        place = folder / str(i)
        command = command_of(kind, source, place)
        process = subprocess.Popen(
            command,
            env=ENVIRONMENT,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            process.wait(random.uniform(0, seconds))
            ended += 1
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        alive = outliving(process.pid)
        orphans += bool(alive)
        for pid in alive:
            os.kill(pid, signal.SIGKILL)
        status, printed = finish(command)
        if status != 0 or labels_of(place) != expected:
            bad.append(f"{kind}: {printed[-300:] if status else 'other labels'}")
        left = [path for path in place.rglob("*") if is_left_over(path)]
        leftover += bool(left)
        if left:
            bad.append(f"{kind}: left {left[:3]}")
        shutil.rmtree(place)
        print(f"{i + 1} of {n}, {len(bad) + orphans} bad", file=sys.stderr, flush=True)
    return (
        "kill -9 at a random moment",
        # One that ended before was not killed.
        n - ended,
        len(bad) + orphans,
        {
            "other labels or an error": len(bad) - leftover,
            "something left over": leftover,
            "processes alive after 10 s": orphans,
            "ended before they were killed": ended,
            "examples": bad[:5],
        },
    )


def is_left_over(path):
    return path.name.startswith(".skdcec") or path.name.endswith(".partial")


def command_of(kind, source, place):
    place.mkdir(exist_ok=True)
    out, cache = place / "out", place / "cache"
    if kind == "search":
        return [sys.executable, "-c", SEARCH, str(source), str(out), str(cache)]
    arguments = ["--encoder", kind, "-k", "3", "--out", str(out), "--cache", str(cache), *TINY]
    return [sys.executable, "-m", "skdcec", "cluster", str(source), *arguments]


def finish(command):
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    return done.returncode, done.stderr


def labels_of(place):
    path = place / "out" / "clusters.csv"
    return path.read_bytes() if path.exists() else None


def outliving(session, seconds=10):
    """Return the processes of a session that are alive after a while (Linux only)."""
    end = time.monotonic() + seconds
    while alive := _of_session(session):
        if time.monotonic() > end:
            return alive
        time.sleep(0.2)
    return []


def _of_session(session):
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(status.parent.name))
    return found


if __name__ == "__main__":
    main()
