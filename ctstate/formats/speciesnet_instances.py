"""Writing the file that SpeciesNet takes, `--instances_json` (docs/formats-ml-and-exchange.md, section 3)."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, Any

from ctstate.errors import UsageError


@dataclass(frozen=True)
class Whereabouts:
    """What SpeciesNet may be told of where the images were taken; an empty field is left out.

    Attributes:
        country: ISO 3166-1 alpha-3, such as ZAF.
        admin1_region: such as a state of the USA, two letters.
        latitude, longitude: in degrees.

    Raises:
        UsageError: there is no such place.
    """

    country: str | None = None
    admin1_region: str | None = None
    latitude: float | None = None
    longitude: float | None = None

    def __post_init__(self) -> None:
        for name, value, most in (("latitude", self.latitude, 90), ("longitude", self.longitude, 180)):
            if value is not None and not -most <= value <= most:
                raise UsageError(f"the {name} must be between {-most} and {most} degrees, not {value}")

    def fields(self) -> dict[str, Any]:
        """Return the fields that are given."""
        return {key: value for key, value in vars(self).items() if value is not None}


def write_instances(stream: IO[str], paths: Iterable[str], whereabouts: Whereabouts) -> int:
    """Write the file; return how many images are in it.

    Args:
        stream: where to.
        paths: of the images, whole.
        whereabouts: the same for every image.
    """
    more = whereabouts.fields()
    count = 0
    stream.write('{"instances": [')
    for path in paths:
        entry = json.dumps({"filepath": path, **more}, ensure_ascii=False)
        stream.write(f"{',' if count else ''}\n{entry}")
        count += 1
    stream.write("\n]}\n")
    return count
