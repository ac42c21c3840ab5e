"""/"""

from fastapi import APIRouter

from app import __version__
from app.schemas import Greeting
from app.services import ServicesDep

router = APIRouter(tags=["service"])


@router.get("/")
async def greet(services: ServicesDep) -> Greeting:
    """Who answers: `instance` tells replicas apart."""
    return Greeting(
        message="Scalable Backend Ready! 🚀",
        service=services.settings.scalectl_project,
        version=__version__,
        instance=services.settings.instance,
    )
