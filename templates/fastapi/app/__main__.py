"""`python -m app`: one API replica."""

import gc
import sys

from app.logging import configure
from app.settings import Settings, SettingsError


def main() -> int:
    try:
        settings = Settings.load()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure(
        settings.log_level,
        service=settings.scalectl_service or "api",
        instance=settings.instance,
    )
    # What is imported stays for good: looking for garbage in it would only take time, now (a
    # tenth of the start) and at every collection later.
    gc.disable()
    # After the settings, so that a mistake in them is told at once and alone.
    from app.main import create_app  # noqa: PLC0415
    from app.middleware import RequestMiddleware  # noqa: PLC0415
    from app.server import serve  # noqa: PLC0415
    from app.shortcut import Shortcut  # noqa: PLC0415

    app = create_app(settings)
    gc.freeze()
    gc.enable()
    health = app.state.health
    shortcut = Shortcut(app, cache=app.state.services.cache)
    wrapped = RequestMiddleware(shortcut, health=health, max_concurrency=settings.max_concurrency)
    serve(wrapped, settings, health)
    return 0


if __name__ == "__main__":
    sys.exit(main())
