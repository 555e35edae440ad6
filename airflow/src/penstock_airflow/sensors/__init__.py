"""Airflow finds Penstock's sensors here."""
