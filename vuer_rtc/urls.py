"""Pages of the runnable project."""

from django.contrib import admin
from django.urls import include, path

from vuer_rtc.landing import index

urlpatterns = [
    path("", index, name="index"),
    path("admin/", admin.site.urls),
    path("", include("rooms.urls")),
]
