{{/* What the pods of all processes share. Each template gets a dict: "root" is the chart's scope, "name" the pods' name, "process" the
     name of its values, "secrets" the names of its secrets in the values. */}}

{{- define "ava.labels" -}}
app: {{ .name }}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/part-of: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/version: {{ .root.Values.image.tag | default .root.Chart.AppVersion | quote }}
{{- end }}

{{- define "ava.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* Three quarters of the processes, or of the slots where there is no pool; where nodes are scaled, of the most that may be started. */}}
{{- define "ava.mostOfProcesses" -}}
{{- $nodes := .Values.worker.replicas }}
{{- if ne .Values.worker.autoscaling.kind "none" }}
{{- $nodes = .Values.worker.autoscaling.maxReplicas }}
{{- end }}
{{- $places := .Values.worker.concurrency }}
{{- if not $places }}
{{- $places = mul .Values.worker.slots .Values.worker.slotProcesses }}
{{- end }}
{{- max 1 (div (mul 3 $nodes $places) 4) }}
{{- end }}

{{/* The rows that a replica has among the nodes: one of its pool, and one of each slot process. */}}
{{- define "ava.nodesOfReplica" -}}
{{- $nodes := 0 }}
{{- if .Values.worker.concurrency }}
{{- $nodes = 1 }}
{{- end }}
{{- if .Values.worker.slots }}
{{- $nodes = add $nodes .Values.worker.slotProcesses }}
{{- end }}
{{- $nodes }}
{{- end }}

{{/* The settings that follow from other values. */}}
{{- define "ava.settings" -}}
AVA_HEALTH_PORT: "9100"
AVA_HEALTH_HOST: 0.0.0.0
AVA_DRAIN_SECONDS: {{ .Values.longestTimeoutSeconds | int | quote }}
{{- if not .Values.settings.AVA_TENANT_MAX_RUNNING }}
# The order is exact across tenants too: without this limit a storm of priority 1 of one tenant holds every process.
AVA_TENANT_MAX_RUNNING: {{ include "ava.mostOfProcesses" . | quote }}
{{- end }}
{{- range $name, $value := .Values.settings }}
{{ $name }}: {{ $value | quote }}
{{- end }}
{{- end }}

{{- define "ava.secretVariables" -}}
{{- $values := .root.Values.secrets }}
{{- range $each := .secrets }}
{{- $secret := index $values $each }}
{{- range $key := $secret.keys }}
- { name: {{ $key }}_FILE, value: /etc/ava/secrets/{{ $secret.name }}/{{ $key }} }
{{- end }}
{{- end }}
{{- end }}

{{/* Where a container's settings and secrets come from. */}}
{{- define "ava.environment" -}}
{{- $values := .root.Values.secrets -}}
envFrom:
  - configMapRef: { name: ava-jobs }
  {{- if eq $values.source "environment" }}
  {{- range $each := .secrets }}
  {{- $secret := index $values $each }}
  {{- if $secret.keys }}
  - secretRef: { name: {{ $secret.name }} }
  {{- end }}
  {{- end }}
  {{- else }}
env:
  {{- include "ava.secretVariables" . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "ava.mounts" -}}
volumeMounts:
  - { name: tmp, mountPath: /tmp }
  {{- if .root.Values.certificates }}
  - { name: certificates, mountPath: /etc/ava/certificates, readOnly: true }
  {{- end }}
  {{- include "ava.secretMounts" . }}
{{- end }}

{{- define "ava.secretMounts" -}}
{{- $values := .root.Values.secrets }}
{{- if ne $values.source "environment" }}
{{- range $each := .secrets }}
{{- $secret := index $values $each }}
{{- if $secret.keys }}
  - { name: {{ $each }}, mountPath: /etc/ava/secrets/{{ $secret.name }}, readOnly: true }
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "ava.volumes" -}}
{{- $values := .root.Values.secrets -}}
volumes:
  - { name: tmp, emptyDir: {{ .temporary | default "{}" }} }
  {{- if .root.Values.certificates }}
  - { name: certificates, secret: { secretName: {{ .root.Values.certificates }} } }
  {{- end }}
  {{- range $each := .secrets }}
  {{- $secret := index $values $each }}
  {{- if not $secret.keys }}
  {{- else if eq $values.source "files" }}
  # 288 is 0440: the pod's group may read.
  - { name: {{ $each }}, secret: { secretName: {{ $secret.name }}, defaultMode: 288 } }
  {{- else if eq $values.source "csi" }}
  - name: {{ $each }}
    csi: { driver: secrets-store.csi.k8s.io, readOnly: true, volumeAttributes: { secretProviderClass: {{ $secret.name }} } }
  {{- end }}
  {{- end }}
{{- end }}

{{/* What every pod's specification begins with: the restricted Pod Security Standard. */}}
{{- define "ava.pod" -}}
serviceAccountName: {{ .root.Values.serviceAccount }}
automountServiceAccountToken: false
securityContext: { runAsNonRoot: true, runAsUser: 10001, fsGroup: 10001, seccompProfile: { type: RuntimeDefault } }
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- end }}

{{- define "ava.container" -}}
image: {{ include "ava.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext: { readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: { drop: [ALL] } }
{{- end }}

{{/* The head of a Deployment, up to its containers. One machine that is lost takes half of the pods, not all. */}}
{{- define "ava.deployment" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .name }}
  labels:
    {{- include "ava.labels" . | nindent 4 }}
spec:
  {{- if not .scaled }}
  replicas: {{ (index .root.Values .process).replicas }}
  {{- end }}
  selector: { matchLabels: { app: {{ .name }} } }
  template:
    metadata:
      labels:
        {{- include "ava.labels" . | nindent 8 }}
      # New settings restart the pods.
      annotations: { checksum/settings: {{ include "ava.settings" .root | sha256sum }} }
    spec:
      {{- include "ava.pod" . | nindent 6 }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector: { matchLabels: { app: {{ .name }} } }
{{- end }}

{{- define "ava.budget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .name }}
  labels:
    {{- include "ava.labels" . | nindent 4 }}
spec:
  minAvailable: 1
  selector: { matchLabels: { app: {{ .name }} } }
{{- end }}

{{- define "ava.byCpu" -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ .name }}
  labels:
    {{- include "ava.labels" . | nindent 4 }}
spec:
  scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: {{ .name }} }
  minReplicas: {{ (index .root.Values .process).replicas }}
  maxReplicas: {{ (index .root.Values .process).autoscaling.maxReplicas }}
  metrics:
    - type: Resource
      resource: { name: cpu, target: { type: Utilization, averageUtilization: {{ (index .root.Values .process).autoscaling.cpuPercent }} } }
{{- end }}
