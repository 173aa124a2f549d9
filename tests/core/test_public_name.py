"""What of a path may be published."""

import pytest

from learngene_hub.core.files import public_name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/home/alice/clinic/photos", "photos"),
        ("C:\\Users\\alice\\photos\\", "photos"),
        ("~/secret/photos", "photos"),
        ("you/your-gene@refs/pr/1", "you/your-gene@refs/pr/1"),
        ("hf-hub:you/your-gene", "hf-hub:you/your-gene"),
        ("gtl/vgg11-mini", "gtl/vgg11-mini"),
    ],
)
def test_only_names_on_the_hub_stay_whole(path, name):
    assert public_name(path) == name


def test_a_folder_that_is_there_has_only_its_own_name(tmp_path, monkeypatch):
    (tmp_path / "you/photos").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert public_name("you/photos") == "photos"
