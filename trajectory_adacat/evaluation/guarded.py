"""An environment in a process of its own, which is ended when an answer takes too long."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import gymnasium
import numpy as np

from trajectory_adacat.environments import describe_error, time_limit
from trajectory_adacat.errors import InputError
from trajectory_adacat.signals import sigint_ignored

CLOSING_SECONDS = 5.0
MAKING_SECONDS = 60.0  # that a process has to start, to import modules and to make its environment


class FaultError(Exception):
    """What is wrong with an environment's answer."""


class GuardedEnvironment(gymnasium.Env[Any, Any]):
    """Pass calls to an environment in another process.

    A process can be ended where a thread cannot: simulators hang in C.

    Args:
        make: makes the environment; can be pickled.
        seconds: longest time of a reset or step. Making the environment may take `MAKING_SECONDS` if that is longer.

    Attributes:
        limit: after how many steps Gymnasium truncates an episode; None if it never does.

    Raises:
        InputError: from ``make``, or if the process dies or takes too long before the environment is made.
    """

    def __init__(self, make: Callable[[], gymnasium.Env], seconds: float) -> None:
        context = multiprocessing.get_context("spawn")
        self._seconds, (self._connection, theirs) = seconds, context.Pipe()
        self._waiting = False  # for an answer
        self._process = context.Process(target=_serve, args=(make, theirs), daemon=True)
        with sigint_ignored():  # the planning process ends this one
            self._process.start()
        theirs.close()
        try:
            self._await(max(seconds, MAKING_SECONDS))
            self.observation_space, self.action_space, self.limit = self._receive()
        except BaseException as error:
            self.close()
            if isinstance(error, FaultError):
                raise InputError(f"The environment could not be made: {error}.") from error
            raise

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """See `gymnasium.Env`.

        Raises:
            FaultError: if the environment raises, dies or takes too long.
        """
        return self._ask("reset", {"seed": seed, "options": options})

    def step(self, action: Any) -> Any:
        """See `gymnasium.Env`; raises as `reset`."""
        return self._ask("step", {"action": np.asarray(action)})

    def close(self) -> None:
        """End the process, after the environment has been closed if it answers; at once if it is at work."""
        if self._process.is_alive() and not self._waiting:
            try:
                self._connection.send(None)
                self._process.join(CLOSING_SECONDS)
            except OSError:  # it has just died
                pass
        self._process.kill()
        self._process.join()

    def _ask(self, name: str, arguments: dict[str, Any]) -> Any:
        try:
            self._connection.send((name, arguments))
            self._await(self._seconds)
        except OSError as error:
            raise FaultError(f"its process has ended ({error})") from error
        return self._receive()

    def _await(self, seconds: float) -> None:
        self._waiting = True
        if not self._connection.poll(seconds):
            self._process.kill()
            raise FaultError(f"no answer within {seconds:g} seconds (--step_timeout): its process was ended")

    def _receive(self) -> Any:
        try:
            answer = self._connection.recv()
            self._waiting = False
        except (EOFError, OSError) as error:
            self._process.join(CLOSING_SECONDS)
            raise FaultError(f"its process died (exit code {self._process.exitcode})") from error
        if isinstance(answer, InputError | FaultError):
            raise answer
        return answer


def _serve(make: Callable[[], gymnasium.Env], connection: Connection) -> None:
    """Make the environment, then answer until None or the end of the other process."""
    try:
        environment = make()
    except InputError as error:
        connection.send(error)
        return
    connection.send((environment.observation_space, environment.action_space, time_limit(environment)))
    try:
        while (call := connection.recv()) is not None:
            connection.send(_answer(environment, *call))
    except EOFError:
        pass
    environment.close()


def _answer(environment: gymnasium.Env, name: str, arguments: dict[str, Any]) -> Any:
    try:
        *answer, _ = getattr(environment, name)(**arguments)  # what it says besides is not used
        return (*answer, {})
    except Exception as error:
        return FaultError(describe_error(error))
