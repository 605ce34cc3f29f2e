{{- define "sentinel.labels" -}}
app.kubernetes.io/name: sentinel
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "sentinel.selector" -}}
app.kubernetes.io/name: sentinel
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "sentinel.name" -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}{{ else if contains "sentinel" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-sentinel" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "sentinel.image" -}}
{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "sentinel.commonEnv" -}}
- {name: SENTINEL_LOG_LEVEL, value: {{ .Values.log.level | quote }}}
- {name: SENTINEL_LOG_FORMAT, value: {{ .Values.log.format | quote }}}
- name: SENTINEL_POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: SENTINEL_POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: SENTINEL_NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
- {name: SENTINEL_NAMESPACES, value: {{ .Values.namespaces | toJson | quote }}}
{{- with .Values.instance }}
- {name: SENTINEL_INSTANCE, value: {{ . | quote }}}
{{- end }}
- {name: SENTINEL_NETWORK__CLUSTER_RANGES, value: {{ .Values.network.clusterRanges | toJson | quote }}}
- {name: SENTINEL_NETWORK__ALLOWED, value: {{ .Values.network.allowed | toJson | quote }}}
- {name: SENTINEL_NETWORK__PLAIN_HTTP, value: {{ .Values.network.plainHttp | toJson | quote }}}
- {name: SENTINEL_IMAGES__PREFIX, value: {{ .Values.images.prefix | quote }}}
- {name: SENTINEL_IMAGES__ALLOWED_REGISTRIES, value: {{ .Values.images.allowedRegistries | toJson | quote }}}
- {name: SENTINEL_IMAGES__ALLOWED_REPOSITORIES, value: {{ .Values.images.allowedRepositories | toJson | quote }}}
- {name: SENTINEL_IMAGES__INSECURE_REGISTRIES, value: {{ .Values.images.insecureRegistries | toJson | quote }}}
{{- with .Values.images.mirrors }}
- {name: SENTINEL_IMAGES__MIRRORS, value: {{ . | toJson | quote }}}
{{- end }}
- {name: SENTINEL_IMAGES__DEFAULT_REGISTRY, value: {{ .Values.images.defaultRegistry | quote }}}
{{- end }}

{{/* What operator and resolver must agree on: where they meet, and what one Build may take. */}}
{{- define "sentinel.resolverEnv" -}}
- {name: SENTINEL_RESOLVER__SOCKET, value: /run/sentinel/resolver.sock}
- {name: SENTINEL_RESOLVER__MEMORY_MIB, value: {{ .Values.resolver.memoryMiB | toJson | quote }}}
- {name: SENTINEL_RESOLVER__CPU_SECONDS, value: {{ .Values.resolver.cpuSeconds | toJson | quote }}}
- {name: SENTINEL_RESOLVER__WALL_SECONDS, value: {{ .Values.resolver.wallSeconds | toJson | quote }}}
- {name: SENTINEL_RESOLVER__DISK_MIB, value: {{ .Values.resolver.diskMiB | toJson | quote }}}
- {name: SENTINEL_RESOLVER__FILES, value: {{ .Values.resolver.files | toJson | quote }}}
- {name: SENTINEL_RESOLVER__PROCESSES, value: {{ .Values.resolver.processes | toJson | quote }}}
- {name: SENTINEL_RESOLVER__ANSWER_KIB, value: {{ .Values.resolver.answerKiB | toJson | quote }}}
{{- end }}

{{- /* Rules called `name` for the service account `account` (default: `name`): everywhere, or with .Values.namespaces only in
those. */ -}}
{{- define "sentinel.rights" -}}
{{- $root := .root }}
{{- $name := .name }}
{{- $account := .account | default .name }}
{{- $rules := .rules }}
{{- range $namespace := (.root.Values.namespaces | default (list "")) }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ if $namespace }}Role{{ else }}ClusterRole{{ end }}
metadata:
  name: {{ $name }}
  {{- with $namespace }}
  namespace: {{ . }}
  {{- end }}
  labels: {{- include "sentinel.labels" $root | nindent 4 }}
rules:
  {{- $rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ if $namespace }}RoleBinding{{ else }}ClusterRoleBinding{{ end }}
