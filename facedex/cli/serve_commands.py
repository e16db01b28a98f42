"""The command that answers over HTTP: serve."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from facedex.cli.browser import open_page
from facedex.cli.console import note, say
from facedex.cli.options import DEFAULT_GALLERY, DeviceOption, GalleryOption, JobsOption, ModelOption, QuietOption


def serve(
    gallery: GalleryOption = DEFAULT_GALLERY,
    port: Annotated[int, typer.Option("--port", "-p", min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    address: Annotated[
        list[str] | None,
        typer.Option(
            help="IP address to listen to; may be repeated. Default: 127.0.0.1 and ::1, which this machine alone "
            "reaches. Another one demands a token."
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="FACEDEX_TOKEN",
            help="The token that allows everything. Other users of this machine can see options, so better set the "
            "variable. Where one is needed and none is given, it is made and printed once.",
        ),
    ] = None,
    read_token: Annotated[
        str | None, typer.Option(envvar="FACEDEX_READ_TOKEN", help="A token that allows questions and no changes.")
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="Another name by which browsers reach the server, without a port; may be repeated."),
    ] = None,
    scan: Annotated[
        list[Path] | None, typer.Option(help="Folder of photos that the page may scan; may be repeated.")
    ] = None,
    keep_crops: Annotated[
        bool,
        typer.Option(
            "--keep-crops", help="Keep a small picture of each face that is enrolled by the page, in the gallery."
        ),
    ] = False,
    max_upload: Annotated[
        int, typer.Option(min=1, max=1000, help="MiB that one request may bring. One photo may have 200 MiB.")
    ] = 64,
    browser: Annotated[
        bool | None,
        typer.Option(
            "--browser/--no-browser",
            help="Open the page in a browser. Default: where the command was typed on a machine with a desktop.",
        ),
    ] = None,
    model: ModelOption = None,
    device: DeviceOption = "cpu",
    jobs: JobsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Serve a page and a REST API on this machine, with the extra 'web'. Ctrl-C stops it.

    The API's reference is the page /reference. An empty gallery is made where there is none. Each request is a line on
    stderr, without names.
    """
    from facedex.errors import DataError, MissingExtra

    for folder in scan or []:
        if not folder.is_dir():
            raise DataError(f"{folder} is no folder; give --scan a folder of photos")
    try:
        from facedex.server.running import log_requests
        from facedex.server.running import serve as run
        from facedex.server.settings import LOOPBACK, ServerSettings, is_loopback, limits_for, made_token
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0] == "facedex":
            raise
        raise MissingExtra("serve", "web") from None

    addresses = tuple(address or LOOPBACK)
    if token is None and not all(map(is_loopback, addresses)):
        token = made_token()
        say(f"the token of this server, which is printed once: {token}")
    settings = ServerSettings(
        gallery=gallery,
        model=model,
        device=device,
        folders=tuple(folder.resolve() for folder in scan or []),
        addresses=addresses,
        port=port,
        token=token,
        read_token=read_token,
        hosts=tuple(allow_host or []),
        keep_crops=keep_crops,
        limits=limits_for(max_upload),
    )

    log_requests(quiet)

    def ready(urls: list[str]) -> None:
        note(f"serving {gallery} at {' and '.join(urls)}; Ctrl-C stops")
        if sys.stdin.isatty() if browser is None else browser:
            # A thread, because a browser may take seconds to start, and the server answers in this one.
            page = urls[0].replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
            threading.Thread(target=open_page, args=(page,), daemon=True).start()

    run(settings, ready)
