"""One message of a stream: its prediction, and how the end of it is told on a stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.errors import GatewayError, InvalidInput, ModelNotFound, ModelUnavailable
from gateway.rpc.parameters import to_wire
from gateway.rpc.prompt import Begin
from gateway.rpc.reply_bytes import streamed, text_parameter
from gateway.rpc.status import known_error, refusal
from gateway.transport.seam import Refused, Work
from gateway.types import Call, Context, Delivery, Reply
from gateway.v1.inference import InferParameter, ModelInferResponse, ModelStreamInferResponse

_FINAL = ModelInferResponse(parameters={"triton_final_response": InferParameter(bool_param=True)}).SerializeToString()

_FOUND_BEFORE_THE_RUN = (InvalidInput, ModelNotFound, ModelUnavailable)
"""Errors that stay messages even where the caller asked for statuses, as in Triton."""


class StreamMessage:
    """The ``Caller`` of one prediction: puts what it is told into an answer, or the error that ends the stream.

    ``came`` hears when it has ended. ``call`` is set by who decodes the message. With ``statuses`` errors of policy and
    of runs end the stream.
    """

    __slots__ = ("_answer", "_asked", "_came", "_error", "_statuses", "_work", "call", "ended")

    call: Call

    def __init__(self, asked: Context, came: Callable[[StreamMessage], None], *, statuses: bool) -> None:
        self._asked = asked
        self._came = came
        self._statuses = statuses
        self._answer = b""
        self._error: BaseException | None = None
        self.ended = False
        self._work: Work | None = None

    def taken(self) -> bytes:
        """The answer. Raises: Refused, which ends the stream; CancelledError."""
        if self._error is not None:
            raise self._error
        return self._answer

    def begin(self, begin: Begin, encode: Callable[[Reply], bytes]) -> None:
        """Begin the prediction for ``call``."""
        work = begin(self.call, encode, self)
        if not self.ended:
            self._work = work

    def cancel(self) -> None:
        """Stop the prediction, if it has not ended; ``came`` hears when it has."""
        if self._work is not None:
            try:
                self._work.cancel()
            except BaseException as error:  # a panic too: who is in line must end
                self.refuse(error)
                if isinstance(error, KeyboardInterrupt | SystemExit):
                    raise

    def delivered(self, delivery: Delivery) -> None:
        """See ``Caller``."""
        try:
            self._answer = streamed(delivery.body, _quotes(delivery))
        except Exception as error:  # noqa: BLE001  # a header that is no text
            self.failed(error)
            return
        self._end()

    def failed(self, error: BaseException) -> None:
        """See ``Caller``."""
        if isinstance(error, asyncio.CancelledError):
            self._error = error
        elif self._statuses and not isinstance(error, _FOUND_BEFORE_THE_RUN):
            self._error = self._refusal(error)
        else:
            try:
                known = known_error(error, self._asked.call_id, self._asked.trace.trace_id)
                self._answer = error_message(self.call, known)
            except Exception as other:  # noqa: BLE001  # a text that is no text
                self._error = self._refusal(other)
        self._end()

    def refuse(self, error: BaseException) -> None:
        """End the stream with ``error`` when it is this message's turn, unless it has ended already."""
        if self.ended:
            return
        self._error = self._refusal(error)
        self._end()

    def _refusal(self, error: BaseException) -> Refused:
        return refusal(error, call_id=self._asked.call_id, trace_id=self._asked.trace.trace_id)

    def _end(self) -> None:
        self.ended = True
        self._work = None  # which knows this message: a circle
        self._came(self)


def error_message(call: Call, error: GatewayError) -> bytes:
    """The message that says that ``call`` failed; its id is the caller's only link to the request."""
    response = ModelInferResponse(id=call.request_id)
    response.parameters["triton_final_response"].bool_param = True
    if error.decision_id:
        response.parameters["gateway_decision_id"].CopyFrom(to_wire(error.decision_id))
    if error.prediction_id:
        response.parameters["gateway_prediction_id"].CopyFrom(to_wire(error.prediction_id))
    return ModelStreamInferResponse(error_message=str(error), infer_response=response).SerializeToString()


def _quotes(delivery: Delivery) -> bytes:
    # A stream has no trailers for each answer. The record's position is known only after the answer was encoded and
    # recorded; a singular message that comes twice on the wire is merged, so these parameters join the answer's own.
    quotes = _FINAL + text_parameter("gateway_prediction_id", delivery.prediction_id)
    quotes += text_parameter("gateway_decision_id", delivery.decision_id)
    for name, value in delivery.headers:
        quotes += text_parameter(name.replace("-", "_"), value)
    return quotes
