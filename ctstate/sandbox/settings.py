"""What can be set about a sandbox. The defaults are the real server's numbers where the API notes give them."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from ctstate.errors import UsageError

SETTINGS = "CTSTATE_SANDBOX_SETTINGS"
"""Environment variable by which a sandbox is given its settings."""


@dataclass(frozen=True)
class SandboxSettings:
    """How one sandbox behaves.

    Args:
        login: user name of the account that owns the project.
        password: its password.
        subject_limit: how many subjects it may upload (API notes, section 2). A value other than the one
            of the last start is applied; the same value leaves what was set at run time.
        token_lifetime: seconds until an access token expires.
        put_url_lifetime: seconds until a signed image URL expires.
        quota_cache: seconds for which `uploaded_subjects_count` is cached; 0 counts afresh each time.
        counter_delay: seconds until `set_member_subjects_count` is refreshed after a change.
        removal_delay: seconds until a deactivated subject nobody classified is removed for good.
        set_delete_interval: seconds between the deletions of a deleted set's subjects.
        link_seconds: what a links call on a set takes at least.
        link_seconds_per_subject: what each subject adds to that.
        name_check_gap: seconds between the check of a new set's name and its creation (no index backs it).
        discard_images: keep size and MD5 of an image, not its bytes.
    """

    login: str = "demo"
    password: str = "demo-password"
    subject_limit: int = 10000
    token_lifetime: float = 7200.0
    put_url_lifetime: float = 300.0
    quota_cache: float = 3600.0
    counter_delay: float = 60.0
    removal_delay: float = 5.0
    set_delete_interval: float = 1.0
    link_seconds: float = 0.05
    link_seconds_per_subject: float = 0.0001
    name_check_gap: float = 0.001
    discard_images: bool = False

    def to_json(self) -> str:
        """The settings as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "SandboxSettings":
        """Settings from a JSON object; keys left out keep their defaults.

        Raises:
            UsageError: not a JSON object, or a key that is no setting.
        """
        try:
            given: Any = json.loads(text)
        except ValueError as e:
            raise UsageError(f"sandbox settings are not JSON: {e}") from e
        if not isinstance(given, dict):
            raise UsageError("sandbox settings must be a JSON object")
        unknown = sorted(set(given) - {f.name for f in fields(cls)})
        if unknown:
            raise UsageError(f"unknown sandbox settings: {', '.join(unknown)}")
        return cls(**given)
