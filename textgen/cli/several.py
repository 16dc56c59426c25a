"""The flags of `train` for a command in which a setting may have several values."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_args

from textgen.bounds import bounds_of
from textgen.cli import train
from textgen.cli.parse import duration
from textgen.config import Choices
from textgen.errors import UsageError
from textgen.studies.variants import VARIED

LEFT_OUT = ("base", "keep_mixing", "dry_run", "tensorboard")  # flags of `train` alone
_OF_TRAIN = inspect.signature(train.train, eval_str=True).parameters
_TEXT = {"hidden": int}  # read as text by `train`, for it may be a list


def with_settings(**more: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the flags of `train`, those of VARIED taking several values with commas.

    more: annotations of other flags, or of the same with other help, by name; their default is
    None, or what stands in the signature of `train`.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        names = dict.fromkeys([*_OF_TRAIN, *more])
        parameters = [_flag(name, more.get(name)) for name in names if name not in LEFT_OUT]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return command

    return decorate


def _flag(name: str, annotation: Any) -> inspect.Parameter:
    if name not in _OF_TRAIN:
        return inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
        )
    of_train = _OF_TRAIN[name].replace(kind=inspect.Parameter.KEYWORD_ONLY)
    if annotation is not None:
        return of_train.replace(annotation=annotation)
    if name not in VARIED:
        return of_train
    described = get_args(of_train.annotation)[1:]
    kind = list[bool] | None if _kind(name) is bool else str | None
    return of_train.replace(annotation=Annotated[kind, *described], default=None)


def _kind(name: str) -> Any:
    """What one value of a setting is."""
    plain = get_args(_OF_TRAIN[name].annotation)[0]
    return _TEXT.get(name) or next(iter(get_args(plain)), plain)


def chosen(given: dict[str, Any]) -> dict[str, Any]:
    """The fields of `Choices` that were given, by the flags' values: lists where several are."""
    found: dict[str, Any] = {}
    for name, default in vars(Choices()).items():
        value = given.get(name)
        if name in ("time", "save_every"):
            value = duration(name, value)
        elif name in VARIED and value is not None:
            values = list(dict.fromkeys(value)) if _kind(name) is bool else _values(name, value)
            value = values[0] if len(values) == 1 else values or None
        if value not in (None, default):
            found[name] = value
    return found


def _values(name: str, text: str) -> list[Any]:
    kind = _kind(name)
    try:
        return [kind(part.strip()) for part in text.split(",")]
    except ValueError:
        numbers = "whole numbers" if kind is int else "numbers"
        what = f"`{name}` is {text!r}; expected {numbers} with commas between"
        example = "128,256" if name == "hidden" else bounds_of(Choices, name).example
        raise UsageError(what, f"try `{name}={example}`") from None
