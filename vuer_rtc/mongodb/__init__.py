"""What a Django project on MongoDB needs: Django's own apps with the keys that MongoDB makes, and their migrations.

The settings of the runnable project use it when `DATABASE_URL` names a MongoDB; a site takes the same three values
(docs/djongo.md).
"""

AUTO_FIELD = "django_mongodb_backend.fields.ObjectIdAutoField"
"""For DEFAULT_AUTO_FIELD."""

APPS = {
    "django.contrib.admin": "vuer_rtc.mongodb.apps.MongoAdminConfig",
    "django.contrib.auth": "vuer_rtc.mongodb.apps.MongoAuthConfig",
    "django.contrib.contenttypes": "vuer_rtc.mongodb.apps.MongoContentTypesConfig",
}
"""What stands in INSTALLED_APPS instead."""

MIGRATION_MODULES = {app: f"vuer_rtc.mongodb.migrations.{app}" for app in ("admin", "auth", "contenttypes")}
