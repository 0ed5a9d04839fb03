"""The smallest benchmark task: which of two numbers follows, from lines such as {"from": 3, "to": 4, "not": 7}."""

from lmlab.evaluation.tasks import Malformed, Task, reader_of, same_prompt


def convert(record):
    """The item of a record; the right number comes second, so that a constant choice of the first gets nothing."""
    if not all(isinstance(record.get(name), int) for name in ("from", "to", "not")):
        raise Malformed("lacks a whole number: expected 'from', 'to' and 'not'")
    return same_prompt(f"after {record['from']} comes", [str(record["not"]), str(record["to"])], gold=1)


COUNTING = Task(
    name="counting",
    about="which number follows",
    source="tests/toys",
    files=("counting.jsonl",),
    read=reader_of(convert),
    styles=("completion", "normalised per byte"),
    positions_mean=False,
)
