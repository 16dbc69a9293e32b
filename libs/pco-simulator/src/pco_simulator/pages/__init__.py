"""Pages for humans: consent, and a small stand-in for Planning Center's own screens."""

from pathlib import Path

from starlette.templating import Jinja2Templates

templates = Jinja2Templates(directory=Path(__file__).parent / "templates")
