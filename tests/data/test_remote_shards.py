"""Corpora on a hub: only what is needed is fetched, once, whatever the network does. A local server replaces the hub."""

import json
import re
import signal

import pyarrow.parquet
import pytest

from lmlab import LabError
from lmlab.data.catalogue import CATALOGUE
from lmlab.data.catalogue_entry import CatalogueEntry, HubFolder
from lmlab.data.dataset import list_datasets
from lmlab.data.preparation import prepare, prepared
from lmlab.data.shards import encoding, http
from lmlab.data.shards.http import RemoteFile
from lmlab.data.sources import resolve
from lmlab.recipe import Data
from tests.data.hub_server import http_date, serving
from tests.data.shard_files import web_documents, write_fineweb, write_texts
from tests.data.support import Listener

ROWS = 20
SHARD = 200
NAMES = [f"sample/10BT/{number:03}_00000.parquet" for number in range(3)]


@pytest.fixture
def root(tmp_path):
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Waits of milliseconds, and a short patience."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(http, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(http, "LONGEST_WAIT_SECONDS", 0.02)
    monkeypatch.setattr(http, "PATIENCE_SECONDS", 2.0)
    monkeypatch.setattr(http, "TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(http, "SAID_WAIT_SECONDS", 0.5)
    monkeypatch.setattr(http, "_answered", set())
    monkeypatch.setattr("lmlab.data.shards.footer.TAIL_BYTES", 500)  # less than a small file's footer


@pytest.fixture
def hub(tmp_path, monkeypatch):
    folder = tmp_path / "repository"
    for number, name in enumerate(NAMES):
        write_fineweb(folder / name, web_documents(SHARD, number), ROWS)
    (folder / "sample" / "10BT" / "README.md").write_text("not a shard")
    (folder / "sample" / "10BT" / "more").mkdir()
    with serving(folder) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server


@pytest.fixture
def corpus(hub, monkeypatch):
    entry = CatalogueEntry(
        name="web",
        about="",
        licence="x",
        home="https://x",
        hub=HubFolder(repository="somebody/web", revision="a" * 40, folder="sample/10BT"),
        documents="records",
    )
    monkeypatch.setitem(CATALOGUE, "web", entry)
    return "web"


def data_of(tokens=None, **settings):
    return Data(corpus="web", tokens=tokens, **{"tokenizer": "bytes", "valid_documents": 30, **settings})


def chunks(folder, name):
    """Range of the text column's chunk of each row group."""
    metadata = pyarrow.parquet.read_metadata(folder / name)
    found = []
    for group in range(metadata.num_row_groups):
        column = metadata.row_group(group).column(0)
        assert column.path_in_schema == "text"
        begin = min(place for place in (column.dictionary_page_offset, column.data_page_offset) if place)
        found.append((begin, begin + column.total_compressed_size))
    return found


def ranges(hub, name):
    """The ranges that were asked of a file, as [begin, end)."""
    asked = [re.fullmatch(r"bytes=(\d+)-(\d+)", text) for path, text in hub.asked if path == name]
    return [(int(found[1]), int(found[2]) + 1) for found in asked]


def read_documents(dataset, split):
    tokens, starts = dataset.tokens(split), dataset.document_starts(split)
    return [dataset.tokenizer.decode(tokens[begin:end]) for begin, end in zip(starts, starts[1:], strict=False)]


class TestWhatIsFetched:
    def test_all_of_it_is_the_text_columns_and_the_footers_each_once(self, hub, corpus, root):
        dataset = prepare(data_of(), root)
        texts = [text for number in range(3) for text in web_documents(SHARD, number)]
        assert read_documents(dataset, "valid") + read_documents(dataset, "train") == texts
        for name in NAMES:
            size = (hub.folder / name).stat().st_size
            asked = ranges(hub, name)
            assert asked[0] == (size - 500, size) and asked[1][1] == size - 500  # the end, and the rest of the footer
            assert asked[2:] == chunks(hub.folder, name) or sorted(asked[2:]) == chunks(hub.folder, name)
        assert dataset.facts["shards"]["measured"]["fetched_bytes"] == hub.sent

    def test_a_budget_takes_its_row_groups_and_hardly_more(self, hub, corpus, root):
        dataset = prepare(data_of(12_000), root)
        documents = sum(dataset.whole.facts["splits"][split]["documents"] for split in dataset.splits)
        needed = -(-documents // ROWS)
        fetched = len(ranges(hub, NAMES[0])) - 2  # without the footer
        assert needed <= fetched <= needed + 1
        assert {name for name, _ in hub.asked} == {NAMES[0]}
        sizes = [end - begin for begin, end in chunks(hub.folder, NAMES[0])]
        footer = hub.folder / NAMES[0]
        assert hub.sent == sum(sizes[:fetched]) + footer.stat().st_size - ranges(hub, NAMES[0])[1][0]

    def test_nothing_is_fetched_twice_by_larger_budgets(self, hub, corpus, root):
        apart = {tokens: prepare(data_of(tokens), root.with_name(f"{tokens}")) for tokens in (6_000, 12_000, 60_000)}
        hub.asked.clear()
        for tokens, expected in apart.items():
            assert prepare(data_of(tokens), root).id == expected.id
        seen = [found for found in ranges(hub, NAMES[0]) if found in chunks(hub.folder, NAMES[0])]
        # A row group in which one budget ended is fetched again by the next, and its tail may have been fetched ahead.
        assert len(seen) <= len(set(seen)) + 2 * 2
        hub.asked.clear()
        assert prepare(data_of(6_000), root).id == apart[6_000].id
        assert hub.asked == []

    def test_validation_is_the_same_for_every_budget(self, hub, corpus, root):
        found = [prepare(data_of(tokens), root.with_name(f"{tokens}")) for tokens in (6_000, 12_000, 60_000)]
        assert len({dataset.tokens("valid").tobytes() for dataset in found}) == 1
        assert read_documents(found[0], "valid") == web_documents(SHARD, 0)[:30]
        for dataset in found:
            assert (
                dataset.tokens("train").tobytes() == found[2].tokens("train")[: len(dataset.tokens("train"))].tobytes()
            )

    def test_a_kill_costs_what_was_not_journaled_yet(self, hub, corpus, root, monkeypatch):
        monkeypatch.setattr(encoding, "SHARD_CHARACTERS", 20_000)
        monkeypatch.setattr(encoding, "BATCH_CHARACTERS", 2_000)
        expected = prepare(data_of(60_000), root.with_name("undisturbed"))
        hub.asked.clear()
        real, saves = encoding.write_journal, []

        def write(*arguments):
            real(*arguments)
            saves.append(1)
            if len(saves) == 2:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(encoding, "write_journal", write)
            with pytest.raises(KeyboardInterrupt):
                prepare(data_of(60_000), root)
        before = set(ranges(hub, NAMES[0]))
        hub.asked.clear()
        assert prepare(data_of(60_000), root).id == expected.id
        again = [found for found in ranges(hub, NAMES[0]) if found in before and found in chunks(hub.folder, NAMES[0])]
        assert len(before) > 5 and len(again) <= 1 + 4  # the one it ended in, and those that were fetched ahead

    def test_a_hub_is_asked_once_where_a_file_is_and_again_when_that_address_expires(self, hub, corpus, root):
        prepare(data_of(12_000), root)
        assert hub.redirected == 1 < len(hub.asked)
        hub.lifetime = 3
        prepare(data_of(12_000), root.with_name("other"))
        assert 2 <= hub.redirected - 1 <= 1 + len(hub.asked)

    def test_the_bpe_reads_the_beginning_alone(self, hub, corpus, root, monkeypatch):
        monkeypatch.setattr("lmlab.data.shards.tokenizing.TOKENIZER_CHARACTERS", 5_000)
        dataset = prepare(data_of(5_000, tokenizer="bpe", vocabulary=300), root)
        larger = prepare(data_of(9_000, tokenizer="bpe", vocabulary=300), root)
        assert dataset.tokenizer.to_json() == larger.tokenizer.to_json()
        assert {name for name, _ in hub.asked} == {NAMES[0]}

    def test_a_chunk_too_large_for_memory_is_read_through_a_buffer(self, hub, corpus, root, monkeypatch):
        expected = prepare(data_of(12_000), root.with_name("whole"))
        monkeypatch.setattr("lmlab.data.shards.remote.LARGEST_CHUNK", 100)
        monkeypatch.setattr("lmlab.data.shards.rows.LARGEST_CHUNK", 100)
        monkeypatch.setattr("lmlab.data.shards.rows.BUFFER_BYTES", 500)
        assert prepare(data_of(12_000), root).id == expected.id

    def test_published_parts_and_articles_across_row_groups_and_files(self, hub, root, monkeypatch):
        """WikiText-103's layout: a line a row, articles that go on in the next row group and file."""
        folder = hub.folder / "wiki"
        lines = {part: article_lines(part, count) for part, count in (("train", 40), ("validation", 5), ("test", 5))}
        write_texts(folder / "train-00000-of-00002.parquet", lines["train"][:133], rows=10)
        write_texts(folder / "train-00001-of-00002.parquet", lines["train"][133:], rows=10)
        for part in ("validation", "test"):
            write_texts(folder / f"{part}-00000-of-00001.parquet", lines[part], rows=10)
        hub_folder = HubFolder(repository="somebody/wiki", revision="b" * 40, folder="wiki")
        entry = CatalogueEntry(
            name="wiki",
            about="",
            licence="x",
            home="https://x",
            hub=hub_folder,
            documents="articles",
            published="parts",
        )
        monkeypatch.setitem(CATALOGUE, "wiki", entry)
        dataset = prepare(Data(corpus="wiki", tokenizer="bytes"), root)
        assert {name: entry["documents"] for name, entry in dataset.facts["splits"].items()} == {
            "train": 40, "valid": 5, "test": 5,
        }  # fmt: skip
        for number, text in enumerate(read_documents(dataset, "train")):
            assert text.startswith(f" = Title of train {number} = \n")
        some = prepare(Data(corpus="wiki", tokenizer="bytes", tokens=1_000), root.with_name("some"))
        more = prepare(Data(corpus="wiki", tokenizer="bytes", tokens=2_000), root.with_name("some"))
        assert (
            more.tokens("train")[:1_000].tolist()
            == some.tokens("train").tolist()
            == dataset.tokens("train")[:1_000].tolist()
        )
        assert dataset.facts["corpus"]["documents_rule"] == "articles"


def article_lines(part, count):
    lines = []
    for number in range(count):
        lines += [
            "",
            f" = Title of {part} {number} = \n",
            "",
            f" A paragraph of {part} {number} . \n",
            "",
            " = = Part = = \n",
            "",
        ]
        lines += [" Words . \n"] * (number % 3)
    return lines


class TestListing:
    def test_is_fetched_once_and_kept(self, hub, corpus, root):
        hub.page = 2  # five entries on three pages
        prepare(data_of(5_000), root)
        assert hub.listed == 3
        value = json.loads((root / "corpora" / "web" / "listing.json").read_text())
        assert [entry["path"] for entry in value["files"]] == NAMES
        assert value["revision"] == "a" * 40
        assert all(re.fullmatch("[0-9a-f]{64}", entry["sha256"]) for entry in value["files"])
        prepare(data_of(9_000), root)
        assert hub.listed == 3

    def test_hashes_that_the_hub_states_are_in_the_manifest(self, hub, corpus, root):
        import hashlib

        dataset = prepare(data_of(5_000), root).whole
        stated = hashlib.sha256((hub.folder / NAMES[0]).read_bytes()).hexdigest()
        assert dataset.facts["corpus"]["sources"] == [{"name": NAMES[0], "sha256": stated}]
        assert dataset.facts["shards"]["hub"]["revision"] == "a" * 40

    def test_looking_without_fetching_never_touches_the_network(self, hub, corpus, root):
        with pytest.raises(LabError, match="web was never read on this machine: lmlab data prepare web"):
            resolve(Data(corpus="web"), root, fetch=False)
        prepare(data_of(5_000), root)
        hub.asked.clear()
        assert prepared(data_of(5_000), root) is not None
        assert prepared(data_of(50_000), root) is None
        assert hub.asked == [] and hub.listed == 1

    @pytest.mark.parametrize(
        "content", [b"not json", b"{}", b'[{"type": "file", "path": "../x.parquet", "size": 1}]', b"[]"]
    )
    def test_an_answer_that_is_no_list_is_refused_in_one_line(self, hub, corpus, root, monkeypatch, content):
        def answer(handler, path):
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(content)))
            handler.end_headers()
            handler.wfile.write(content)

        monkeypatch.setattr("tests.data.hub_server.Handler._list", answer)
        with pytest.raises(LabError) as caught:
            prepare(data_of(5_000), root)
        assert "\n" not in str(caught.value)

    def test_other_splits_are_refused(self, hub, corpus, root):
        with pytest.raises(LabError, match="data.split can't be hash, since web is .*: expected auto or first"):
            prepare(data_of(5_000, split="hash"), root)


