"""Count what a source or folder holds without decoding: classes, images per class, files that are not images."""

from collections import Counter
from collections.abc import Collection
from pathlib import Path

from learngene_hub.core.files import is_hidden, visible_files
from learngene_hub.core.progress import LoggingReporter, Reporter
from learngene_hub.data.decode import image_suffixes
from learngene_hub.data.glyphs import glyph_classes
from learngene_hub.data.image_set import shorten
from learngene_hub.data.rows import role_of, tables_among
from learngene_hub.data.source import GLYPHS_PER_CLASS, DataSource, opened, place_of
from learngene_hub.recipe.sections import GLYPHS

_LOGS = LoggingReporter()


def available_classes(source: DataSource, *, reporter: Reporter = _LOGS) -> tuple[str, ...]:
    """Names of all classes of a source.

    Their order is the numbering of the source; text labels and numbers without names are sorted.

    Raises:
        DataError: the source cannot be read.
    """
    if source.preset == GLYPHS:
        return glyph_classes()
    names: dict[str, None] = {}
    with opened(source, reporter) as parts:
        for part in parts:
            named = part.class_names or sorted(
                {name for name in part.classes() if name is not None},
                key=lambda name: (len(name.lstrip("0")), name.lstrip("0"), name) if name.isdecimal() else (-1, name),
            )
            names |= dict.fromkeys(named)
    return tuple(names)


def count_images(source: DataSource) -> dict[str, int]:
    """Class -> number of images that `load_classes` would load, including those that cannot be decoded.

    Raises:
        DataError: the source cannot be read.
    """
    if source.preset == GLYPHS:
        return dict.fromkeys(glyph_classes(), source.images_per_class or GLYPHS_PER_CLASS)
    with opened(source, _LOGS) as parts:
        counts = Counter(name for part in parts for name in part.classes() if name is not None)
    cap = source.images_per_class
    return {name: count if cap is None else min(count, cap) for name, count in counts.items()}


def tell_left_out(source: DataSource, reporter: Reporter) -> None:
    """Warn about class folders without images, about `train/`, `test/` and the like, and about other files.

    Files are told apart by the endings of their names. Folders such as `train/` and `test/` are read as one set.

    Raises:
        DataError: the source is a path that does not exist.
    """
    folder = None if source.preset == GLYPHS else place_of(source)
    if not isinstance(folder, Path) or not folder.is_dir():
        return
    files = visible_files(folder)
    if tables_among(files):
        return
    suffixes = image_suffixes()
    inside = [file for file in files if file.parent != folder]
    others = [file for file in inside if file.suffix.lower() not in suffixes]
    if empty := class_folders(folder) - {file.relative_to(folder).parts[0] for file in set(inside) - set(others)}:
        reporter.warn(f"{folder}: no images in {shorten(sorted(empty))}; these folders are left out")
    deep = {file.relative_to(folder).parts[0] for file in inside if len(file.relative_to(folder).parts) > 2}
    if roles := sorted(filter(role_of, deep)):
        reporter.warn(f"{folder}: the folders {', '.join(roles)} are read as one set; to read only one, give its path")
    warn_of_others(folder, others, reporter)


def class_folders(root: Path) -> set[str]:
    """Names of the folders in `root` that are not hidden."""
    return {path.name for path in root.iterdir() if path.is_dir() and not is_hidden(path, root)}


def warn_of_others(folder: Path, others: Collection[Path], reporter: Reporter) -> None:
    """Warn about `others`, the files in or below `folder` whose names do not end like those of images."""
    if not others:
        return
    first, homes = min(others).relative_to(folder), len({file.parent for file in others})
    where, what = f" in {homes} folders" if homes > 1 else "", f"{first}, which is no image of a kind that can be read"
    if len(others) > 1:
        what = f"{len(others)} files{where} that are no images of a kind that can be read, such as {first}"
    reporter.warn(f"{folder}: left out {what}; save images as .png or .jpg")


def is_at_hand(source: DataSource) -> bool:
    """Whether the images are drawn or already on this machine, so that no request goes to the Hub.

    Raises:
        DataError: the source is a path that does not exist.
    """
    return source.preset == GLYPHS or isinstance(place_of(source), Path)
