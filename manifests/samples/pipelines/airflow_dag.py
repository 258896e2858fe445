"""A DAG of Apache Airflow whose one task makes a job and waits for its end.

The worker needs the package `curation-operator` and the rights of rights.yaml. A retry of the task follows the job that
an earlier try has made.
"""

from datetime import datetime
from typing import Any

from airflow.sdk import dag, get_current_context, task

from curation.client import AlreadyExists, Client, JobSpec, ModuleReference


@task
def report(message: str) -> dict[str, Any] | None:
    """Raises JobFailed, with the reason and the message of the job, when it has failed."""
    run = str(get_current_context()["run_id"]).lower()
    name = "report-" + "".join(each if each.isalnum() and each.isascii() else "-" for each in run)
    name = name[:52].rstrip("-")
    spec = JobSpec(module_ref=ModuleReference(name="build-session-message"), input={"message": message})
    with Client() as client:
        try:
            client.create(name, spec)
        except AlreadyExists:
            pass  # by an earlier try of this task
        return client.wait(name, timeout=7200).status.output


@dag(schedule=None, start_date=datetime(2026, 1, 1), catchup=False)
def curation_report() -> None:
    """One task."""
    report("Summarise the new data set.")


curation_report()
