"""Two-look photo search: index a folder of photos, ask with a photo, get the photos that show the
same thing.

    import pipeline

    pipeline.index("photos", "gallery")
    with pipeline.open_gallery("gallery") as gallery:
        answer = gallery.search("query.jpg", k=5)

Names are loaded on first use: importing the package costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.base.errors import ArrayError as ArrayError
    from pipeline.base.errors import GalleryError as GalleryError
    from pipeline.base.errors import ImageError as ImageError
    from pipeline.base.errors import ModelError as ModelError
    from pipeline.base.errors import QueryError as QueryError
    from pipeline.base.errors import TwoLookError as TwoLookError
    from pipeline.base.errors import UsageError as UsageError
    from pipeline.base.options import SearchOptions as SearchOptions
    from pipeline.groups import groups as groups
    from pipeline.indexing import IndexReport as IndexReport
    from pipeline.indexing import forget as forget
    from pipeline.indexing import index as index
    from pipeline.indexing import index_features as index_features
    from pipeline.library import OpenGallery as OpenGallery
    from pipeline.library import open_gallery as open_gallery
    from pipeline.library import verify as verify
    from pipeline.pairs.find import Group as Group
    from pipeline.pairs.find import Groups as Groups
    from pipeline.search.answer import Answer as Answer
    from pipeline.search.answer import Evidence as Evidence
    from pipeline.search.answer import Result as Result
    from stages.gallery import Gallery as Gallery
    from stages.records import LocalFeatures as LocalFeatures
    from stages.records import PackedFeatures as PackedFeatures

__version__ = "0.2.0"

_HOMES = {  # name -> the module that defines it
    "Answer": "pipeline.search.answer",
    "ArrayError": "pipeline.base.errors",
    "Evidence": "pipeline.search.answer",
    "Gallery": "stages.gallery",
    "GalleryError": "pipeline.base.errors",
    "Group": "pipeline.pairs.find",
    "Groups": "pipeline.pairs.find",
    "ImageError": "pipeline.base.errors",
    "IndexReport": "pipeline.indexing",
    "LocalFeatures": "stages.records",
    "ModelError": "pipeline.base.errors",
    "OpenGallery": "pipeline.library",
    "PackedFeatures": "stages.records",
    "QueryError": "pipeline.base.errors",
    "Result": "pipeline.search.answer",
    "SearchOptions": "pipeline.base.options",
    "TwoLookError": "pipeline.base.errors",
    "UsageError": "pipeline.base.errors",
    "forget": "pipeline.indexing",
    "groups": "pipeline.groups",
    "index": "pipeline.index",
    "index_features": "pipeline.indexing",
    "open_gallery": "pipeline.library",
    "verify": "pipeline.library",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = importlib.import_module(_HOMES[name])
    # those modules are called as their functions are
    value = home if name in ("groups", "index") else getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
