"""Airflow finds Penstock's links here."""
