"""The corpora that lmlab knows by name: the source, SHA-256, licence and published split of each.

Sizes and hashes are those that public copies of the original files agree on; a download is only used if it matches them. Larger
corpora, of which only a part is read, are in `lmlab.data.catalogue_hub`.
"""

from __future__ import annotations

from lmlab.data.catalogue_entry import CatalogueEntry, CatalogueFile
from lmlab.data.catalogue_hub import HUB_ENTRIES

MARKER = "<|endoftext|>"
"""The line that ends a document in many text corpora, TinyStories among them."""


_TINYSTORIES = (
    "https://huggingface.co/datasets/roneneldan/TinyStories/resolve/f54c09fd23315a6f9c86f9dc80f725de7d8f9c64/"
)

CATALOGUE = {
    entry.name: entry
    for entry in (
        CatalogueEntry(
            name="stdlib",
            about="the Python standard library's own source, as found on this machine; a document is a .py file",
            licence="PSF-2.0",
            home="https://docs.python.org/3/license.html",
            documents="file",
        ),
        CatalogueEntry(
            name="shakespeare",
            about="Tiny Shakespeare: 40,000 lines of plays, one document",
            licence="public domain (the repository: MIT)",
            home="https://github.com/karpathy/char-rnn",
            files=(
                CatalogueFile(
                    name="input.txt",
                    addresses=(
                        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
                        "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt",
                    ),
                    sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
                    bytes=1_115_394,
                    members=(("", ""),),
                ),
            ),
            published="tail",  # nanoGPT's: int(0.9 * 1,115,394) = 1,003,854 characters train, 111,540 validate
            published_share=0.1,
        ),
        CatalogueEntry(
            name="tinystories",
            about="TinyStories: 2.1 million short stories in a small child's words",
            licence="CDLA-Sharing-1.0",
            home="https://huggingface.co/datasets/roneneldan/TinyStories",
            files=(
                CatalogueFile(
                    name="TinyStories-train.txt",
                    addresses=(_TINYSTORIES + "TinyStories-train.txt",),
                    sha256="c5cf5e22ff13614e830afbe61a99fbcbe8bcb7dd72252b989fa1117a368d401f",
                    bytes=1_924_281_556,
                    members=(("", "train"),),
                ),
                CatalogueFile(
                    name="TinyStories-valid.txt",
                    addresses=(_TINYSTORIES + "TinyStories-valid.txt",),
                    sha256="94e431816c4cce81ff71e4408ff8d3bda9a42e8d2663986697c3954288cb38b4",
                    bytes=19_447_282,
                    members=(("", "valid"),),
                ),
            ),
            published="parts",
        ),
        CatalogueEntry(
            name="wikitext-2",
            about="WikiText-2, raw: 720 Wikipedia articles; a document is an article",
            licence="CC BY-SA 3.0",
            home="https://huggingface.co/datasets/Salesforce/wikitext",
            files=(
                CatalogueFile(
                    name="wikitext-2-raw-v1.zip",
                    addresses=(
                        # The original source, an S3 bucket of research.metamind.io, is gone.
                        "https://wikitext.smerity.com/wikitext-2-raw-v1.zip",
                        "https://huggingface.co/datasets/ggml-org/ci/resolve/927b3642933080f1b0e811e2f916e14c292992f9/wikitext-2-raw-v1.zip",
                    ),
                    sha256="ef7edb566e3e2b2d31b29c1fdb0c89a4cc683597484c3dc2517919c615435a11",
                    bytes=4_721_645,
                    members=(
                        ("wikitext-2-raw/wiki.train.raw", "train"),
                        ("wikitext-2-raw/wiki.valid.raw", "valid"),
                        ("wikitext-2-raw/wiki.test.raw", "test"),
                    ),
                ),
            ),
            documents="articles",
            published="parts",
        ),
        *HUB_ENTRIES,
    )
}
