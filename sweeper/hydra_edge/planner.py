"""Plans a study's points: what the rules say of them, and what the memory model makes of the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from sweeper.core.files import write_json
from sweeper.core.folder import StudyFolder, TrialFolder
from sweeper.core.foresight import Foresight
from sweeper.core.machine import Machine
from sweeper.core.memory.calibration import MemoryEstimate
from sweeper.core.plan import Plan, plan
from sweeper.core.prediction import prediction_of
from sweeper.core.settings import Settings
from sweeper.core.space import Point, as_overrides
from sweeper.core.spec import TrialSpec
from sweeper.core.trial import Trial
from sweeper.hydra_edge.compose import Composer
from sweeper.run.machine import quick_look
from sweeper.run.model_profile import model_profile


class Planner:
    """Plans points; once it has seen the machine, with what the memory model makes of them."""

    def __init__(self, composer: Composer) -> None:
        self._composer = composer
        self._machine = quick_look()
        self._foresight: Foresight | None = None

    def look_from(self, machine: Machine, known: Sequence[Trial]) -> None:
        """``known`` are trials that say something of this study's memory."""
        self._machine = machine
        self._foresight = Foresight(model_profile, machine)
        for trial in known:
            self._foresight.learn(trial)

    def plan(self, point: Point) -> Plan:
        planned = plan(self._composer.quick_settings(as_overrides(point)), self._machine)
        return planned if self._foresight is None else self._foresight.planned(planned)

    def likelihood(self, point: Point) -> float:
        """That a trial of the point can be run to its end."""
        planned = self.plan(point)
        if self._foresight is None:
            return 1.0 if isinstance(planned.ready, TrialSpec) else 0.0
        return self._foresight.likelihood(planned)

    def estimate(self, planned: Plan) -> MemoryEstimate | None:
        """Of a rank's peak; None where nothing is known."""
        return None if self._foresight is None else self._foresight.estimate(planned)

    def num_parameters(self, settings: Settings) -> int | None:
        """None where the model cannot be traced."""
        profile = model_profile(settings)
        return None if profile is None else profile.num_parameters

    def look_ahead(self, winner: Trial, folder: StudyFolder) -> None:
        """Writes what the winner would need at the longest sequence."""
        if self._foresight is not None:
            longest = self._foresight.longest_sequence(winner)
            write_json(folder.longest_sequence, asdict(longest))

    def write_prediction(self, planned: Plan, folder: TrialFolder) -> None:
        """Before the trial runs: after it the memory model knows better."""
        estimate = self.estimate(planned)
        if estimate is not None:
            write_json(folder.prediction, prediction_of(estimate).to_json())

    def learn(self, trial: Trial) -> None:
        if self._foresight is not None:
            self._foresight.learn(trial)
