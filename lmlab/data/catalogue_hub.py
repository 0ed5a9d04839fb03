"""The corpora of the catalogue that are folders of parquet files on the Hugging Face hub.

Revisions are those that public records of these corpora name together with the published counts of documents. No hash is listed
here: the hub states those of its files, and the ones at the first preparation are kept (`lmlab.data.shards.hub`).
"""

from __future__ import annotations

from lmlab.data.catalogue_entry import CatalogueEntry, HubFolder

FINEWEB = ("HuggingFaceFW/fineweb", "9bb295ddab0e05d785b879661af7260fed5140fc")
FINEWEB_EDU = ("HuggingFaceFW/fineweb-edu", "87f09149ef4734204d70ed1d046ddc9ca3f2b8f9")


def _sample(
    name: str,
    about: str,
    source: tuple[str, str],
    size: str,
    *,
    documents: int | None = None,
    gpt2_tokens: int | None = None,
    bytes: int | None = None,
) -> CatalogueEntry:
    """Return the entry of a sample of FineWeb or FineWeb-Edu."""
    repository, revision = source
    return CatalogueEntry(
        name=name,
        about=about,
        licence="ODC-By 1.0; the pages' own terms",
        home=f"https://huggingface.co/datasets/{repository}",
        hub=HubFolder(
            repository=repository,
            revision=revision,
            folder=f"sample/{size}",
            documents=documents,
            gpt2_tokens=gpt2_tokens,
            bytes=bytes,
        ),
        documents="records",
    )


HUB_ENTRIES = (
    _sample(
        "fineweb",
        "FineWeb, sample of 10 billion tokens: English web pages, filtered and deduplicated",
        FINEWEB,
        "10BT",
        documents=14_868_862,
        gpt2_tokens=10_336_315_397,
        bytes=30_639_384_917,
    ),
    _sample("fineweb-100bt", "FineWeb, sample of 100 billion tokens", FINEWEB, "100BT"),
    _sample("fineweb-350bt", "FineWeb, sample of 350 billion tokens", FINEWEB, "350BT"),
    _sample(
        "fineweb-edu",
        "FineWeb-Edu, sample of 10 billion tokens: the pages of FineWeb that a classifier calls educational",
        FINEWEB_EDU,
        "10BT",
        documents=9_672_101,
        bytes=28_518_193_415,
    ),
    _sample("fineweb-edu-100bt", "FineWeb-Edu, sample of 100 billion tokens", FINEWEB_EDU, "100BT"),
    _sample("fineweb-edu-350bt", "FineWeb-Edu, sample of 350 billion tokens", FINEWEB_EDU, "350BT"),
    CatalogueEntry(
        name="openwebtext",
        about="OpenWebText: pages that Reddit linked to, the open counterpart of GPT-2's training text",
        licence="CC0 1.0 for the collection; the pages' own terms",
        home="https://huggingface.co/datasets/Skylion007/openwebtext",
        hub=HubFolder(
            repository="Skylion007/openwebtext",
            revision="79d93d786212f7344586290adb811d4ae6a1762c",
            folder="plain_text",
            documents=8_013_769,
            # nanoGPT's counts, 9,035,582,198 and 4,434,897, without the end of each document
            gpt2_tokens=9_035_582_198 + 4_434_897 - 8_013_769,
        ),
        documents="records",
    ),
    CatalogueEntry(
        name="wikitext-103",
        about="WikiText-103, raw: 28,595 Wikipedia articles; a document is an article",
        licence="CC BY-SA 3.0",
        home="https://huggingface.co/datasets/Salesforce/wikitext",
        hub=HubFolder(
            repository="Salesforce/wikitext",
            revision="b08601e04326c79dfdd32d625aee71d232d685c3",
            folder="wikitext-103-raw-v1",
        ),
        documents="articles",
        published="parts",
    ),
    CatalogueEntry(
        name="alpaca",
        about="Stanford Alpaca: 52,002 instructions with answers by text-davinci-003, each as one text",
        licence="CC BY-NC 4.0: no commercial use",
        home="https://huggingface.co/datasets/tatsu-lab/alpaca",
        hub=HubFolder(
            repository="tatsu-lab/alpaca",
            revision="dce01c9b08f87459cf36a430d809084718273017",
            folder="data",
            documents=52_002,
        ),
        documents="records",
    ),
)
