import pytest

from tests.docs.pages import (
    PROJECT,
    dead_links,
    long_lines,
    pages,
    unknown_commands,
    unknown_names,
)

NAMES = [str(page.relative_to(PROJECT)) for page in pages()]


def read(name):
    return (PROJECT / name).read_text(encoding="utf-8")


def test_all_pages_are_found():
    assert {
        *("README.md", "CHANGELOG.md", ".github/CONTRIBUTING.md"),
        *("symjax_frames/README.md", "experiments/README.md", "experiments/results/exactness.md"),
    } <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    assert not list(dead_links(read(name), (PROJECT / name).parent))


@pytest.mark.parametrize("name", NAMES)
def test_lines_of_prose_are_wrapped(name):
    assert not list(long_lines(read(name)))


@pytest.mark.parametrize("name", NAMES)
def test_commands_exist(name):
    assert not list(unknown_commands(read(name)))


# The changelog names what is no more.
@pytest.mark.parametrize("name", [name for name in NAMES if name != "CHANGELOG.md"])
def test_names_exist(name):
    assert not list(unknown_names(read(name)))


def test_readme_is_short():
    assert len(read("README.md").splitlines()) <= 150


def test_every_result_has_a_link_from_the_readme_of_the_application():
    for page in (PROJECT / "experiments" / "results").glob("*.md"):
        assert f"(results/{page.name})" in read("experiments/README.md")


PLANTED = f"""\
# A page, with a heading

[dead](no_such_page.md) and [alive](README.md), [dead](#no-such-heading) and
[alive](#a-page-with-a-heading), [dead](README.md#no-such-heading), [elsewhere](https://example.org).

{"a line of prose that is too long " * 4}

| {"a line of a table may be as long as it likes " * 3} |

```python
{"x = a line of code that is too long, which is for ruff to say [dead](in_code.md) " * 2}
from symjax_frames import no_such_name
from experiments.errors import UsageError
```

`python -m experiments no_such_command`, `python -m experiments train configs/no_such.yaml`,
`python -m experiments train configs/nbody.yaml`, `benchmark no_such_benchmark`, `make demo`,
`make no_such_target`, `sf.no_such_frame`, `sf.pca_frame(...)`, `symjax_frames.nn.MLP`,
`experiments.no_such_module.name`.
"""


def test_planted_mistakes_are_found():
    assert list(dead_links(PLANTED, PROJECT)) == [
        *("no_such_page.md", "#no-such-heading", "README.md#no-such-heading")
    ]
    assert [line[:15] for line in long_lines(PLANTED)] == ["a line of prose"]
    assert list(unknown_commands(PLANTED)) == [
        *("no_such_command", "no_such_benchmark", "no_such_target", "no_such.yaml")
    ]
    assert set(unknown_names(PLANTED)) == {
        *("symjax_frames.no_such_name", "symjax_frames.no_such_frame"),
        "experiments.no_such_module.name",
    }
