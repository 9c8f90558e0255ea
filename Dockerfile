# One image for every process kind: `docker run ava-jobs api --host 0.0.0.0`, `… worker`, `… dispatcher`, `… db upgrade`.

# Pin it by digest: --build-arg PYTHON_IMAGE=python:3.13-slim@sha256:…
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
RUN python -m venv /opt/ava
ENV PATH=/opt/ava/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
# Each package by its hash, and this project without a look at the network.
COPY requirements.lock .
RUN pip install --require-hashes -r requirements.lock
COPY . .
RUN pip install --no-deps --no-build-isolation . && pip uninstall --yes setuptools

FROM ${PYTHON_IMAGE}
RUN apt-get update && apt-get install -y --no-install-recommends tini && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin ava
COPY --from=build /opt/ava /opt/ava
ENV PATH=/opt/ava/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
# Mount your handler modules here and name them in AVA_HANDLERS.
WORKDIR /handlers
EXPOSE 8080
# tini forwards signals and reaps the processes that handlers leave behind.
ENTRYPOINT ["tini", "--", "ava"]
CMD ["--help"]
