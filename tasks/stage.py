"""What every stage's task has in common."""

from typing import Any

from prefect.cache_policies import NO_CACHE

from tasks.services.store import UnavailableError

# Stages find what they already made in the store, by name; Prefect's own caching would have to hash tables' references
# and keep results a second time.
STAGE: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}


def store_is_unavailable(task: Any, task_run: Any, state: Any) -> bool:
    """Whether a task failed because the store did not answer: the one fault that waiting cures."""
    return isinstance(state.result(raise_on_failure=False), UnavailableError)


# For the first and the last stage, which do little but talk to the store.
RETRY_STORE: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": [2, 10, 30],
    "retry_condition_fn": store_is_unavailable,
}
