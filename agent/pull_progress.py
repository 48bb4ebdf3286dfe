"""How far a pull is, in words for people, from the Engine's stream of messages about single layers.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_PART_OF_DOWNLOAD = 0.8  # unpacking is the rest


class PullProgress:
    """Adds up what the Engine says of each layer; the percentage never goes back."""

    def __init__(self) -> None:
        self._download: dict[str, tuple[int, int]] = {}
        self._unpacked: dict[str, float] = {}
        self._percent = 0

    def feed(self, message: Mapping[str, Any]) -> str | None:
        """The new text, or None when there is nothing new to tell."""
        layer, status = str(message.get("id", "")), str(message.get("status", ""))
        detail = message.get("progressDetail") or {}
        self._note(layer, status, int(detail.get("current") or 0), int(detail.get("total") or 0))
        percent = max(self._percent, self._computed())
        if percent == self._percent:
            return None
        self._percent = percent
        return f"{percent} %"

    def _note(self, layer: str, status: str, current: int, total: int) -> None:
        if status == "Downloading" and total:
            self._download[layer] = (current, total)
        elif status == "Extracting" and total:
            self._finish_download(layer)
            self._unpacked[layer] = current / total
        elif status in ("Pull complete", "Already exists"):
            self._finish_download(layer)
            self._unpacked[layer] = 1.0

    def _finish_download(self, layer: str) -> None:
        _, total = self._download.get(layer, (1, 1))
        self._download[layer] = (total, total)

    def _computed(self) -> int:
        total = sum(size for _, size in self._download.values())
        if not total:
            return 0
        downloaded = sum(current for current, _ in self._download.values()) / total
        weights = ((self._unpacked.get(layer, 0.0), size) for layer, (_, size) in self._download.items())
        unpacked = sum(part * size for part, size in weights) / total
        return int(100 * (_PART_OF_DOWNLOAD * downloaded + (1 - _PART_OF_DOWNLOAD) * unpacked))
