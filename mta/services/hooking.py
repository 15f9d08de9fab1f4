"""Loads hooks and asks them: one after the other, the slow ones beside the session.

Owns: the objects made from ``[[hook]]``, the order in which they are asked, their time-outs, and that nothing they
raise reaches a session. Never does: speak SMTP, or decide what follows an opinion (``services/guard.py``). Loop thread
only, but for ``load_hooks``.
"""

import asyncio
import importlib
import inspect
import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from mta.config import Config
from mta.errors import ConfigError
from mta.log import Event, EventLog
from mta.policy.hooks import ANSWERS, FIELDS_LIMIT, TOLD, Accept, AddHeaders, Defer, Discard, Outcome, Redirect, Reject
from mta.services.foreign import RAISED, is_given_up

_log = logging.getLogger("mta.hooks")

#: Coroutines of told hooks that may run at once; beyond that they are not told, and the log says so.
NOTICES_LIMIT: Final = 1000
#: Which event is told as what.
_TOLD_AS: Final = {
    "Reception": "queued",
    "Delivery": "delivered",
    "Bounce": "failed",
    "Expiration": "failed",
    "AdminBounce": "failed",
}

Decision = Accept | Reject | Defer | Discard | Redirect


class Said(NamedTuple):
    """What all hooks of a stage came to. ``name``: of the hook that decided, "" when none did. ``failed``: one of them
    raised or took too long."""

    decision: Decision | None = None
    name: str = ""
    fields: tuple[AddHeaders, ...] = ()
    failed: bool = False


class Hook(NamedTuple):
    """One method of one policy."""

    name: str
    call: Callable[[Any], Any]
    slow: bool
    timeout: float


class Hooks:
    """``stages``: hooks by stage, in the order of the file. ``on_failure`` is called once for each failure."""

    def __init__(self, policies: Sequence[tuple[str, object, float]]) -> None:
        self.names = [name for name, _, _ in policies]
        self._stages = {stage: _hooks_of(stage, policies) for stage in (*ANSWERS, *TOLD)}
        self._notices: set[asyncio.Task[None]] = set()
        self.on_failure: Callable[[], None] = _nobody

    def wants(self, stage: str) -> bool:
        return bool(self._stages[stage])

    def ask(
        self, stage: str, value: object, settle: Callable[[Said], None], added: int = 0
    ) -> "Said | asyncio.Task[None]":
        """What the hooks say, or, as soon as one of them is slow, the task that will call ``settle`` with it. A
        cancelled task calls nobody. ``added``: fields that the message has from hooks already."""
        fields: tuple[AddHeaders, ...] = ()
        hooks = self._stages[stage]
        for index, hook in enumerate(hooks):
            if hook.slow:
                rest = self._ask_on(stage, hooks[index:], value, fields, settle, added)
                return asyncio.get_running_loop().create_task(rest)
            try:
                opinion = hook.call(value)
                said = _weigh(stage, hook, opinion, fields, added)
            except RAISED as error:
                return self._failure(stage, hook, error)
            if said.decision is not None:
                return said
            fields = said.fields
        return Said(fields=fields)

    async def _ask_on(
        self,
        stage: str,
        hooks: Sequence[Hook],
        value: object,
        fields: tuple[AddHeaders, ...],
        settle: Callable[[Said], None],
        added: int,
    ) -> None:
        said = Said(fields=fields)
        for hook in hooks:
            try:
                opinion = hook.call(value)
                if hook.slow:
                    async with asyncio.timeout(hook.timeout):
                        opinion = await opinion
                said = _weigh(stage, hook, opinion, said.fields, added)
            except RAISED as error:
                if is_given_up(error):
                    raise
                said = self._failure(stage, hook, error)
                break
            if said.decision is not None:
                break
        settle(said)

    def _failure(self, stage: str, hook: Hook, error: BaseException) -> Said:
        if isinstance(error, TimeoutError):
            _log.error("hook %s: %s took longer than %g s", hook.name, stage, hook.timeout)
        else:
            _log.error("hook %s: %s raised %r at %s", hook.name, stage, error, _place(error))
        self.on_failure()
        return Said(name=hook.name, failed=True)

    # Hooks that are told.

    def tell(self, stage: str, outcome: Outcome) -> None:
        for hook in self._stages[stage]:
            if hook.slow:
                self._tell_beside(stage, hook, outcome)
                continue
            try:
                hook.call(outcome)
            except RAISED as error:
                self._failure(stage, hook, error)

    def _tell_beside(self, stage: str, hook: Hook, outcome: Outcome) -> None:
        if len(self._notices) >= NOTICES_LIMIT:
            _log.error("hook %s: %s is too slow, %s is not told", hook.name, stage, outcome.id)
            self.on_failure()
            return
        task = asyncio.get_running_loop().create_task(self._notice(stage, hook, outcome))
        self._notices.add(task)
        task.add_done_callback(self._notices.discard)

    async def _notice(self, stage: str, hook: Hook, outcome: Outcome) -> None:
        try:
            async with asyncio.timeout(hook.timeout):
                await hook.call(outcome)
        except RAISED as error:
            if is_given_up(error):
                raise
            self._failure(stage, hook, error)

    async def close(self) -> None:
        """Gives up what is under way."""
        notices = list(self._notices)
        for task in notices:
            task.cancel()
        await asyncio.gather(*notices, return_exceptions=True)


