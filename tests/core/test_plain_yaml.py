"""Plain YAML, and what is said of other YAML."""

import pytest

from learngene_hub.core.plain_yaml import load_yaml


@pytest.mark.parametrize(
    ("text", "said"), [("a: {<<: {b: 1}}", r"a merge key \(<<\)"), ("a: !!binary L3RtcA==", "!!binary")]
)
def test_what_would_hide_a_text_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        load_yaml(text)


def test_a_fault_says_where_it_is_in_a_line():
    with pytest.raises(ValueError, match=r"^line 2, `a: !x 1`: could not determine a constructor"):
        load_yaml("b: 1\na: !x 1\n")
