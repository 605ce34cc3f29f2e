"""Harmless values for the variables that real options name, and the files that a project would have."""

from __future__ import annotations

STUB = "http://stub.example"
"""Stands for the address of the HTTP stub, which a run puts in its place."""

_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\\nstand-in\\n-----END OPENSSH PRIVATE KEY-----"

_VALUES = {
    "APP_JSON": "app.json",
    "AWS_BUCKET_URL": "s3://bucket/site",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "CONTAINER_REGISTRY_USERNAME": "somebody",
    "DOCKER_HUB_REGISTRY": "https://registry.hub.docker.com",
    "DOCKER_HUB_REPO": "acme/hello",
    "DOCKER_PORT": "8080",
    "DOCKER_REGISTRY": "registry.example.com",
    "DOCKER_REPO": "acme/hello",
    "DOWNLOADS_BUCKET_URL": "s3://downloads",
    "KUBERNETES_MASTER": "https://kubernetes.example.com",
    "KUBE_ENDPOINT": "https://kubernetes.example.com",
    "MARATHON_URL": STUB,
    "OKE_MASTER": "https://kubernetes.example.com",
    "PORT": "8080",
    "PRIVATE_REGISTRY_PATH": "https://registry.example.com/v2",
    "REPOSITORY": "acme/hello",
    "REPO_REGISTRY": "https://registry.example.com",
    "REPO_REPOSITORY": "acme/hello",
    "SLACK_URL": f"{STUB}/slack",
    "SLACK_WEBHOOK_URL": f"{STUB}/slack",
    "STEP_REGISTRY_URL": STUB,
}


def value_of(name: str) -> str:
    """The value of a variable in a run."""
    if name.endswith("_PRIVATE"):
        return _KEY
    return _VALUES.get(name, name.lower().replace("_", "-"))


PROJECT = {
    "Gemfile": "source 'https://rubygems.org'\n",
    "README.md": "hello\n",
    "_public/index.html": "hello\n",
    "app.json": '{"id": "hello"}\n',
    "artifacts/index.html": "hello\n",
    "artifacts/latest/darwin_amd64/wercker": "program\n",
    "artifacts/latest/linux_amd64/wercker": "program\n",
    "build/index.html": "hello\n",
    "init.sh": "true\n",
    "kubernetes.template.yml": "image: ${WERCKER_GIT_COMMIT}\n",
    "kubernetes/deployment/hello.template.yml": "image: ${WERCKER_GIT_COMMIT}\n",
    "movie-api-task-template.json": '{"commit": "$WERCKER_GIT_COMMIT"}\n',
    "oci-cloud-controller-manager-rbac.yaml": "kind: ClusterRole\n",
    "oci-cloud-controller-manager.yaml": "kind: DaemonSet\n",
    "package.json": '{"name": "hello", "version": "1.2.3"}\n',
    "public/index.html": "hello\n",
    "requirements.txt": "hello\n",
    "run.sh": "true\n",
    "step.yml": "name: hello\nversion: 1.2.3\n",
    "templates/protoc.sh": "echo ${WERCKER_GIT_BRANCH}\n",
}
"""What the projects of these files would have, by path."""
