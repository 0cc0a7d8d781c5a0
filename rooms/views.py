"""Pages for load balancers, Prometheus and people who watch the server."""

from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from journal.durability import non_atomic
from rooms.readiness import obstacles
from rooms.settings import settings


@login_not_required
@non_atomic
@never_cache
@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """200 as long as this process answers; says nothing about the database and nothing about who is here."""
    return JsonResponse({"status": "ok"})


@login_not_required
@non_atomic
@never_cache
@require_safe
async def readiness(request: HttpRequest) -> JsonResponse:
    """200 when this process should be sent clients; 503, with the reasons, when it should not."""
    found = await obstacles()
    if found:
        return JsonResponse({"status": "not ready", "reasons": found}, status=503)
    return JsonResponse({"status": "ready"})


@login_not_required
@non_atomic
@never_cache
@require_safe
async def metrics(request: HttpRequest) -> HttpResponse:
    """This process's metrics, for whoever has the token, and for staff; for others there is no such page."""
    if not (_has_token(request) or await _is_staff(request)):
        raise Http404
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return HttpResponse(encode(REGISTRY), content_type=content_type)


def _has_token(request: HttpRequest) -> bool:
    given = request.headers.get("Authorization", "")
    return bool(settings.metrics_token) and constant_time_compare(given, f"Bearer {settings.metrics_token}")


async def _is_staff(request: HttpRequest) -> bool:
    ask = getattr(request, "auser", None)
    return bool(getattr(await ask(), "is_staff", False)) if ask is not None else False
