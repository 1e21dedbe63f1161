"""Signals: held back where half a thing would be kept, and all of them an end like Ctrl-C."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import pytest

from dinotrack.interrupts import ENDING, Interrupted, as_interrupts, held


@pytest.fixture(autouse=True)
def handlers_stay() -> Iterator[None]:
    """Whatever happens in a test, the handlers after it are those before it."""
    found = {number: signal.getsignal(number) for number in ENDING}
    # a shell that starts tests in the background has them ignore Ctrl-C
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    before = {number: signal.getsignal(number) for number in ENDING}
    yield
    after = {number: signal.getsignal(number) for number in ENDING}
    for number, handler in found.items():
        signal.signal(number, handler)
    assert after == before


def send(number: int) -> None:
    """To the thread that calls this, at once."""
    signal.raise_signal(number)


@pytest.mark.parametrize("number", ENDING)
def test_every_signal_interrupts(number: int) -> None:
    with pytest.raises(Interrupted) as ended, as_interrupts():
        send(number)
    assert ended.value.signal == number
    assert isinstance(ended.value, KeyboardInterrupt)


@pytest.mark.parametrize("number", ENDING)
def test_what_is_held_is_done_first(number: int) -> None:
    done = []

    def work() -> None:
        with held():
            send(number)
            send(number)
            done.append("the whole of it")
        done.append("what comes after")

    with pytest.raises(Interrupted) as ended, as_interrupts():
        work()
    assert ended.value.signal == number
    assert done == ["the whole of it"]


@pytest.mark.parametrize("within", [nullcontext, held], ids=["alone", "within another"])
def test_ctrl_c_waits_for_the_outer_end(within: Callable[[], AbstractContextManager[None]]) -> None:
    done = []

    def work() -> None:
        with held():
            with within():
                send(signal.SIGINT)
            done.append(1)
        done.append(2)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == [1]


def test_an_error_inside_is_not_lost() -> None:

    def work() -> None:
        with held():
            send(signal.SIGINT)
            raise ValueError("inside")

    with pytest.raises(KeyboardInterrupt) as ended:
        work()
    assert isinstance(ended.value.__context__, ValueError)
    with pytest.raises(ValueError, match="inside"), held():
        raise ValueError("inside")


def test_what_the_caller_does_with_signals_stays() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with as_interrupts(), held():
            send(signal.SIGTERM)
            send(signal.SIGINT)
            assert heard == []
        assert heard == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, ignored)


def test_another_thread_holds_nothing_and_breaks_nothing() -> None:
    failed: list[BaseException] = []

    def work() -> None:
        try:
            with as_interrupts(), held():
                pass
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert failed == []


def test_a_signal_that_ends_the_process_waits_as_well() -> None:
    """Python leaves SIGTERM to the system, which ends the process at once."""
    code = (
        "import os, signal\n"
        "from dinotrack.interrupts import held\n"
        "with held():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('whole', flush=True)\n"
        "print('after', flush=True)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout == "whole\n"
    assert run.returncode == -signal.SIGTERM


def test_a_storm_of_signals_leaves_the_handlers_as_they_were() -> None:
    """A signal may come at any moment of beginning and ending a hold."""
    armed: list[int] = []
    stop = threading.Event()

    def handle(number: int, frame: object) -> None:
        if armed:
            armed.clear()
            raise Interrupted(number)

    def storm() -> None:
        while not stop.is_set():
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, handle)
    thread = threading.Thread(target=storm)
    thread.start()
    counts = [0, 0]
    ended = 0
    while ended < 100:
        try:
            armed.append(1)
            with held():
                counts[0] += 1
                counts[1] += 1
            armed.clear()
        except Interrupted:
            ended += 1
    stop.set()
    thread.join()
    assert counts[0] == counts[1] > 0
    assert signal.getsignal(signal.SIGINT) is handle
    signal.signal(signal.SIGINT, before)