class TestFailures:
    @pytest.mark.parametrize(
        "failures",
        [
            [{"most": 100}, {"most": 1}],
            [{"status": 500}, {"status": 502}],
            [{"status": 429, "retry_after": "0"}, {"status": 503}, {"status": 429}],
            [{"delay": 0.5}],
            [{"most": 0}],
        ],
        ids=["dropped connections", "server errors", "asked to wait", "a slow answer", "no byte"],
    )
    @pytest.mark.parametrize("place", [0, 3])
    def test_what_passes_is_waited_for_and_the_text_is_the_same(self, hub, corpus, root, failures, place):
        hub.failures.extend([{}] * place + failures)
        dataset = prepare(data_of(6_000), root)
        assert not hub.failures
        assert read_documents(dataset, "valid") == web_documents(SHARD, 0)[:30]

    def test_a_connection_that_breaks_goes_on_where_it_broke(self, hub):
        path = hub.folder / NAMES[0]
        remote = RemoteFile(address=f"{hub.endpoint}/storage/{NAMES[0]}", name="x", size=path.stat().st_size)
        hub.failures.extend([{"most": 100}, {"most": 50}])
        assert remote.read(10, 1000) == path.read_bytes()[10:1000]
        assert [text for _, text in hub.asked] == ["bytes=10-999", "bytes=110-999", "bytes=160-999"]
        assert remote.fetched_bytes == 990

    @pytest.mark.parametrize("asked", ["1", "date"])
    def test_retry_after_is_waited_for_and_said(self, hub, asked):
        listener = Listener()
        size = (hub.folder / NAMES[0]).stat().st_size
        remote = RemoteFile(
            address=f"{hub.endpoint}/storage/{NAMES[0]}", name="a.parquet", size=size, progress=listener
        )
        hub.failures.append({"status": 429, "retry_after": http_date(2) if asked == "date" else asked})
        assert len(remote.read(0, 10)) == 10
        assert re.fullmatch(r"a.parquet: HTTP 429 Too Many Requests; trying again in [12] s", listener.lines[0])

    def test_waits_are_said_while_a_text_is_looked_at_too(self, hub, corpus, root):
        from lmlab.data.survey import survey

        listener = Listener()
        hub.failures.append({"status": 429, "retry_after": "1"})
        survey(resolve(Data(corpus="web"), root), "text", listener, most_characters=3_000)
        assert "HTTP 429 Too Many Requests; trying again in 1 s" in listener.lines[0]

    @pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer's signal")
    @pytest.mark.parametrize("reader", ["survey", "prepare"])
    def test_a_wait_can_be_interrupted(self, hub, corpus, root, reader):
        """As by Ctrl-C: nothing is asked for any more."""
        from lmlab.data.progress import Silent
        from lmlab.data.survey import survey

        source = resolve(Data(corpus="web"), root)
        hub.failures.extend([{}, {}, {"status": 429, "retry_after": "1"}, {"status": 429, "retry_after": "1"}])
        before = signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        try:
            with pytest.raises(KeyboardInterrupt):
                survey(source, "text", Silent()) if reader == "survey" else prepare(data_of(6_000), root)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert 3 <= len(hub.asked) == len(set(hub.asked))

    def test_a_wait_beyond_patience_ends_with_what_to_do(self, hub, corpus, root):
        hub.failures.append({"status": 429, "retry_after": "3600"})
        with pytest.raises(LabError, match="HTTP 429 .*run the command again: it goes on from where it was"):
            prepare(data_of(6_000), root)

    def test_a_server_that_stays_broken(self, hub, corpus, root, monkeypatch):
        monkeypatch.setattr(http, "PATIENCE_SECONDS", 0.1)
        hub.failures.extend([{"status": 500}] * 1000)
        with pytest.raises(LabError, match="000_00000.parquet can't be fetched from 127.0.0.1.*HTTP 500"):
            prepare(data_of(6_000), root)

    @pytest.mark.parametrize(
        ("failure", "message"),
        [
            ({"status": 404}, r"000_00000.parquet is not at http://.* \(HTTP 404 Not Found\): it was moved"),
            ({"status": 403}, r"127.0.0.1:\d+ refuses sample/10BT/000_00000.parquet \(HTTP 403 Forbidden\)"),
            ({"status": 416}, "changed at its source"),
            ({"status": 400}, "HTTP 400"),
            ({"size": 12345678}, r"changed at its source while it was read \(it has 12,345,678 bytes, expected"),
        ],
    )
    def test_what_does_not_pass_is_said_at_once(self, hub, corpus, root, failure, message):
        hub.failures.append(failure)
        with pytest.raises(LabError, match=message) as caught:
            prepare(data_of(6_000), root)
        assert "\n" not in str(caught.value)
        assert len(hub.asked) == 1
        assert list_datasets(root) == []

    def test_a_server_without_ranges_says_what_to_do_and_sends_no_gigabytes(self, hub, corpus, root):
        hub.ranges = False
        with pytest.raises(LabError, match=r"sends no parts of files \(HTTP 200 .*--data.corpus FOLDER"):
            prepare(data_of(6_000), root)

    def test_a_file_that_changes_between_two_requests(self, hub, corpus, root):
        hub.failures.extend([{}, {"etag": "v2"}])
        with pytest.raises(LabError, match="changed at its source while it was read .its ETag was v1 and is v2"):
            prepare(data_of(6_000), root)

    def test_a_file_that_changed_since_a_smaller_budget(self, hub, corpus, root):
        prepare(data_of(6_000), root)
        size = (hub.folder / NAMES[0]).stat().st_size
        write_fineweb(hub.folder / NAMES[0], web_documents(SHARD, 0)[::-1], ROWS)
        content = (hub.folder / NAMES[0]).read_bytes()
        content = (
            content[:4] + bytes(max(0, size - len(content))) + content[4:]
        )  # a parquet file of the same size, or longer
        (hub.folder / NAMES[0]).write_bytes(content)
        with pytest.raises(LabError, match="changed"):
            prepare(data_of(60_000), root)

    def test_no_network_is_said_at_once(self, hub, corpus, root, monkeypatch):
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(LabError, match="can't be fetched from 127.0.0.1:9 .*refused.*: check the network"):
            prepare(data_of(6_000), root)

    def test_a_network_that_goes_away_is_waited_for(self, hub, corpus, root, monkeypatch):
        """A host that has answered may be back in a minute."""
        import urllib.error
        import urllib.request

        real, calls = urllib.request.urlopen, []

        def urlopen(*arguments, **options):
            calls.append(1)
            if 3 <= len(calls) <= 6:
                raise urllib.error.URLError(OSError("Network is unreachable"))
            return real(*arguments, **options)

        monkeypatch.setattr("urllib.request.urlopen", urlopen)
        assert len(prepare(data_of(6_000), root).tokens("train")) == 6_000


