# As printed in the SDK's documentation.
from django.conf import settings
from getimmutable import ImmutableClient

immutable = ImmutableClient(
    api_key=settings.IMMUTABLE_API_KEY,
    base_url=settings.IMMUTABLE_BASE_URL,
)
