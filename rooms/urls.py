"""Pages of the live side."""

from django.urls import path

from rooms.token_view import token
from rooms.views import health

app_name = "rooms"
urlpatterns = [
    path("healthz", health, name="health"),
    path("api/rooms/<str:slug>/token/", token, name="token"),
]
