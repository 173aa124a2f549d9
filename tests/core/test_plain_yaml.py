"""YAML of which one text is changed, and the rest stays as it was written."""

import os.path

import pytest

from learngene_hub.core.plain_yaml import load_yaml, with_changed_text, without_comments


@pytest.mark.parametrize(
    "text",
    [
        "data:\n  path: /home/me/a b/photos   # mine\n  flip: no\n",
        "data: {path: '/home/me/photos', flip: no}",
        'data: {"path": "/home/me/photo\\u0073"}',
        "data:\n  path: >-\n    /home/me/photos\n  flip: no\n",
        "data: {path: /home/me/2024-01-01}",
        "data: {path: /home/me/null}",
        "data: {path: /home/me/ä-ö}",
        'data: {path: "/home/me/\N{CAMERA} photos"}',
    ],
)
def test_only_the_text_at_the_keys_is_changed(text):
    changed = with_changed_text(text, ["data", "path"], os.path.basename)
    assert load_yaml(changed)["data"] == load_yaml(text)["data"] | {
        "path": os.path.basename(load_yaml(text)["data"]["path"])
    }
    assert changed.count("#") == text.count("#")


@pytest.mark.parametrize(
    "text", ["data: {path: photos}", "data: {path: null}", "data: [path]", "data:", "", "data: {path: 7}"]
)
def test_where_nothing_is_to_be_changed_the_yaml_stays(text):
    assert with_changed_text(text, ["data", "path"], os.path.basename) == text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("# of /home/me\n\nname: x  # key\n# end\nseed: 1\n", "name: x\nseed: 1\n"),
        ("a: |  # key\n  text  # of the text\n", "a: |\n  text  # of the text\n"),
        ("a: [1,  # key\r\n  '2 # two', b#c]\r\n", "a: [1,\r\n  '2 # two', b#c]\r\n"),
    ],
)
def test_comments_are_left_out_and_nothing_else(text, kept):
    assert without_comments(text) == kept
    assert load_yaml(kept) == load_yaml(text)


def test_a_text_stays_readable():
    assert with_changed_text("/home/me/ä ö", [], os.path.basename) == '"ä ö"'


@pytest.mark.parametrize(
    ("text", "said"), [("a: {<<: {b: 1}}", r"a merge key \(<<\)"), ("a: !!binary L3RtcA==", "!!binary")]
)
def test_what_would_hide_a_text_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        load_yaml(text)


def test_a_fault_says_where_it_is_in_a_line():
    with pytest.raises(ValueError, match=r"^line 2, `a: !x 1`: could not determine a constructor"):
        load_yaml("b: 1\na: !x 1\n")


def test_without_keys_the_whole_is_the_text():
    assert with_changed_text("'/home/me/my photos'", [], os.path.basename) == '"my photos"'
    assert with_changed_text("/home/me/photos", [], os.path.basename) == "photos"
