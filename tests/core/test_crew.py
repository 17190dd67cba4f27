"""Parts of work are done at once, in threads that share torch's cores and leave the caller's alone."""

import threading

import pytest
import torch

from tvae_core.crew import MOST_THREADS, crew

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cores():
    """Four cores as far as torch knows, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def cores_of_a_new_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


def test_parts_are_done_at_once_and_come_back_in_their_order():
    meeting = threading.Barrier(2, timeout=20)  # broken where one part waits for the other to end

    def work(part):
        meeting.wait()
        return part * 10

    with crew(2, CPU) as threads:
        assert threads.do(work, [1, 2]) == [10, 20]
        assert threads.do(work, range(4, 6)) == [40, 50]


@pytest.mark.parametrize(
    ("parts", "threads", "share"), [(2, 2, 2), (3, 3, 1), (9, 4, 1), (1, 1, 4), (0, 1, 4)]
)
def test_threads_share_the_cores(parts, threads, share):
    with crew(parts, CPU) as found:
        assert found.threads == threads
        meeting = threading.Barrier(max(1, threads), timeout=20)
        assert (
            found.do(lambda _: meeting.wait() >= 0 and torch.get_num_threads(), range(threads))
            == [share] * threads
        )


def test_there_is_a_limit_to_the_threads():
    torch.set_num_threads(2 * MOST_THREADS)
    with crew(100, CPU) as threads:
        assert threads.threads == MOST_THREADS
        assert threads.do(lambda _: torch.get_num_threads(), range(MOST_THREADS)) == [2] * MOST_THREADS


def test_a_single_part_and_the_work_of_a_gpu_stay_with_the_caller():
    here = threading.get_ident()
    with crew(5, CPU) as threads:
        assert threads.do(lambda _: threading.get_ident(), [1]) == [here]
    with crew(5, torch.device("cuda")) as threads:
        assert threads.threads == 1
        assert threads.do(lambda _: threading.get_ident(), range(5)) == [here] * 5


def test_the_callers_cores_and_those_of_threads_to_come_stay():
    with crew(4, CPU) as threads:
        threads.do(lambda part: part, range(4))
        assert torch.get_num_threads() == 4
        assert cores_of_a_new_thread() == 4
    assert torch.get_num_threads() == 4
    assert cores_of_a_new_thread() == 4


def test_a_thread_that_comes_late_does_not_change_what_others_start_with():
    with crew(4, CPU) as threads:
        threads.do(lambda part: part, range(4))
        late = threading.Thread(target=torch.set_num_threads, args=(1,))
        late.start()
        late.join()
    assert cores_of_a_new_thread() == 4


def test_the_error_of_a_part_is_raised_and_cores_stay():
    def work(part):
        if part:
            raise ValueError(f"part {part}")

    with crew(4, CPU) as threads, pytest.raises(ValueError, match="part 1"):
        threads.do(work, range(4))
    assert torch.get_num_threads() == 4
    assert cores_of_a_new_thread() == 4
