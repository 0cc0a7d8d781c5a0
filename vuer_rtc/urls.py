"""Pages of the runnable project."""

from django.contrib import admin
from django.urls import include, path

from vuer_rtc.landing import index

admin.site.site_header = admin.site.site_title = "vuer-rtc administration"

urlpatterns = [
    path("", index, name="index"),
    path("admin/", admin.site.urls),
    path("", include("rooms.urls")),
]
