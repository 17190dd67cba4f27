"""One Prefect task a stage; what a stage does lies in `tasks.services`."""
