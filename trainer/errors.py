"""Owns what can go wrong in training.

TrainerError                 said in one line; the command ends with exit 1
 ├─ MissingEnvironment       Axolotl's environment or the converter is not there
 ├─ WrongPreset              there is no such preset, or it has no such recipe
 ├─ WrongSetting             a setting for Axolotl cannot be read, or Axolotl refuses it
 ├─ StageFailed              a stage's process ended badly
 │   ├─ OutOfMemory          the GPU's memory, or the machine's, was not enough
 │   ├─ LossDiverged         the loss is no number any more
 │   ├─ DiskFull             there is no room for what it writes
 │   ├─ Interrupted          somebody ended it; run it again and it goes on
 │   └─ BrokenCheckpoint     a checkpoint cannot be read, or is of another fine-tune
 ├─ ParityFailed             what llama.cpp reads is not what was trained
 ├─ ProjectUnreachable       the Supabase project cannot be reached, or refuses
 ├─ WrongRollout             there is no such feature or stage
 ├─ BrokenRows               a stage's file is missing or is not what the stage wrote
 ├─ WrongTeacher             there is no such teacher, or it may not be asked
 ├─ TeacherFailed            the teacher cannot be reached, or refuses to work
 ├─ OverBudget               it would cost more than the operator allows
 ├─ RunAtWork                another process runs the learning loop
 ├─ RunLost                  another process has taken this run over
 ├─ Refused                  a gate or the service's self-test said no: exit 3
 ├─ ArtifactBroken           the artifact store, or the service that reads it, cannot be used, or holds something else
 ├─ CannotJudge              there is nothing to judge by, or nobody to judge
 └─ UnderTheLine             a model is worse than the operator allows
"""


class TrainerError(Exception):
    """Something that the operator can act on; the text says what."""


class MissingEnvironment(TrainerError):
    """A tool that a stage runs is not installed."""


class StageFailed(TrainerError):
    """A stage's process ended with an error; the text names its log."""


class WrongPreset(TrainerError):
    """There is no such preset; the text names those that there are."""


class WrongSetting(TrainerError):
    """A setting for Axolotl cannot be read, or Axolotl's own schema refuses it; the text says which."""


class OutOfMemory(StageFailed):
    """The training took more memory than there is; the text says whose, and what to change."""


class LossDiverged(StageFailed):
    """The loss is not a number any more; the text says at which step."""


class DiskFull(StageFailed):
    """There is no room for what the stage writes; the text says where."""


class Interrupted(StageFailed):
    """The stage's process was ended from outside; run again, it goes on from its last checkpoint."""


class BrokenCheckpoint(StageFailed):
    """A checkpoint cannot be read, or is of another fine-tune; the text says what to remove."""


class ParityFailed(TrainerError):
    """The exported model does not see the tokens that it was trained on."""


class ProjectUnreachable(TrainerError):
    """The Supabase project cannot be reached, or it refuses; the text says what was tried, `code` is the database's own."""

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


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


class RunAtWork(TrainerError):
    """Another process runs the learning loop and lives; the text says who, and where it is."""


class RunLost(TrainerError):
    """This run is another process's now, or may be: nothing more may be written for it."""


class Refused(TrainerError):
    """A gate or the service's self-test said no to a model; one line for each, with by how much. The command ends with exit 3."""


class ArtifactBroken(TrainerError):
    """The artifact store or the service that reads it cannot be used, or what it holds is not what was put there; run again once it can."""


class CannotJudge(TrainerError):
    """There is nothing to judge by, or nobody to judge; the text says what is missing or wrong."""


class UnderTheLine(TrainerError):
    """A model's figures are under the operator's lines; the text names each and by how much."""