metadata:
  name: {{ $name }}
  {{- with $namespace }}
  namespace: {{ . }}
  {{- end }}
  labels: {{- include "sentinel.labels" $root | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: {{ if $namespace }}Role{{ else }}ClusterRole{{ end }}, name: {{ $name }}}
subjects:
  - {kind: ServiceAccount, name: {{ $account }}, namespace: {{ $root.Release.Namespace }}}
{{- end }}
{{- end }}

{{/* Whether anything is reported anywhere: "true" or empty. */}}
{{- define "sentinel.reports" -}}
{{- with .Values.reports }}
{{- if or .werckerAPI.url .cloudEvents.url .commitStatuses .namespaceSecrets }}true{{ end }}
{{- end }}
{{- end }}

{{/* Whether the store is a directory with a server of ours: "true" or empty. */}}
{{- define "sentinel.directoryStore" -}}
{{- $given := list }}
{{- range $each := list .Values.store.volume.size .Values.store.volume.existingClaim .Values.store.volume.emptyDir .Values.store.path }}
{{- if $each }}{{ $given = append $given $each }}{{ end }}
{{- end }}
{{- if and $given .Values.store.bucket }}{{ fail "store.bucket and store.volume or store.path are both set: choose one store" }}{{ end }}
{{- if gt (len $given) 1 }}{{ fail "set one of store.volume.size, store.volume.existingClaim, store.volume.emptyDir and store.path" }}{{ end }}
{{- if $given }}true{{ end }}
{{- end }}

{{- define "sentinel.storeURL" -}}
{{ if .Values.store.server.tlsSecret }}https{{ else }}http{{ end }}://{{ include "sentinel.name" . }}-store.{{ .Release.Namespace }}.svc:8080
{{- end }}

{{/* The key of a directory store. The operator makes its Secret; containers wait for it. */}}
{{- define "sentinel.storeKeyEnv" -}}
- name: SENTINEL_STORE__KEY
  valueFrom: {secretKeyRef: {name: {{ include "sentinel.name" . }}-store-key, key: current}}
{{- end }}

{{/* Whether the results API is served: "true" or empty. Without a store there is nothing to serve. */}}
{{- define "sentinel.results" -}}
{{- if and .Values.results.enabled (or .Values.store.bucket (include "sentinel.directoryStore" .)) }}true{{ end }}
{{- end }}

{{- define "sentinel.storeEnv" -}}
- {name: SENTINEL_STORE__PREFIX, value: {{ .Values.store.prefix | quote }}}
{{- if include "sentinel.directoryStore" . }}
- {name: SENTINEL_STORE__URL, value: {{ include "sentinel.storeURL" . | quote }}}
{{- else }}
- {name: SENTINEL_STORE__BUCKET, value: {{ .Values.store.bucket | quote }}}
- {name: SENTINEL_STORE__ENDPOINT, value: {{ .Values.store.endpoint | quote }}}
- {name: SENTINEL_STORE__REGION, value: {{ .Values.store.region | quote }}}
- {name: SENTINEL_STORE__ADDRESSING_STYLE, value: {{ .Values.store.addressingStyle | quote }}}
- {name: SENTINEL_STORE__SSE, value: {{ .Values.store.sse | quote }}}
- {name: SENTINEL_STORE__SSE_KMS_KEY_ID, value: {{ .Values.store.sseKmsKeyId | quote }}}
{{- with .Values.store.existingSecret }}
- name: SENTINEL_STORE__ACCESS_KEY_ID
  valueFrom: {secretKeyRef: {name: {{ . }}, key: AWS_ACCESS_KEY_ID}}
- name: SENTINEL_STORE__SECRET_ACCESS_KEY
  valueFrom: {secretKeyRef: {name: {{ . }}, key: AWS_SECRET_ACCESS_KEY}}
{{- end }}
{{- end }}
{{- if .Values.store.caConfigMap }}
- name: SENTINEL_STORE__CA
  valueFrom: {configMapKeyRef: {name: {{ .Values.store.caConfigMap }}, key: ca.crt}}
{{- else if .Values.store.ca }}
- {name: SENTINEL_STORE__CA, value: {{ .Values.store.ca | quote }}}
{{- end }}
{{- end }}

{{- /* The authorities of your own. */ -}}
{{- define "sentinel.caEnv" -}}
{{- if .Values.caConfigMap }}
- name: SENTINEL_CA
  valueFrom: {configMapKeyRef: {name: {{ .Values.caConfigMap }}, key: ca.crt}}
{{- else if .Values.ca }}
- {name: SENTINEL_CA, value: {{ .Values.ca | quote }}}
{{- end }}
{{- end }}

{{- /* The proxies of a container of ours, as variables that programs know. `extraEnv` is the container's own, whose variables
go before them. Metadata services are link-local: AWS's libraries ask them for credentials. */ -}}
{{- define "sentinel.proxyEnv" -}}
{{- $own := list }}
{{- range .extraEnv }}{{ $own = append $own (lower .name) }}{{ end }}
{{- $proxy := .root.Values.proxy }}
{{- range $scheme := list "http" "https" }}
{{- $name := printf "%s_proxy" $scheme }}
{{- if has $name $own }}
{{- else if $proxy.existingSecret }}
- name: {{ $name }}
  valueFrom: {secretKeyRef: {name: {{ $proxy.existingSecret }}, key: {{ $scheme }}, optional: true}}
{{- else }}
{{- with get $proxy $scheme }}
- {name: {{ $name }}, value: {{ . | quote }}}
{{- end }}
{{- end }}
{{- end }}
{{- if and (or $proxy.existingSecret $proxy.http $proxy.https) (not (has "no_proxy" $own)) }}
{{- $metadata := list "localhost" "127.0.0.1" "169.254.169.254" "169.254.170.2" "169.254.170.23" }}
- {name: no_proxy, value: {{ concat $metadata $proxy.noProxy | join "," | quote }}}
{{- end }}
{{- end }}

{{- define "sentinel.sourceCAEnv" -}}
{{- if .Values.source.caConfigMap -}}
- name: SENTINEL_SOURCE__CA
  valueFrom: {configMapKeyRef: {name: {{ .Values.source.caConfigMap }}, key: ca.crt}}
{{- else if .Values.source.ca -}}
- {name: SENTINEL_SOURCE__CA, value: {{ .Values.source.ca | quote }}}
{{- end }}
{{- end }}

{{/* How many finished Builds stay; nothing where there is no limit, which 0 is not. */}}
{{- define "sentinel.historyEnv" -}}
{{- with .Values.retention }}
{{- if not (kindIs "invalid" .successfulBuildsHistoryLimit) }}
- {name: SENTINEL_RETENTION__SUCCESSFUL_BUILDS_HISTORY_LIMIT, value: {{ .successfulBuildsHistoryLimit | toJson | quote }}}
{{- end }}
{{- if not (kindIs "invalid" .failedBuildsHistoryLimit) }}
- {name: SENTINEL_RETENTION__FAILED_BUILDS_HISTORY_LIMIT, value: {{ .failedBuildsHistoryLimit | toJson | quote }}}
{{- end }}
{{- end }}
{{- end }}

{{- /*
What every workload of the chart is made of. `root` is the chart's root context, `component` the workload's name in labels
(operator, agent, reporter, …), `values` its section of the values: see "Of every workload" in values.yaml.
*/}}

{{- /* metadata.labels and annotations of a pod. `annotations` are the chart's own. */ -}}
{{- define "sentinel.podMetadata" -}}
{{- $selector := include "sentinel.selector" . | fromYaml }}
labels: {{- toYaml (merge (dict) $selector (.values.podLabels | default dict) .root.Values.commonLabels) | nindent 2 }}
{{- with merge (dict) (.values.podAnnotations | default dict) (.annotations | default dict) }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* Where a pod runs, and how it finds its way: the part of a pod's spec that users set. */ -}}
{{- define "sentinel.scheduling" -}}
{{- $root := . }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with merge (dict) (.values.nodeSelector | default dict) (dict "kubernetes.io/os" "linux") }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  - {{- toYaml (merge (dict) . (dict "labelSelector" (dict "matchLabels" (include "sentinel.selector" $root | fromYaml)))) | nindent 4 }}
  {{- end }}
{{- end }}
{{- with .values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with .values.dnsConfig }}
dnsConfig: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.hostAliases }}
hostAliases: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.podSecurityContext }}
securityContext: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* The name of a workload's service account. */ -}}
{{- define "sentinel.account" -}}
{{- .values.serviceAccount.name | default (printf "%s-%s" (include "sentinel.name" .root) .component) }}
{{- end }}

