"""How fast an upload is, as ratios of one run: (a) the way of the seed, (b) ctstate, (c) the floor.

One sandbox answers every API request after 80 ms and every image PUT after 40 ms. The season has 1 to 3 images
of 2048x1536 a capture.

(a) the stock client: compress, `Subject.save()` one capture after another, links per 100;
(b) `ctstate upload`, the whole command with its start and end;
(c) the longer of: encoding the same images on all cores and nothing else; a minimal client that sends the fewest
    possible requests over the same number of connections, with images encoded beforehand.

    python benchmarks/upload.py [--captures 1500] [--stock-captures 40]
"""

import argparse
import io
import json
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import urllib3
from PIL import Image

from ctstate.images import ImageOptions, encode_image, encoder_name
from ctstate.sandbox import SandboxProcess, SandboxSettings
from ctstate.verbs.demo import _picture

LATENCY = {"latency_ms": {"*": 80, "put image": 40}, "rules": []}
DIFFERENT = 24  # pictures; the season repeats them under names of its own


def make_season(folder: Path, captures: int) -> tuple[Path, list[list[Path]]]:
    rng = random.Random(5)
    pictures = []
    for number in range(DIFFERENT):
        path = folder / f"picture{number}.jpg"
        _picture(rng, (2048, 1536), str(number)).save(path, "JPEG", quality=90)
        pictures.append(path)
    rows, files = ["season,site,roll,capture,image,path"], []
    for number in range(1, captures + 1):
        paths = []
        for rank in range(1, rng.choice((1, 2, 3)) + 1):
            path = folder / "images" / "BENCH" / f"{number // 1000:03}" / f"I{number:06}_{rank}.JPG"
            path.parent.mkdir(parents=True, exist_ok=True)
            os.link(rng.choice(pictures), path)
            rows.append(f"BENCH,S1,1,{number},{rank},{path.relative_to(folder / 'images')}")
            paths.append(path)
        files.append(paths)
    captures_csv = folder / "captures.csv"
    captures_csv.write_text("\n".join(rows) + "\n")
    return captures_csv, files


# -- (a) ---------------------------------------------------------------------------------------------------------


def stock_compress(path: str) -> bytes:
    """As the old scripts compress: thumbnail to 1440, quality 50."""
    with Image.open(path) as picture:
        picture.thumbnail((1440, 1440), Image.Resampling.LANCZOS)
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=50)
    return out.getvalue()


def stock(z: SandboxProcess, files: list[list[Path]]) -> float:
    from panoptes_client import Panoptes, Project, Subject, SubjectSet

    Panoptes.connect(username=z.login, password=z.password, endpoint=z.url)
    began = time.perf_counter()
    project = Project.find(z.project_id)
    subject_set = SubjectSet()
    subject_set.links.project = project
    subject_set.display_name = f"stock {time.time_ns()}"
    subject_set.save()
    waiting = []
    with ProcessPoolExecutor(3) as pool:
        for number, paths in enumerate(files):
            subject = Subject()
            subject.links.project = project
            for data in pool.map(stock_compress, [str(path) for path in paths]):
                subject.add_location(io.BytesIO(data))
            subject.metadata["#capture_id"] = f"stock {number}"
            subject.save()
            waiting.append(subject)
            if len(waiting) == 100:
                subject_set.add(waiting)
                waiting = []
        if waiting:
            subject_set.add(waiting)
    return time.perf_counter() - began


# -- (b) ---------------------------------------------------------------------------------------------------------


def ctstate(
    z: SandboxProcess, folder: Path, captures_csv: Path, connections: int, processes: int
) -> tuple[float, float]:
    """Return the wall time and the API requests beyond one POST per subject."""
    environment = {
        **os.environ,
        "CTSTATE_LEDGER": str(folder / "bench.db"),
        "PANOPTES_ENDPOINT": z.url,
        "PANOPTES_USERNAME": z.login,
        "PANOPTES_PASSWORD": z.password,
    }

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "ctstate", *arguments]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    run(
        "manifest",
        str(captures_csv),
        "--images-root",
        str(folder / "images"),
        "--attribution",
        "a",
        "--license",
        "l",
    )
    z.reset_requests()
    began = time.perf_counter()
    run(
        "upload", "--project-id", str(z.project_id),
        "--connections", str(connections), "--n-processes", str(processes),
    )  # fmt: skip
    took = time.perf_counter() - began
    routes = z.requests()["routes"]
    posts = routes["create subject"]
    other = sum(count for name, count in routes.items() if name not in ("create subject", "put image"))
    retried = routes["put image"] - json.loads(run("sql", "--json", "SELECT count(*) AS n FROM v_images"))[0]["n"]
    return took, (other + retried) / posts


