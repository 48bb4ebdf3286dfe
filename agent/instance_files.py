"""The files and secret variables of an instance, opened with the node's key.

Files lie in memory only (`/run/lattice/<cluster>/<instance>/`, 0700) and are mounted read-only, one by one, into their container; after a reboot
they are made again from the journalled document, whose secrets are still sealed.  A secret reaches the environment only where the workload
asked for it there.  No value is ever logged or put into an error.  A file that belongs to a user of the container is given away by the agent
itself where it is root, by the Engine where it is not.
"""

from __future__ import annotations

import base64
import binascii
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from lattice.contracts.messages import DesiredInstance, FileMount, RunSpec, SealedValue
from lattice.errors import Invalid
from lattice.runtime import FileBind, OwnedFile, RegistryAuth, Runtime
from lattice.sealing import SealingKey, unseal

_FOLDER_MODE = 0o700


class InstanceFiles:
    """Makes and removes what instances need beside their image."""

    def __init__(self, root: Path, key: SealingKey, runtime: Runtime, cluster_id: str) -> None:
        self._root, self._key = root, key
        self._runtime, self._cluster_id = runtime, cluster_id

    async def make(
        self, instance: DesiredInstance, sealed: Mapping[str, SealedValue]
    ) -> tuple[FileBind, ...]:
        """Write the instance's files and say where they go.  Raises Invalid or Unauthenticated for a secret that cannot be opened."""
        run = instance.run
        if not run.files:
            return ()
        folder = self._folder(instance.instance_id)
        files = [self._file(f"{number}", mount, sealed) for number, mount in enumerate(run.files)]
        missing = [file for file in files if not _is_there(folder / file.name, file.content)]
        foreign = [file for file in missing if not _place(folder / file.name, file)]
        if foreign:
            image = run.image_id or run.image
            await self._runtime.give_files(folder, foreign, image=image, cluster_id=self._cluster_id)
        return tuple(
            FileBind(source=str(folder / file.name), path=mount.path)
            for file, mount in zip(files, run.files, strict=True)
        )

    def _file(self, name: str, mount: FileMount, sealed: Mapping[str, SealedValue]) -> OwnedFile:
        content = self._content(mount, sealed)
        return OwnedFile(name=name, content=content, uid=mount.uid, gid=mount.gid, mode=mount.mode)

    def variables(self, run: RunSpec, sealed: Mapping[str, SealedValue]) -> dict[str, str]:
        """The environment with the secrets that were asked for there."""
        secret = {name: self._text(secret_id, sealed) for name, secret_id in run.secret_env.items()}
        return {**run.env, **secret}

    def registry_auth(self, run: RunSpec, sealed: Mapping[str, SealedValue]) -> RegistryAuth | None:
        """The credentials for the image's registry, from a secret `user:password`."""
        if run.pull_secret is None:
            return None
        username, colon, password = self._text(run.pull_secret, sealed).partition(":")
        if not colon:
            raise Invalid(f"the pull secret for {run.image} is not of the form user:password")
        return RegistryAuth(username=username, password=password)

    def prepare(self) -> None:
        """Have the folder from the start: the one above, which all platforms of the machine share, is not removed while it is there."""
        self._root.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)

    def remove(self, instance_id: str) -> None:
        """Remove an instance's files; fine if there are none."""
        shutil.rmtree(self._root / instance_id, ignore_errors=True)

    def _folder(self, instance_id: str) -> Path:
        folder = self._root / instance_id
        self.prepare()
        folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
        return folder

    def _content(self, mount: FileMount, sealed: Mapping[str, SealedValue]) -> bytes:
        if mount.secret is not None:
            return self._open(mount.secret, sealed)
        return (mount.content or "").encode()

    def _text(self, secret_id: str, sealed: Mapping[str, SealedValue]) -> str:
        try:
            return self._open(secret_id, sealed).decode()
        except UnicodeDecodeError:
            raise Invalid(f"secret {secret_id} is not text: mount it as a file instead") from None

    def _open(self, secret_id: str, sealed: Mapping[str, SealedValue]) -> bytes:
        value = sealed.get(secret_id)
        if value is None:
            raise Invalid(f"secret {secret_id} was not sent to this node: deploy again")
        try:
            return unseal(base64.b64decode(value.sealed, validate=True), self._key)
        except binascii.Error:
            raise Invalid(f"secret {secret_id} arrived damaged: deploy again") from None


def _is_there(path: Path, content: bytes) -> bool:
    """Whether the file is right already: then it stays, because a running container holds it by its inode.

    One that was given away cannot be read by an agent that is not root, and is written anew.
    """
    try:
        return path.read_bytes() == content
    except (FileNotFoundError, PermissionError):
        return False


def _place(path: Path, file: OwnedFile) -> bool:
    """Write a file under its owner and mode; False, and nothing is written, where only the Engine may give it to that owner."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        try:
            if (file.uid, file.gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, file.uid, file.gid)
        except PermissionError:
            path.unlink()  # else the next attempt would take it for right
            return False
        os.fchmod(descriptor, file.mode)
        opened.write(file.content)
    return True
