"""What Airflow reads about the provider at start. Imports nothing, so that it costs nothing."""

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """The provider's description in the schema of Airflow's `provider.yaml`."""
    return {
        "package-name": "airflow-provider-penstock",
        "name": "Penstock",
        "description": "Run Penstock batch SQL jobs.",
        "integrations": [{"integration-name": "Penstock"}],
        "operators": [{"integration-name": "Penstock", "python-modules": ["penstock_airflow.operators.penstock"]}],
        "sensors": [{"integration-name": "Penstock", "python-modules": ["penstock_airflow.sensors.penstock"]}],
        "hooks": [{"integration-name": "Penstock", "python-modules": ["penstock_airflow.hooks.penstock"]}],
        "triggers": [{"integration-name": "Penstock", "python-modules": ["penstock_airflow.triggers.penstock"]}],
        "extra-links": [
            "penstock_airflow.links.penstock.PenstockJobLink",
            "penstock_airflow.links.penstock.PenstockHistoryLink",
        ],
        "connection-types": [
            {
                "connection-type": "penstock",
                "hook-class-name": "penstock_airflow.hooks.penstock.PenstockHook",
                "hook-name": "Penstock",
                "ui-field-behaviour": {
                    "hidden-fields": ["login", "password"],
                    "relabeling": {"host": "Coordinator host", "schema": "Scheme", "port": "REST port"},
                    "placeholders": {"host": "127.0.0.1", "port": "7070", "schema": "http"},
                },
                "conn-fields": {
                    "token": {
                        "label": "Token",
                        "description": "Sent as a bearer token; empty for a coordinator without tokens.",
                        "schema": {"type": ["string", "null"], "format": "password"},
                    },
                    "instance": {
                        "label": "Airflow instance",
                        "description": "Part of each job's idempotency key: tells two Airflows on one cluster apart.",
                        "schema": {"type": ["string", "null"], "default": "airflow"},
                    },
                    "verify": {
                        "label": "Verify TLS",
                        "description": "`true`, `false` or the path of a CA bundle.",
                        "schema": {"type": ["string", "null"], "default": "true"},
                    },
                },
            }
        ],
    }
