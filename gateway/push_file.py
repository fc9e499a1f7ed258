"""A pushed site goes into the site file that the gateway runs, on trial like any other change of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.app import site_of
from gateway.errors import WishError
from gateway.language import say
from gateway.push import Standing
from gateway.settings import KeepWish, PutWish, keep, put
from gateway.site_file import in_place

if TYPE_CHECKING:
    from gateway.app import Gateway
    from gateway.site import Site
    from gateway.site_trial import SiteFile


class FilePlace:
    """A `gateway.push.Place`. file: of the gateway, which it runs."""

    def __init__(self, gateway: Gateway, file: SiteFile) -> None:
        self._gateway, self._file = gateway, file

    async def check(self, text: str) -> Site:
        if self._file.known.trial is not None:
            raise WishError(say("une autre modification est à l'essai", "another change is on trial"))
        return (await asyncio.to_thread(site_of, text, self._file.path))[0]

    async def put(self, text: str, by: str) -> None:
        wish = PutWish(text, in_place(self._file.path).sha256, by)
        async for _ in put(self._gateway, wish):
            pass

    def standing(self) -> Standing:
        known = self._file.known
        undone = known.undone.why if known.undone is not None else ""
        return Standing(known.sha256, known.trial is not None, self._file.lacking, undone)

    async def keep(self, by: str) -> None:
        async for _ in keep(self._gateway, KeepWish(by)):
            pass
