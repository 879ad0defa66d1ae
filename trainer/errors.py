"""Owns what can go wrong in training.

TrainerError                 said in one line; the command ends with exit 1
 ├─ MissingEnvironment       Axolotl's environment or the converter is not there
 ├─ StageFailed              a stage's process ended badly
 ├─ ParityFailed             what llama.cpp reads is not what was trained
 ├─ ProjectUnreachable       the Supabase project cannot be reached, or refuses
 ├─ WrongRollout             there is no such feature or stage
 ├─ BrokenRows               a stage's file is missing or is not what the stage wrote
 ├─ WrongTeacher             there is no such teacher, or it may not be asked
 ├─ TeacherFailed            the teacher cannot be reached, or refuses to work
 ├─ OverBudget               it would cost more than the operator allows
 ├─ CannotJudge              there is nothing to judge by, or nobody to judge
 └─ UnderTheLine             a model is worse than the operator allows
"""


class TrainerError(Exception):
    """Something that the operator can act on; the text says what."""


class MissingEnvironment(TrainerError):
    """A tool that a stage runs is not installed."""


class StageFailed(TrainerError):
    """A stage's process ended with an error; the text names its log."""


class ParityFailed(TrainerError):
    """The exported model does not see the tokens that it was trained on."""


class ProjectUnreachable(TrainerError):
    """The Supabase project cannot be reached, or it refuses; the text says what was tried."""


class WrongRollout(TrainerError):
    """There is no such feature or stage; the text names those that there are."""


class BrokenRows(TrainerError):
    """A stage's file is missing, or a line of it is not a row; the text names the line."""


class WrongTeacher(TrainerError):
    """There is no such teacher, it has no price or key, or its days are over; the text says which."""


class TeacherFailed(TrainerError):
    """The teacher cannot be reached or refuses to work; what it answered so far is kept."""


class OverBudget(TrainerError):
    """Asking on would cost more than the operator allows, or nobody has agreed to the cost."""


class HistoryIncomplete(TrainerError):
    """The history that was read cannot be used, or is not what the database holds; the text says where."""


class CannotJudge(TrainerError):
    """There is nothing to judge by, or nobody to judge; the text says what is missing or wrong."""


class UnderTheLine(TrainerError):
    """A model's figures are under the operator's lines; the text names each and by how much."""
