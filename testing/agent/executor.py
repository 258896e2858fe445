"""What the agent does with a message: its first word says which.

| word         | the task                                                        |
|--------------|-----------------------------------------------------------------|
| `work`       | works until it is asked to `finish` (a later message), or cancelled |
| `artifacts`  | completes with two artifacts of several parts                   |
| `fail`, `reject` | ends so, and gives the rest of the message as the reason    |
| `ask`, `auth` | waits for input, or for a right, and asks with the rest        |
| `break`      | the agent breaks                                                |
| `answer`     | none: a message at once                                         |
"""

import asyncio
import uuid

from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.tasks import TaskUpdater
from a2a.types.a2a_pb2 import Message, Part, Role, Task, TaskState, TaskStatus
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Value

DATA = {"rows": 7, "large": 2.0**80, "deep": [[{"a": None}]]}
BYTES = b"\x00\x01binary"


class Executor(AgentExecutor):
    """For all tasks of the process."""

    def __init__(self) -> None:
        self._finish: dict[str, asyncio.Event] = {}

    def finish(self, task: str) -> None:
        """Let a task that works complete."""
        self._finish.setdefault(task, asyncio.Event()).set()

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """See the SDK."""
        assert context.task_id is not None
        assert context.context_id is not None
        assert context.message is not None
        word, _, rest = context.get_user_input().partition(" ")
        if word == "answer":
            await event_queue.enqueue_event(_message(context, rest))
            return
        if word == "break":
            raise RuntimeError(rest)
        if context.current_task is None:
            task = Task(
                id=context.task_id,
                context_id=context.context_id,
                status=TaskStatus(state=TaskState.TASK_STATE_SUBMITTED),
                history=[context.message],
            )
            await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, context.task_id, context.context_id)
        await self._do(word, _message(context, rest) if rest else None, updater)

    async def _do(self, word: str, said: Message | None, updater: TaskUpdater) -> None:
        match word:
            case "fail":
                await updater.failed(said)
            case "reject":
                await updater.reject(said)
            case "ask":
                await updater.requires_input(said)
            case "auth":
                await updater.requires_auth(said)
            case "artifacts":
                await _artifacts(updater)
            case _:
                await updater.start_work(said)
                await self._finish.setdefault(updater.task_id, asyncio.Event()).wait()
                await updater.add_artifact([Part(text="done")], name="result")
                await updater.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """See the SDK."""
        assert context.task_id is not None
        assert context.context_id is not None
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


async def _artifacts(updater: TaskUpdater) -> None:
    data = ParseDict(DATA, Value())
    await updater.add_artifact(
        [Part(text="first"), Part(text="second"), Part(data=data, media_type="application/json")],
        artifact_id="a-1",
        name="report",
    )
    await updater.add_artifact(
        [Part(raw=BYTES, filename="a.bin"), Part(url="https://files.example/a", media_type="text/plain")],
        artifact_id="a-2",
    )
    await updater.complete(updater.new_agent_message([Part(text="all done")]))


def _message(context: RequestContext, text: str) -> Message:
    return Message(
        role=Role.ROLE_AGENT,
        message_id=str(uuid.uuid4()),
        context_id=context.context_id,
        parts=[Part(text=text)],
    )
