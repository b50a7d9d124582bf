from django.http import HttpResponse
from django.urls import include, path

from .views import create_document

documents = [
    path("", create_document),
    path("<int:pk>", lambda request, pk: HttpResponse(f"document {pk}"), name="detail"),
]
urlpatterns = [path("documents/", include((documents, "documents")))]
