# One image for every process kind: `docker run ava-jobs api --host 0.0.0.0`, `… worker`, `… dispatcher`, `… db upgrade`.

# docker-compose.yml names the same one. `docker buildx imagetools inspect python:3.13-slim` prints the digest of today.
ARG PYTHON_IMAGE=python:3.13-slim@sha256:9662417aace5ae7b8e2609cce472b72a8958e134ba372808abe9cc1a0c0125e6

FROM ${PYTHON_IMAGE} AS build
RUN python -m venv /opt/ava
ENV PATH=/opt/ava/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
# Each package by its hash, and the two of this project without a look at the network; ava-celery needs ava-jobs alone.
COPY requirements.lock .
RUN pip install --require-hashes -r requirements.lock
COPY . .
# `ava --version` names it; the image has no checkout.
ARG SOURCE_COMMIT=
RUN pip install --no-deps --no-build-isolation . ./clients/celery && pip uninstall --yes setuptools

FROM ${PYTHON_IMAGE}
RUN apt-get update && apt-get install -y --no-install-recommends tini && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin ava
COPY --from=build /opt/ava /opt/ava
ENV PATH=/opt/ava/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
# Mount your handler modules here and name them in AVA_HANDLERS.
WORKDIR /handlers
EXPOSE 8080
ARG SOURCE_COMMIT=
LABEL org.opencontainers.image.revision=${SOURCE_COMMIT}
# tini forwards signals and reaps the processes that handlers leave behind.
ENTRYPOINT ["tini", "--", "ava"]
CMD ["--help"]
