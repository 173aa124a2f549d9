"""Image data sets: read as one tensor, split by class, sampled as k-way tasks, and cut into batches."""

from learngene_hub.data.batches import Images
from learngene_hub.data.cache import cache_folder
from learngene_hub.data.counting import available_classes, count_images, is_at_hand, tell_left_out
from learngene_hub.data.glyphs import draw_glyphs, glyph_classes
from learngene_hub.data.image_set import ImageSet, Normalisation, measure_normalisation
from learngene_hub.data.loading import load_classes, typical_side
from learngene_hub.data.preview import contact_sheet, write_contact_sheet
from learngene_hub.data.source import GLYPHS, DataSource, source_of
from learngene_hub.data.splits import PRESETS, ClassSplit, Preset, preset_split, split_classes, title_of
from learngene_hub.data.tasks import Task, sample_task

__all__ = [
    "GLYPHS",
    "PRESETS",
    "ClassSplit",
    "DataSource",
    "ImageSet",
    "Images",
    "Normalisation",
    "Preset",
    "Task",
    "available_classes",
    "cache_folder",
    "contact_sheet",
    "count_images",
    "draw_glyphs",
    "glyph_classes",
    "is_at_hand",
    "load_classes",
    "measure_normalisation",
    "preset_split",
    "sample_task",
    "source_of",
    "split_classes",
    "tell_left_out",
    "title_of",
    "typical_side",
    "write_contact_sheet",
]
