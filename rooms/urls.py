"""Pages of the live side."""

from django.urls import path

from rooms.token_view import token
from rooms.views import health, metrics, readiness

app_name = "rooms"
urlpatterns = [
    path("healthz", health, name="health"),
    path("readyz", readiness, name="readiness"),
    path("metrics", metrics, name="metrics"),
    path("api/rooms/<str:slug>/token/", token, name="token"),
]
