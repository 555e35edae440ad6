"""Airflow finds Penstock's hooks here."""
