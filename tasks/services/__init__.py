"""What a stage does, as plain functions: no Prefect here, so each is tested as it is."""
