"""YAML of which one text is changed, and the rest stays as it was written."""

import os.path

import pytest
import yaml

from learngene_hub.core import plain_yaml
from learngene_hub.core.plain_yaml import load_yaml, with_changed_text


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


PLAIN = ["a: [1, x]", "{a: 2024-01-02, b: !!set {x, y}}", "- |\n  two\n  lines\n", "", 'a: "\\u00e4 \\U0001F600"']
STRANGE = [
    "a: &b [*b]",
    "a: 1\na: 2",
    "a: {<<: {b: 1}}",
    "a: !!binary eA==",
    "[" * 600,
    "a: 2024-99-99",
    "a: {b",
    "a: \x07",
]


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML without libyaml")
def test_the_parser_in_c_reads_and_refuses_what_the_one_in_python_does(monkeypatch):
    used, load = [], yaml.load

    def spy(text, loader):
        used.append(loader)
        return load(text, loader)

    def read(text):
        try:
            return load_yaml(text)
        except ValueError as error:
            return str(error)

    monkeypatch.setattr(yaml, "load", spy)
    in_c = [load_yaml(text) for text in PLAIN]
    assert set(used) == {plain_yaml._Fast}
    in_c += [read(text) for text in STRANGE]
    monkeypatch.setattr(yaml, "__with_libyaml__", False)
    assert in_c == [read(text) for text in (*PLAIN, *STRANGE)]
