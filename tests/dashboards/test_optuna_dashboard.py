import io
import json

import pytest

optuna_dashboard = pytest.importorskip(
    "optuna_dashboard", reason="needs the extra 'dashboards' (make test-dashboards)"
)

from sweeper.report.build import build_report  # noqa: E402
from tests.unit.test_notes import study_of  # noqa: E402


def asked(storage, path):
    """What the dashboard's own server answers."""
    started = []
    app = optuna_dashboard.wsgi(storage)
    request = {
        **{"REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": "", "SERVER_NAME": "x"},
        **{"SERVER_PORT": "80", "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO()},
        **{"wsgi.errors": io.StringIO(), "SERVER_PROTOCOL": "HTTP/1.1"},
    }
    body = b"".join(app(request, lambda status, headers, *_: started.append(status)))
    assert started[0].startswith("200"), (started, body)
    return json.loads(body)


@pytest.fixture(params=["journal", "database"])
def shown(request, tmp_path):
    """The study as its page gets it, opened by what docs/dashboards.md says to type."""
    database = f"sqlite:///{tmp_path}/study.db"
    folder, _ = study_of(tmp_path, storage=database if request.param == "database" else None)
    build_report(folder)
    typed = database if request.param == "database" else str(folder.journal)
    from optuna_dashboard._storage_url import get_storage

    storage = get_storage(typed)
    (summary,) = asked(storage, "/api/studies")["study_summaries"]
    return asked(storage, f"/api/studies/{summary['study_id']}")


def test_the_study_has_its_direction_its_metric_and_its_verdict(shown):
    assert (["maximize"], ["tokens/s"]) == (shown["directions"], shown["objective_names"])
    assert "only trial that was measured" in shown["note"]["body"]


def test_each_trial_has_its_note_attributes_constraint_steps_and_times(shown):
    trials = shown["trials"]
    assert ["Complete", "Pruned", "Fail", "Complete"] == [t["state"] for t in trials]
    assert "100 tokens/s" in trials[0]["note"]["body"]
    assert "stage 1 | is forbidden" in trials[1]["note"]["body"]
    assert [[0.5], []] == [trials[n]["constraints"] for n in (1, 2)]
    assert trials[0]["constraints"][0] < 0
    attributes = {a["key"]: a["value"] for a in trials[1]["user_attrs"]}
    assert ("infeasible", "stage 1 | is forbidden") == (attributes["outcome"], attributes["reason"])
    assert [0, 1, 2] == [step["step"] for step in trials[0]["intermediate_values"]]
    assert trials[0]["datetime_start"] < trials[0]["datetime_complete"]


def test_the_picture_is_there(shown):
    (plot,) = shown["plotly_graph_objects"]
    assert "throughput-memory" == plot["id"]
    assert (
        "Throughput against memory" == json.loads(plot["graph_object"])["layout"]["title"]["text"]
    )


def test_an_edit_in_the_dashboard_survives_the_next_report(tmp_path):
    folder, study = study_of(tmp_path)
    build_report(folder)
    optuna_dashboard.save_note(study, "what I think of it")
    build_report(folder)
    assert "what I think of it" == optuna_dashboard.get_note(study)
