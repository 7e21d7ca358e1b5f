"""A made-up season for the benchmarks: a captures CSV, its images, and files of predictions."""

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

NAMES_OF_A_FILE = 50_000  # a file has at most 65,000 names
CLASSES = ("blank", "zebra", "lion", "impala", "elephant", "giraffe", "human", "vehicle")
DETECTOR = {"1": "animal", "2": "person", "3": "vehicle"}
VARIANTS = 200  # of predictions: to roll a million dice takes longer than what is measured


class Files(NamedTuple):
    """Where the season is."""

    csv: Path
    images: Path
    megadetector: Path  # one entry an image
    empty: Path  # the old scripts' two, one entry a capture
    species: Path


def make(folder: Path, captures: int) -> Files:
    """Write a season with 1 to 3 images a capture; the images are hard links to a few files."""
    files = Files(*(folder / name for name in ("captures.csv", "images", "md.json", "empty.json", "species.json")))
    dice = random.Random(captures)
    detected_as = [json.dumps(_detected("@0", dice)) for _ in range(VARIANTS)]
    legacy_as = {
        (label, count): [json.dumps(_legacy(_PLACES[:count], label, dice)) for _ in range(VARIANTS)]
        for label in ("empty", "species")
        for count in (1, 2, 3)
    }
    rows = 0
    with (
        files.csv.open("w") as csv,
        files.megadetector.open("w") as detected,
        files.empty.open("w") as empty,
        files.species.open("w") as species,
    ):
        csv.write("season,site,roll,capture,image,path,timestamp,oldtime,sr,imname,invalid,timez,J\n")
        detected.write(json.dumps({"info": {"format_version": "1.3"}, "detection_categories": DETECTOR})[:-1])
        detected.write(', "images": [')
        for number, place in enumerate(_places(files.images, captures)):
            site, roll, capture = f"S{number // 4000:03}", 1 + (number % 4000 >= 2000), number % 4000 + 1
            paths = []
            for rank in range(1, 1 + (1, 1, 3)[number % 3]):
                if rows % NAMES_OF_A_FILE == 0:
                    source = folder / f"source{rows}"
                    source.write_bytes(b"x")
                name = f"SER_S1_{site}_R{roll}_IMAG{capture:04}_{rank}.JPG"
                paths.append(f"{place}/{name}")
                os.link(source, files.images / place / name)
                when = "2017:06:06 03:56:50"
                csv.write(
                    f"SER_S1,{site},{roll},{capture},{rank},{paths[-1]},{when},{when},{site}_R{roll},{name},0,,\n"
                )
                detected.write(f"{',' if rows else ''}\n{_of(dice.choice(detected_as), paths[-1:])}")
                rows += 1
            start = f"{',' if number else '{'}\n{json.dumps(f'SER_S1#{site}#{roll}#{capture}')}: "
            for out, label in ((empty, "empty"), (species, "species")):
                out.write(start + _of(dice.choice(legacy_as[label, len(paths)]), paths))
        detected.write("]}")
        empty.write("}")
        species.write("}")
    return files


def _places(images: Path, captures: int) -> Iterator[str]:
    """Yield the folder of each capture, made."""
    last = ""
    for number in range(captures):
        site, roll = f"S{number // 4000:03}", 1 + (number % 4000 >= 2000)
        place = f"SER_S1/{site}/{site}_R{roll}"
        if place != last:
            (images / place).mkdir(parents=True)
            last = place
        yield place


_PLACES = ["@0", "@1", "@2"]


def _of(text: str, paths: list[str]) -> str:
    """Put the images' paths into a text of predictions."""
    for place, path in zip(_PLACES, paths, strict=False):
        text = text.replace(place, path)
    return text


def _detected(path: str, dice: random.Random) -> dict[str, object]:
    boxes = [
        {
            "category": str(dice.randint(1, 3)),
            "conf": round(dice.random(), 3),
            "bbox": [round(dice.uniform(0.01, most), 4) for most in (0.6, 0.6, 0.4, 0.4)],
        }
        for _ in range(dice.choice((0, 1, 1, 2)))
    ]
    return {"file": path, "detections": boxes}


def _legacy(paths: list[str], label: str, dice: random.Random) -> dict[str, object]:
    def scores(names: tuple[str, ...]) -> dict[str, str]:
        return {name: f"{dice.random():.4f}" for name in names}

    labels = {label: CLASSES} if label == "species" else {label: ("empty", "not_empty")}
    if label == "species":
        labels |= {"standing": ("0", "1"), "moving": ("0", "1")}
    aggregated = {name: scores(classes) for name, classes in labels.items()}
    top = {name: max(found, key=found.__getitem__) for name, found in aggregated.items()}
    return {
        "images": [{"path": path, "predictions": {n: scores(c) for n, c in labels.items()}} for path in paths],
        "aggregated_pred": aggregated,
        "predictions_top": top,
        "confidences_top": {name: aggregated[name][best] for name, best in top.items()},
    }
