from django.shortcuts import redirect

from .models import Document

# As printed in the SDK's documentation.
from .services import immutable


def create_document(request):
    document = Document.objects.create(title=request.POST["title"])

    immutable.actor(str(request.user.id), name=request.user.get_full_name()) \
        .track("document.created", {
            "type": "document",
            "id": str(document.id),
            "name": document.title,
        })

    return redirect("documents:detail", pk=document.pk)
