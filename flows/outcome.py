"""What a flow run in this process has come to, whether or not the server's last answer came through."""

from collections.abc import Mapping
from copy import copy
from functools import wraps
from typing import Any

from prefect.client.schemas.objects import State, StateType
from prefect.flows import Flow

from clearyear.errors import IncompleteError


def outcome_of(flow: "Flow[..., Any]", arguments: Mapping[str, Any]) -> Any:
    """Run a flow here.

    Prefect sends a run's last state again when the answer to it was lost. The server, which has it already, answers
    with its own copy, and that holds no result: a finished run would end in Prefect's MissingResult. What the flow
    itself has returned or raised is kept for that.

    Returns:
        The outcome, complete or not, or the error the run ended with.
    """
    said: list[Any] = []

    @wraps(flow.fn)
    def remembering(*args: Any, **kwargs: Any) -> Any:
        try:
            said.append(flow.fn(*args, **kwargs))
        except Exception as error:
            said.append(error)
            raise
        return said[-1]

    own = copy(flow)
    own.fn = remembering
    state: Any = own(**arguments, return_state=True)
    ended = said[-1] if state.data is None and said and _kind(said[-1]) == state.type else state
    found = ended.result(raise_on_failure=False) if isinstance(ended, State) else ended
    return found.outcome if isinstance(found, IncompleteError) else found


def _kind(said: Any) -> Any:
    if isinstance(said, State):
        return said.type
    return StateType.FAILED if isinstance(said, Exception) else StateType.COMPLETED
