"""What followed the last characters where they stood before, and which they are.

A recurrent network learns to copy late, and seldom from far. So it is told what to copy: among the
last N characters of a stream the last m are looked for, for each m of MATCHED, and where they stood
before, latest, the character that followed is the match. That is the match model of compressors
(Mahoney 2005, "Adaptive Weighing of Context Models for Lossless Data Compression"); whether to
believe it is left to the network.

A network also learns late which words there are. So the last GRAM characters have a row of their
own, found by a hash (as in Pagnoni et al. 2024, "Byte Latent Transformer: Patches Scale Better Than
Tokens").

A stream's history is the last N of its ids plus 1, float32, the latest at the end; 0 is none yet.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding

from textgen.architecture import GRAM, gram_row
from textgen.config import MATCHED

_ODD = 0x5851F42D4C957F2D  # a multiplier for hashes (of Knuth's MMIX)


@torch.no_grad()
def matches(ids: Tensor, history: Tensor, size: int) -> tuple[list[Tensor], Tensor]:
    """The matches at each of `ids` (T, B), after the histories (B, N), and the histories then.

    A tensor (T, B) for each of MATCHED; size: V, of the vocabulary, which stands for no match.
    """
    text = torch.cat([history.long(), ids.T + 1], dim=1)  # (B, N+T)
    found = [_matches(text, m, len(ids), size) for m in MATCHED]
    return found, text[:, -history.shape[1] :].float()


def gram_rows(ids: Tensor, history: Tensor, rows: int) -> Tensor:
    """The rows of the n-grams that end at `ids` (T, B), after the histories (B, N): (T, B)."""
    text = torch.cat([history[:, 1 - GRAM :].long().T, ids + 1])
    found: Tensor = gram_row((text[k : k + len(ids)] for k in range(GRAM)), rows)
    return found


def _matches(text: Tensor, m: int, length: int, size: int) -> Tensor:
    """At each of the last `length` characters of `text` (B, N+T): (T, B).

    Windows of m characters are sorted by a number for each, and where they begin: so each stands
    after the one that is its match. Of a large vocabulary the number is a hash.
    """
    count = text.shape[1] - m + 1
    bits = count.bit_length()  # of a place
    exact = (size + 1) ** m < 1 << (63 - bits)
    numbers = torch.zeros_like(text[:, :count])
    for k in range(m):
        each = text[:, k : k + count]
        numbers = numbers * (size + 1) + each if exact else (numbers + each) * _ODD
    if not exact:  # the upper bits, which all characters reach
        numbers = (numbers >> bits) & ((1 << (63 - bits)) - 1)
    places = torch.arange(count, device=text.device)
    keys = _sorted((numbers << bits) | places)
    numbers, places = keys >> bits, keys & ((1 << bits) - 1)
    earlier = torch.where(numbers[:, 1:] == numbers[:, :-1], places[:, :-1], -m)
    before = torch.full_like(places, -m).scatter_(1, places[:, 1:], earlier)[:, -length:]
    least = torch.arange(1, length + 1, device=text.device)  # where the last N characters begin
    followed = text.gather(1, (before + m).clamp(max=text.shape[1] - 1))
    return _checked(torch.where(before >= least, followed, 0), size).T.contiguous()


def _sorted(keys: Tensor) -> Tensor:
    """Each row in order; on a CPU by NumPy, which takes a third of torch's time."""
    if keys.device.type == "cpu":
        return torch.from_numpy(np.sort(keys.numpy(), axis=1))
    return keys.sort(dim=1).values


def latest(history: Tensor, size: int) -> list[Tensor]:
    """The matches at the end of the histories (B, N), by comparing: (B,) for each of MATCHED."""
    reach, found = history.shape[1], []
    followers = torch.arange(reach, device=history.device, dtype=torch.int32)
    equal = torch.ones_like(history, dtype=torch.bool)  # so far, by what followed
    for k in range(1, max(MATCHED) + 1):
        before = history[:, : reach - k] == history[:, reach - k : reach - k + 1]
        equal = equal[:, -before.shape[1] :] & before
        if k in MATCHED:
            last = (equal * followers[k:]).amax(1, keepdim=True).long()
            followed = history.gather(1, last).squeeze(1).long()
            found.append(_checked(torch.where(last.squeeze(1) > 0, followed, 0), size))
    return found


def latest_on_cpu(history: Tensor, size: int) -> list[Tensor]:
    """The same in less than half the time: only where the last character stood is compared on."""
    text, found = history.numpy(), []
    reach, flat = text.shape[1], text.reshape(-1)
    equal = text == text[:, -1:]
    equal[:, -1] = False  # the last character itself
    places = np.flatnonzero(equal)
    rows = places // reach
    for k in range(2, max(MATCHED) + 1):
        same = flat.take(places - k + 1, mode="wrap") == text[:, -k].take(rows)
        places, rows = places[same], rows[same]
        if k in MATCHED:
            inside = places - rows * reach >= k - 1  # of one row
            followed = np.zeros(len(text), text.dtype)
            followed[rows[inside]] = flat[places[inside] + 1]  # of a row's places the last counts
            found.append(_checked(torch.from_numpy(followed).long(), size))
    return found


def read_on(history: Tensor, ids: Tensor) -> Tensor:
    """The histories (B, N) after one more of `ids` (B,)."""
    return torch.cat([history[:, 1:], (ids[:, None] + 1).to(history.dtype)], dim=1)


def with_matches(x: Tensor, found: Sequence[Tensor], tables: Sequence[Tensor]) -> Tensor:
    """The rows `x` (T, B, E) of characters plus those of `tables` (V, E) each at `found` (T, B)."""
    for matches, table in zip(found, tables, strict=True):
        x = x + rows_of(matches, table)
    return x


def rows_of(found: Tensor, table: Tensor) -> Tensor:
    """The rows of `table` (V, E) at the matches `found`, 0 where they are V."""
    return embedding(found, torch.cat([table, table.new_zeros(1, table.shape[1])]))


def _checked(followed: Tensor, size: int) -> Tensor:
    """Ids for ids plus 1; size for what is none, as in a history that is no history."""
    return torch.where((followed > 0) & (followed <= size), followed - 1, size)
