"""What makes the images that go up."""

import os

from ctstate.verbs.doctor.findings import OK, WARN, Facts, Result


def encoder(facts: Facts) -> Result:
    """Return which encoder makes the images."""
    from ctstate.images import encoder_name

    if os.environ.get("CTSTATE_IMAGES") == "pillow":
        return (
            WARN,
            "Pillow, as CTSTATE_IMAGES=pillow says",
            "unset it to use the fast encoder where it is installed",
        )
    name = encoder_name()
    if name == "pillow":
        return WARN, "Pillow (several times slower)", "run `pip install 'ctstate[fast]'` for the fast encoder"
    return OK, name.replace("+opencv", " and OpenCV"), ""
