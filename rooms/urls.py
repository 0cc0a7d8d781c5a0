"""Pages of the live side."""

from django.urls import path

from rooms.views import health

app_name = "rooms"
urlpatterns = [path("healthz", health, name="health")]
