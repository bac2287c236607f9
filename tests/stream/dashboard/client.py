"""Calls the ASGI application directly, as a browser or a program would."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx

__all__ = ["Client"]


class Client:
    """Keeps its cookies and does not follow redirects.

    Parameters
    ----------
    app : ASGI application
    host : str
        Host name in its requests.
    address : str
        Address of the client.
    """

    def __init__(self, app: Callable[..., Any], host: str, address: str) -> None:
        self._app, self._host, self._address = app, host, address
        self.cookies = httpx.Cookies()

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Request a page."""
        return asyncio.run(self._request("GET", path, options))

    def post(self, path: str, **options: Any) -> httpx.Response:
        """Submit a form."""
        return asyncio.run(self._request("POST", path, options))

    async def _request(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        transport = httpx.ASGITransport(self._app, client=(self._address, 50000))
        async with httpx.AsyncClient(
            transport=transport, base_url=f"http://{self._host}", cookies=self.cookies
        ) as client:
            response = await client.request(method, path, **options)
            self.cookies = client.cookies
            return response
