# syntax=docker/dockerfile:1
#
# The one image of every deployment: the Cloud Run job, the local container, the worker.
#
#   docker build --build-arg VERSION=0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" --tag clearyear:0.1.0 .
#   docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/data" --workdir /data clearyear:0.1.0 clearyear demo
#
# Name the base by digest to build on the very same one again: --build-arg PYTHON_IMAGE=python:3.13-slim@sha256:…
ARG PYTHON_IMAGE=python:3.13-slim


# The packages of the lock file, and nothing that changes with our own code.
FROM ${PYTHON_IMAGE} AS locked
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
COPY requirements/run.lock /build/run.lock
# The base image's pip fills the environment from outside: the environment itself needs none.
RUN python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install \
        --no-deps --require-hashes --only-binary :all: --requirement /build/run.lock


# Our own wheel. The build backend, locked too, stays behind in this stage.
FROM ${PYTHON_IMAGE} AS wheel
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements/build.lock ./
RUN pip install --no-deps --require-hashes --only-binary :all: --requirement build.lock
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY flows flows
COPY tasks tasks
RUN pip wheel --no-build-isolation --no-deps --wheel-dir dist .


# What runs. Layers go from what changes least to what changes most: system, lock, our code.
FROM ${PYTHON_IMAGE} AS run

# libexpat1: rasterio's wheel brings GDAL but links the system's expat.
# tini: as PID 1 it passes SIGTERM on and reaps what a killed engine leaves behind.
# No versions: Debian keeps only its newest build of a package, and that is the one with the security fixes.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libexpat1 tini \
    && rm -rf /var/lib/apt/lists/*

# Everybody may write to these folders, so that `docker run --user` works with whoever owns the mounted data:
# numba refuses to load a cache folder it cannot write to, and Prefect keeps its profile under PREFECT_HOME.
RUN groupadd --gid 10001 clearyear \
    && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home \
        --home-dir /opt/clearyear --shell /usr/sbin/nologin clearyear \
    && install --directory --owner=10001 --group=10001 --mode=0777 \
        /opt/clearyear /opt/clearyear/numba-cache /opt/clearyear/prefect

# numba files what it compiled under the processor it was compiled for. Left alone, that is the build machine, and
# a kernel warmed there is compiled again on any other. So the target is fixed to x86-64-v3 (AVX2: Haswell, Zen and
# later).
# NUMBA_CPU_FEATURES must be empty, not absent: absent means the features of the machine at hand.
# For arm64: --build-arg NUMBA_CPU_NAME=generic
ARG NUMBA_CPU_NAME=x86-64-v3
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/opt/clearyear \
    PYTHONUNBUFFERED=1 \
    NUMBA_CACHE_DIR=/opt/clearyear/numba-cache \
    NUMBA_CPU_NAME=${NUMBA_CPU_NAME} \
    NUMBA_CPU_FEATURES="" \
    GDAL_DISABLE_READDIR_ON_OPEN=EMPTY_DIR \
    PREFECT_HOME=/opt/clearyear/prefect \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    DO_NOT_TRACK=1

COPY --from=locked /opt/venv /opt/venv
RUN --mount=type=bind,from=wheel,source=/build/dist,target=/dist \
    pip --python /opt/venv/bin/python install --no-cache-dir --no-deps --no-index /dist/*.whl

# The wheel carries clearyear, flows and tasks, and deployments name a flow by its module
# (flows.median_composite.median_composite): the folders, copied here once more, would be imported instead of the
# wheel, and could differ from it. prefect.yaml is read where `prefect deploy` runs, which is not here.
WORKDIR /opt/clearyear
USER 10001:10001

# Compile the kernels where they will be loaded from (the folder's name is part of numba's key), then prove that
# the image starts. A failure here fails the build instead of the first run.
RUN python -m clearyear.warm \
    && clearyear --version \
    && python -c "import flows.median_composite, rasterio" \
    && chmod -R a+rwX /opt/clearyear

ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="clearyear" \
      org.opencontainers.image.description="A year of cloudy satellite scenes in, one clear picture out, proven complete" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/clearyear/clearyear" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# Exec form all through: a shell in between would swallow signals. A worker that sets only the arguments (Docker,
# Kubernetes) keeps tini; Cloud Run's worker sets the command, which replaces ENTRYPOINT: there Prefect itself is
# PID 1 and handles SIGTERM.
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["clearyear", "--help"]
