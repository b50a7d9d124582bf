"""Makes the site's tables and two users, and serves it on a port of its own."""

import os
from wsgiref.simple_server import make_server

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"

import django
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application

django.setup()
call_command("migrate", run_syncdb=True, verbosity=0)

from django.contrib.auth.models import User

User.objects.create(id=42, username="sarah", first_name="Sarah", last_name="Chen")
User.objects.create(id=43, username="nameless")
with make_server("127.0.0.1", 0, get_wsgi_application()) as server:
    print(f"Running on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