class ToldEvents(EventLog):
    """An event log whose events are told to hooks as well."""

    def __init__(self, path: str, hooks: Hooks, **options: Any) -> None:
        super().__init__(path, **options)
        self._hooks = hooks
        self._wanted = {event: stage for event, stage in _TOLD_AS.items() if hooks.wants(stage)}

    def write(self, event: Event) -> None:
        super().write(event)
        stage = self._wanted.get(event.type)
        if stage is not None:
            self._hooks.tell(stage, outcome_of(event))


def outcome_of(event: Event) -> Outcome:
    response, peer = event.response, event.peer_address
    return Outcome(
        event.id,
        event.sender,
        event.recipient,
        event.size,
        response.code if response is not None else 0,
        response.content if response is not None else "",
        peer.name if peer is not None else "",
    )


def events_for(config: Config, hooks: Hooks | None) -> EventLog:
    """The event log of a process, told to hooks if one of them wants to know."""
    log = config.log
    if hooks is None or not any(map(hooks.wants, TOLD)):
        return EventLog(log.events, rotate_size=log.rotate_size, keep=log.keep)
    return ToldEvents(log.events, hooks, rotate_size=log.rotate_size, keep=log.keep)


def load_hooks(config: Config) -> Hooks | None:
    """The hooks of ``[[hook]]``; None when there is none. Raises ConfigError, a line per hook."""
    return Hooks(load_policies(config)) if config.hook else None


def load_policies(config: Config) -> list[tuple[str, object, float]]:
    """Imports and makes what ``[[hook]]`` names: name, object, time-out. Raises ConfigError."""
    made: list[tuple[str, object, float]] = []
    findings: list[str] = []
    for index, hook in enumerate(config.hook):
        try:
            made.append((hook.module, _made(hook.module, hook.path, hook.options), hook.timeout))
        except Exception as error:
            findings.append(f"hook[{index}]: {hook.module}: {_sentence(error)}")
    if findings:
        raise ConfigError(findings)
    return made


def _made(module: str, path: Path | None, options: dict[str, Any]) -> object:
    name, _, attribute = module.partition(":")
    if path is not None and str(path) not in sys.path:
        sys.path.insert(0, str(path))
    found = getattr(importlib.import_module(name), attribute)
    policy: object = found(**options)
    if not any(callable(getattr(policy, stage, None)) for stage in (*ANSWERS, *TOLD)):
        raise TypeError(f"has none of the methods {', '.join((*ANSWERS, *TOLD))}")
    return policy


def _sentence(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _place(error: BaseException) -> str:
    """File and line where it was raised: what an author needs, in one line."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "?"


def _hooks_of(stage: str, policies: Iterable[tuple[str, object, float]]) -> tuple[Hook, ...]:
    found = ((name, getattr(policy, stage, None), timeout) for name, policy, timeout in policies)
    return tuple(Hook(name, call, inspect.iscoroutinefunction(call), timeout) for name, call, timeout in found if call)


def _weigh(stage: str, hook: Hook, opinion: Any, fields: tuple[AddHeaders, ...], before: int) -> Said:
    """Raises TypeError for what is no answer at this stage."""
    if opinion is None:
        return Said(fields=fields)
    if not isinstance(opinion, ANSWERS[stage]):
        raise TypeError(f"{opinion!r} is no answer at {stage}")
    if isinstance(opinion, AddHeaders):
        if before + sum(len(added.fields) for added in (*fields, opinion)) > FIELDS_LIMIT:
            raise TypeError(f"more than {FIELDS_LIMIT} fields were added to the message")
        return Said(fields=(*fields, opinion))
    return Said(opinion, hook.name, fields)  # type: ignore[arg-type]


def _nobody() -> None:
    """Nobody counts failures."""


async def asked(hooks: Hooks, stage: str, value: object) -> Said:
    """As ``ask``, for who can wait."""
    done: asyncio.Future[Said] = asyncio.get_running_loop().create_future()
    said = hooks.ask(stage, value, partial(_resolve, done))
    if isinstance(said, Said):
        return said
    await said
    return done.result()


def _resolve(done: "asyncio.Future[Said]", said: Said) -> None:
    if not done.done():
        done.set_result(said)
