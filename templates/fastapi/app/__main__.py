"""`python -m app`: one API replica."""

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
    # After the settings, so that a mistake in them is told at once and alone.
    from app.main import create_app  # noqa: PLC0415
    from app.middleware import RequestMiddleware  # noqa: PLC0415
    from app.server import serve  # noqa: PLC0415

    app = create_app(settings)
    health = app.state.health
    wrapped = RequestMiddleware(app, health=health, max_concurrency=settings.max_concurrency)
    serve(wrapped, settings, health)
    return 0


if __name__ == "__main__":
    sys.exit(main())
