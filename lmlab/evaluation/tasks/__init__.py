"""Benchmark tasks: questions with answers to choose from, scored by the probability that a model gives to each answer.

    files -> items -> tokens -> log-probabilities of the options -> outcomes by style -> accuracies, controls, contamination
    files    item     encoding  scoring                             styles               figures, controls, contamination

`add_task` registers a task of one's own (CONTRIBUTING has an example).
"""

from lmlab.evaluation.tasks.item import Item, Option, same_answer, same_prompt
from lmlab.evaluation.tasks.known import TASKS
from lmlab.evaluation.tasks.records import Malformed, index_in, reader_of, text_in, texts_in
from lmlab.evaluation.tasks.task import Published, Task, add_task

__all__ = [
    "TASKS",
    "Item",
    "Malformed",
    "Option",
    "Published",
    "Task",
    "add_task",
    "index_in",
    "reader_of",
    "same_answer",
    "same_prompt",
    "text_in",
    "texts_in",
]
