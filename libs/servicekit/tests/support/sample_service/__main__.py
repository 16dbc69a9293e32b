"""python -m sample_service"""

from sample_service.main import Settings, create_app
from servicekit.app import run

run(Settings, create_app)
