"""User name and password: the files and variables that users have."""

from pathlib import Path

import pytest

from ctstate.errors import InputError, UsageError
from ctstate.zooniverse import Credentials, read_credentials


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without an account."""
    for name in ("PANOPTES_USERNAME", "PANOPTES_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    "text",
    [
        "[zooniverse]\nusername = maria\npassword = s%e#c;r=e t\n",
        "\ufeff[zooniverse]\r\nUserName: maria\r\nPassword: s%e#c;r=e t\r\n",
        "# mine\n[other]\npassword = x\n\n[zooniverse]\nusername=maria\npassword=s%e#c;r=e t\nmore = y\n",
    ],
)
def test_a_password_file(home: Path, text: str) -> None:
    (home / "p.ini").write_bytes(text.encode("utf-8"))
    expected = Credentials("maria", "s%e#c;r=e t")
    assert read_credentials(home / "p.ini") == expected
    assert read_credentials("~/p.ini") == expected


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"maria:secret",
        b"username = maria\npassword = x\n",
        b"[zooniverse]\nusername = maria\n",
        b"[zooniverse]\nusername = maria\npassword = \n",
        b"[Zooniverse]\nusername = maria\npassword = x\n",
        b"[zooniverse]\nusername = maria\nusername = eve\npassword = x\n",
        b"[zooniverse]\nusername = mar\xeda\npassword = x\n",
        b"\x00\x01",
    ],
)
def test_a_bad_password_file_is_named_and_its_contents_are_not(home: Path, text: bytes) -> None:
    (home / "p.ini").write_bytes(text)
    with pytest.raises(InputError, match=r"p\.ini") as caught:
        read_credentials(home / "p.ini")
    assert "maria" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["none.ini", ".", "~nobody_of_that_name/p.ini"])
def test_a_password_file_that_is_none(home: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(home)
    with pytest.raises(InputError):
        read_credentials(name)


def test_the_file_counts_more_than_the_environment_and_that_more_than_the_cli(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="--password-file"):
        read_credentials()
    (home / ".panoptes").mkdir()
    config = home / ".panoptes" / "config.yml"
    config.write_text("endpoint: https://www.zooniverse.org\nusername: from_cli\npassword: c\n")
    assert read_credentials().username == "from_cli"
    monkeypatch.setenv("PANOPTES_USERNAME", "from_environment")
    assert read_credentials().username == "from_cli"  # half an account is none
    monkeypatch.setenv("PANOPTES_PASSWORD", "e")
    assert read_credentials() == Credentials("from_environment", "e")
    (home / "p.ini").write_text("[zooniverse]\nusername = from_file\npassword = f\n")
    assert read_credentials(home / "p.ini").username == "from_file"


def test_a_password_that_a_person_wrote_into_the_cli_s_file_is_taken_as_it_stands(home: Path) -> None:
    (home / ".panoptes").mkdir()
    (home / ".panoptes" / "config.yml").write_text('username: maria\npassword: "back\\qslash"\n')
    assert read_credentials() == Credentials("maria", "back\\qslash")


PASSWORDS = [
    "plain", "it's", "'quoted'", '"twice"', "a: b", "# no remark", "ends'", "back\\slash", " spaces ", "Süß",
    "日本", "x\\xfc ü", "🦓", "%", "123", "null", "'", "yes",
]  # fmt: skip


@pytest.mark.parametrize("password", PASSWORDS)
def test_the_official_clis_file_as_its_library_writes_it(home: Path, password: str) -> None:
    import yaml  # what the official CLI writes it with

    (home / ".panoptes").mkdir()
    values = {"endpoint": "https://www.zooniverse.org", "username": "maria", "password": password}
    (home / ".panoptes" / "config.yml").write_text(yaml.dump(values, default_flow_style=False), encoding="utf-8")
    assert read_credentials() == Credentials("maria", password)


def test_a_password_is_never_shown() -> None:
    assert "secret" not in repr(Credentials("maria", "secret"))
