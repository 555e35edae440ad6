"""Airflow finds Penstock's operators here."""