# -- (c) ---------------------------------------------------------------------------------------------------------


def encode_one(path: str) -> int:
    return len(encode_image(path, ImageOptions()).data)


def only_encode(files: list[list[Path]]) -> float:
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(encode_one, [str(files[0][0])] * 8))  # processes started, modules imported
        began = time.perf_counter()
        list(pool.map(encode_one, [str(path) for paths in files for path in paths], chunksize=4))
        return time.perf_counter() - began


def minimal_client(z: SandboxProcess, images: list[list[bytes]], connections: int) -> float:
    http = urllib3.PoolManager(maxsize=connections, block=False)
    accept = "application/vnd.api+json; version=1"
    form = f"grant_type=password&client_id={'ce310d45f951de68c4cc8ef46ca38cc0a008f607a2026680295757bfef99f43c'}"
    form += f"&login={z.login}&password={z.password}"
    began = time.perf_counter()
    reply = http.request(
        "POST", f"{z.url}/oauth/token", body=form,
        headers={"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"},
    )  # fmt: skip
    headers = {
        "Accept": accept,
        "Content-Type": "application/json",
        "Authorization": "Bearer " + json.loads(reply.data)["access_token"],
    }

    def post(path: str, body: Any) -> Any:
        answer = http.request("POST", f"{z.url}/api{path}", body=json.dumps(body), headers=headers)
        assert answer.status in (200, 201), answer.data
        return json.loads(answer.data)

    made = post(
        "/subject_sets",
        {"subject_sets": {"display_name": f"min {time.time_ns()}", "links": {"project": str(z.project_id)}}},
    )
    work: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for item in images:
        work.put(item)
    ids: list[str] = []

    def upload() -> None:
        while True:
            try:
                item = work.get_nowait()
            except queue.Empty:
                return
            body = {
                "locations": ["image/jpeg"] * len(item),
                "metadata": {},
                "links": {"project": str(z.project_id)},
            }
            subject = post("/subjects", {"subjects": body})["subjects"][0]
            for location, data in zip(subject["locations"], item, strict=False):
                put = http.request(
                    "PUT", location["image/jpeg"], body=data,
                    headers={"Content-Type": "image/jpeg", "x-ms-blob-type": "BlockBlob"},
                )  # fmt: skip
                assert put.status == 201
            ids.append(subject["id"])

    threads = [threading.Thread(target=upload) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    post(f"/subject_sets/{made['subject_sets'][0]['id']}/links/subjects", {"subjects": ids})
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captures", type=int, default=1500)
    parser.add_argument("--stock-captures", type=int, default=40)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-upload-"))
    try:
        captures_csv, files = make_season(folder, arguments.captures)
        count = sum(map(len, files))
        print(f"{len(files)} captures, {count} images of 2048x1536; {arguments.connections} connections, "
              f"{os.cpu_count()} cores, encoder {encoder_name()}")  # fmt: skip
        settings = SandboxSettings(subject_limit=10_000_000, discard_images=True)
        for round_number in range(arguments.rounds):
            with SandboxProcess(folder / f"sandbox{round_number}", settings) as z:
                z.set_faults(LATENCY)
                encoding = only_encode(files)
                cache: dict[str, bytes] = {}
                images = [
                    [cache.setdefault(os.stat(p).st_ino, encode_image(p, ImageOptions()).data)
                     if os.stat(p).st_ino not in cache else cache[os.stat(p).st_ino] for p in paths]
                    for paths in files
                ]  # fmt: skip
                network = minimal_client(z, images, arguments.connections)
                b, beyond = ctstate(z, folder, captures_csv, arguments.connections, arguments.processes)
                few = files[: arguments.stock_captures]
                a = stock(z, few) / len(few) * len(files)
            for suffix in ("", "-wal", "-shm"):
                Path(f"{folder}/bench.db{suffix}").unlink(missing_ok=True)
            c = max(encoding, network)
            print(f"(a) stock client       {len(files) / a:7.1f} subjects/s  (from {len(few)} captures)")
            print(f"(b) ctstate            {len(files) / b:7.1f} subjects/s")
            print(f"(c) floor: encoding    {len(files) / encoding:7.1f} subjects/s")
            print(f"    floor: requests    {len(files) / network:7.1f} subjects/s")
            print(f"(b) is {a / b:.1f} times as fast as (a), and takes {b / c:.2f} times the time of (c); "
                  f"{beyond:.3f} requests a subject beyond one POST and its PUTs")  # fmt: skip
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
