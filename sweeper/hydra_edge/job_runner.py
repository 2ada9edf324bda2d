"""Runs a candidate as a Hydra job, which leaves its trial in the study's folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sweeper.core.files import write_json
from sweeper.core.folder import StudyFolder
from sweeper.core.machine import Machine
from sweeper.core.outcome import Infeasible, Unsupported
from sweeper.core.plan import Plan
from sweeper.core.space import Point, as_overrides
from sweeper.core.trial import Trial
from sweeper.hydra_edge.job import Throughput, record_refused
from sweeper.hydra_edge.planner import Planner
from sweeper.run.study_lock import check_owned
from sweeper.terminal import Terminal


class JobRunner:
    """The ``Runner`` of a study behind Hydra."""

    def __init__(
        self,
        launcher: Any,
        fixed: Sequence[str],
        machine: Machine,
        folder: StudyFolder,
        terminal: Terminal,
        planner: Planner,
    ) -> None:
        self._launcher = launcher
        self._planner = planner
        self._fixed = list(fixed)
        self._machine = machine
        self._folder = folder
        self._terminal = terminal
        self.trials: list[Trial] = []  # those that were run, for who has no other record of them

    def run(self, number: int, point: Point, planned: Plan) -> Trial:
        check_owned()
        overrides = as_overrides(point)
        folder = self._folder.trial(number)
        if isinstance(planned.ready, Infeasible | Unsupported):
            trial = record_refused(
                planned,
                machine=self._machine,
                number=number,
                point=point,
                overrides=(*self._fixed, *overrides),
                folder=folder,
            )
        else:
            write_json(
                folder.pending, {"schema_version": 1, "number": number, "point": dict(point)}
            )
            self._planner.write_prediction(planned, folder)
            self._terminal.expect(
                number,
                point,
                predicted=self._planner.estimate(planned),
                limit_bytes=planned.ready.memory_limit_bytes,
            )
            beaten = planned.ready.beaten_step_seconds
            racing = [] if beaten is None else [f"measure.beaten_seconds={beaten:.6g}"]
            (returned,) = self._launcher.launch(
                [[*self._fixed, *overrides, *racing]], initial_job_idx=number
            )
            throughput = returned.return_value
            assert isinstance(throughput, Throughput)
            trial = throughput.trial
        self.trials.append(trial)
        self._planner.learn(trial)
        self._terminal.finished(trial)
        return trial