{{- /* A workload's service account, unless it is one that exists. */ -}}
{{- define "sentinel.serviceAccount" -}}
{{- if .values.serviceAccount.create }}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "sentinel.account" . }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "sentinel.labels" .root | nindent 4 }}
  {{- with .values.serviceAccount.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{- /* A probe: `handler` is what is asked, `defaults` and then `probe` of the values say how often. */ -}}
{{- define "sentinel.probe" -}}
{{- toYaml (merge (dict) .handler (.probe | default dict) .defaults) }}
{{- end }}

{{- /* startupProbe, livenessProbe and readinessProbe of a container with the port `health`. On a busy node a start may
take minutes, and an answer seconds. */ -}}
{{- define "sentinel.httpProbes" -}}
{{- $live := dict "httpGet" (dict "path" "/livez" "port" "health") }}
{{- $ready := dict "httpGet" (dict "path" "/readyz" "port" "health") }}
startupProbe:
  {{- include "sentinel.probe" (dict "handler" $live "probe" .values.startupProbe "defaults" (dict "periodSeconds" 1 "timeoutSeconds" 5 "failureThreshold" 300)) | nindent 2 }}
livenessProbe:
  {{- include "sentinel.probe" (dict "handler" $live "probe" .values.livenessProbe "defaults" (dict "periodSeconds" 20 "timeoutSeconds" 5)) | nindent 2 }}
readinessProbe:
  {{- include "sentinel.probe" (dict "handler" $ready "probe" .values.readinessProbe "defaults" (dict "periodSeconds" 5 "timeoutSeconds" 5)) | nindent 2 }}
{{- end }}
