"""What the templates of these apps say of names."""

from django import template

from journal.admin_text import visible

register = template.Library()
register.filter("visible", visible)
