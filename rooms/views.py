"""Pages for load balancers and people who watch the server."""

from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe


@never_cache
@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """200 as long as this process answers; says nothing about the database and nothing about who is here."""
    return JsonResponse({"status": "ok"})
