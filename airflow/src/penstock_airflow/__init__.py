"""Run Penstock jobs from Airflow.

Reading path: `operators.penstock` submits a job and waits, `triggers.penstock` waits while deferred, both through
`hooks.penstock`, which speaks the REST API with the types in `models`.
"""

__version__ = "0.1.0"
