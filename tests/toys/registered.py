"""Registers all toys when it is imported, as a module in LMLAB_EXTENSIONS does."""

from lmlab.data.tokenizers import add_tokenizer
from lmlab.evaluation.tasks import add_task
from lmlab.model.families import add_family
from lmlab.optim.kinds import add_optimizer
from lmlab.optim.schedule import add_schedule
from lmlab.training.engines import add_engine
from tests.toys.engine import Counting
from tests.toys.family import ToyFamily
from tests.toys.optimizer import SignKind
from tests.toys.schedule import Halves, halves
from tests.toys.task import COUNTING
from tests.toys.tokenizer import CODE_POINTS

add_family(ToyFamily())
add_optimizer(SignKind())
add_schedule(Halves, halves)
add_tokenizer(CODE_POINTS)
add_engine("toy", Counting)
add_task(COUNTING)