def test_a_survey_reads_the_first_row_groups_alone(hub, corpus, root):
    from lmlab.data.progress import Silent
    from lmlab.data.survey import survey

    found = survey(resolve(Data(corpus="web"), root), "text", Silent(), most_characters=3_000)
    assert not found.whole and found.documents >= 10
    asked = [found for found in ranges(hub, NAMES[0]) if found in chunks(hub.folder, NAMES[0])]
    assert asked == chunks(hub.folder, NAMES[0])[:1] and {name for name, _ in hub.asked} == {NAMES[0]}


@pytest.mark.parametrize("name", ["fineweb", "fineweb-edu-100bt", "openwebtext", "wikitext-103", "alpaca"])
def test_addresses_name_a_fixed_revision(name):
    from lmlab.data.shards.hub import address_of

    hub = CATALOGUE[name].hub
    assert address_of(hub, f"{hub.folder}/x.parquet") == (
        f"https://huggingface.co/datasets/{hub.repository}/resolve/{hub.revision}/{hub.folder}/x.parquet"
    )


def test_a_large_corpus_wants_a_budget(hub, corpus, root, monkeypatch):
    from lmlab.experiment.asked import data_asked

    monkeypatch.setenv("LMLAB_CACHE", str(root))
    monkeypatch.setattr("lmlab.experiment.asked.LARGEST_WITHOUT_BUDGET", 10_000)
    with pytest.raises(
        LabError, match=r"web has 0\.\d GB of files: choose how many training tokens to prepare with --data.tokens"
    ):
        data_asked("web", {}, lambda line: None)
    for tokens, expected in (("5k", 5_000), ("none", None)):
        assert data_asked("web", {"data.tokens": tokens}, lambda line: None).data.tokens == expected
