"""Whether a user may read a Build's results: a SubjectAccessReview, so the cluster's own rules decide.

The API server has authorized the request before it forwarded it. It is checked again, as in every aggregated API, so
that one mistake on the way here is not enough.
"""

from __future__ import annotations

from sentinel.kube.client import Kube
from sentinel.kube.resources import RESULTS, SUBJECT_ACCESS_REVIEWS
from sentinel.results.answers import Refusal
from sentinel.results.frontproxy import Caller


async def check_access(
    kube: Kube, caller: Caller, *, namespace: str, name: str, subresource: str
) -> None:
    """Raises Refusal 403, and ApiError where the API server does not answer."""
    body = {
        "apiVersion": SUBJECT_ACCESS_REVIEWS.api_version,
        "kind": "SubjectAccessReview",
        "metadata": {},
        "spec": {
            "user": caller.user,
            "uid": caller.uid,
            "groups": list(caller.groups),
            "extra": {key: list(values) for key, values in caller.extra.items()},
            "resourceAttributes": {
                "verb": "get",
                "group": RESULTS.group,
                "version": RESULTS.version,
                "resource": RESULTS.plural,
                "subresource": subresource,
                "namespace": namespace,
                "name": name,
            },
        },
    }
    answer = await kube.create(SUBJECT_ACCESS_REVIEWS, body)
    status = answer.get("status") or {}
    if status.get("allowed") is True and not status.get("denied"):
        return
    raise Refusal(
        403,
        f'{RESULTS.plural}.{RESULTS.group} "{name}" is forbidden: User "{caller.user}" cannot get resource '
        f'"{RESULTS.plural}/{subresource}" in API group "{RESULTS.group}" in the namespace "{namespace}"',
        name=name,
    )
