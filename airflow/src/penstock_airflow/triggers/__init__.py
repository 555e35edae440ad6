"""Airflow finds Penstock's triggers here."""
