import signal

import pytest

from k3m.interruption import SIGNALS, Interruption


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_within_what_is_held_waits_for_its_end(number: signal.Signals) -> None:
    done: list[str] = []

    def step(interruption: Interruption) -> None:
        with interruption.held():
            signal.raise_signal(number)
            done.append("the whole step")
        done.append("never")

    with Interruption() as interruption, pytest.raises(KeyboardInterrupt):
        step(interruption)
    assert done == ["the whole step"]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_elsewhere_interrupts_at_once(number: signal.Signals) -> None:
    with Interruption() as interruption:
        with interruption.held():
            pass
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)


def test_the_handlers_before_come_back() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with Interruption():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_an_error_within_what_is_held_comes_out_as_it_is() -> None:
    with pytest.raises(ValueError, match="of the step"), Interruption() as interruption, interruption.held():
        raise ValueError("of the step")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_falls_into_a_destructor_interrupts_at_the_next_end() -> None:
    class Destroyed:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    with Interruption() as interruption:
        Destroyed()  # Python drops what a destructor raises
        with pytest.raises(KeyboardInterrupt), interruption.held():
            pass
