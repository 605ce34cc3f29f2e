"""What each reason means and what to do about it: the text of docs/reference/reasons.md.

A sentence for the evidence, a sentence for the remedy. A test holds it complete.
"""

from __future__ import annotations

from sentinel.api.reasons import Reason

MEANINGS: dict[Reason, str] = {
    Reason.VALID: "Spec, source, wercker.yml, images and steps are fine.",
    Reason.INVALID_SPEC: "A field of the Build's spec cannot be used. The message names it; submit a new Build.",
    Reason.SOURCE_NOT_FOUND: "The repository, ref or archive is not there, or its address is not one. Check "
    "spec.source; the message lists refs with names like it.",
    Reason.SOURCE_AUTH_FAILED: "The server wants other credentials. Check the Secret that spec.source names.",
    Reason.SOURCE_INVALID: "The archive or repository is broken, unsafe or too large, or the archive's sha256 is not "
    "the one that is asked for.",
    Reason.SOURCE_UNAVAILABLE: "The server did not answer, or broke off, three times.",
    Reason.CONFIG_MISSING: "The project has no wercker.yml. Add one (`sentinel detect`), or set spec.config.",
    Reason.CONFIG_INVALID: "wercker.yml has errors that concern this pipeline. The message quotes the lines; "
    "`sentinel check` finds the same before you push.",
    Reason.PIPELINE_NOT_FOUND: "wercker.yml has no such pipeline. The message lists those it has.",
    Reason.IMAGE_NOT_FOUND: "A registry does not have the box's or a service's image.",
    Reason.IMAGE_AUTH_FAILED: "A registry wants credentials, or others. Check spec.image.pullSecretRefs.",
    Reason.REGISTRY_UNAVAILABLE: "A registry did not answer.",
    Reason.REGISTRY_NOT_ALLOWED: "The operator's settings do not allow images of that registry.",
    Reason.STEP_NOT_FOUND: "A step of the pipeline is not in the registry, or not in that version. Nothing has run.",
    Reason.STEP_INVALID: "A step's archive is broken, unsafe, too large, or changed while the build ran.",
    Reason.SECRET_NOT_FOUND: "A Secret or ConfigMap that the Build names, or a key of it, is not there.",
    Reason.PORT_CONFLICT: "Two services listen on one port; all services of a build share one network.",
    Reason.RESOLVE_LIMIT_EXCEEDED: "Reading the source, wercker.yml, image configurations or steps of the Build took "
    "more memory, time, disk or the like than one Build may. The message names the limit and the operator's setting.",
    Reason.RESOLVER_UNAVAILABLE: "The resolver container of the operator's pod was not reachable, or ended several "
    "times while it worked on the Build. Check its log and its memory limit; submit the Build again.",
    Reason.COMMIT_UNSUPPORTED: "The box cannot be committed with its pod settings, its image or its node.",
    Reason.PARENT_NOT_FOUND: "The Build that spec.parent names is not there.",
    Reason.PARENT_FAILED: "The Build that spec.parent names did not succeed.",
    Reason.READY: "The box answers.",
    Reason.PENDING: "The pod has not started yet, and nothing says why not.",
    Reason.UNSCHEDULABLE: "No node takes the pod; the message is the scheduler's. Waited for until timeouts.pending.",
    Reason.QUOTA_EXCEEDED: "A ResourceQuota of the namespace is used up: the message names the object and the quota. "
    "Waited for until timeouts.pending.",
    Reason.ADMISSION_DENIED: "The API server denied the pod, or another object that the build needs: Pod Security, a "
    "webhook, a LimitRange, or a quota that wants limits stated. The message names the field to set.",
    Reason.SERVICE_ACCOUNT_MISSING: "The service account of spec.pod was not found within 10 s. The default account of "
    "a new namespace is waited for until timeouts.pending.",
    Reason.IMAGE_PULL_FAILED: "The node cannot pull an image; the message is the kubelet's. "
    "Given up after 30 s of failing.",
    Reason.INVALID_IMAGE_NAME: "A name cannot be that of an image.",
    Reason.CONTAINER_CONFIG_INVALID: "A container cannot be made as it is described: a Secret, ConfigMap or user.",
    Reason.CONTAINER_CREATE_FAILED: "The runtime cannot start a container: its entrypoint or a mount.",
    Reason.VOLUME_UNAVAILABLE: "A volume cannot be mounted. Waited for until timeouts.pending.",
    Reason.SANDBOX_FAILED: "The node cannot make the pod's network. Waited for until timeouts.pending.",
    Reason.FETCH_FAILED: "The container that fetches the source ended without a word of its own.",
    Reason.NODE_LOST: "The pod's node has not been ready for a minute.",
    Reason.PASSED: "All went well.",
    Reason.RUNNING: "It runs.",
    Reason.EXIT_CODE: "The step ended with a code other than 0. Its log says why.",
    Reason.OUT_OF_MEMORY: "The kernel killed a process of the step, or the box. Raise "
    "spec.pod.box.resources.limits.memory.",
    Reason.COMMAND_TIMEOUT: "The step took longer than command-timeout.",
    Reason.NO_RESPONSE_TIMEOUT: "The step printed nothing for as long as no-response-timeout.",
    Reason.BUILD_TIMEOUT: "The main steps together took longer than spec.timeouts.build.",
    Reason.CANCELLED: "spec.cancel was set.",
    Reason.SKIPPED: "An earlier step failed, or the box was stopped, so this one did not run.",
    Reason.SHELL_MISSING: "The box has neither bash nor sh, or not the one that its cmd names.",
    Reason.ARCHITECTURE_MISMATCH: "The box's shell does not run on the node's processor.",
    Reason.BOX_TERMINATED: "The box's container ended while the build ran, and its pod was neither evicted nor "
    "deleted: a step stopped process 1 (`kill 1`), or the runtime did.",
    Reason.STORAGE_LIMIT_EXCEEDED: "The build wrote more than an ephemeral-storage limit or an emptyDir's sizeLimit of "
    "its pod allows, and the kubelet evicted the pod. Raise the limit that the message names, or write less.",
    Reason.COMMIT_FAILED: "The box did not become an image; the message is the agent's.",
    Reason.PUSH_FAILED: "The image did not reach its registry; the message is the registry's.",
    Reason.STORE_FAILED: "The object store did not take the output.",
    Reason.OUTPUT_TOO_LARGE: "$WERCKER_OUTPUT_DIR holds more than is stored.",
    Reason.OUTPUT_UNREADABLE: "The box's user may not read a file in $WERCKER_OUTPUT_DIR; the message names it. "
    "Change its mode in the step that makes it, or remove it.",
    Reason.IMAGE_TOO_LARGE: "The box changed more than an image may hold: bytes (a sparse file counts in full), "
    "files, or names. Delete what the image does not need in a step, or list it in spec.image.excludePaths.",
    Reason.POD_EVICTED: "The pod was evicted: its node was low on a resource, was drained or shut down, or a pod of "
    "higher priority took its place. spec.retries allows another attempt.",
    Reason.POD_DELETED: "Somebody deleted the pod.",
    Reason.NODE_DISK_FULL: "The node has no room for the build's logs.",
    Reason.SESSION_LOST: "The box did not answer for five minutes, though its node is ready.",
    Reason.PROTOCOL_MISMATCH: "The pod was made by another release of Sentinel; its boxkit and this operator have no "
    "protocol version in common.",
    Reason.NOT_VERIFIED: "A pod, ConfigMap or Secret under the build's name cannot be proven to be the operator's: its "
    "signature is missing or wrong, it is not the one that was created, or it was changed. The message names it and "
    "says why; nothing was done to it. Look in the audit log for who wrote it. After an upgrade: builds that ran "
    "before it were not signed; submit them again.",
    Reason.AGENT_UNAVAILABLE: "No agent on the pod's node took the commit. Is its DaemonSet running there?",
    Reason.INTERNAL: "A mistake of ours. The operator's log has it; please report it.",
    Reason.COMPLETED: "Nothing more will happen to this Build.",
}
"""A reason → what it means, and what to do."""
