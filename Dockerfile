# The proxy in a container: `docker build -t mcp-proxy-exporter .`, docs/deployment.md has the rest.
#
# Needs nothing of a builder but what every one has: no BuildKit, no shell in the runtime's base.

# Where the packages are put together. It needs Python with venv and pip; no compiler, because
# every package comes as a wheel. Only with COMPILED it needs gcc: python:3.13-bookworm has it.
ARG BUILD_BASE=python:3.13-slim-bookworm
# What runs. It needs the same minor version of Python for the same libc, by the name `python3`, and
# nothing else: an image without shell and package manager will do.
ARG RUNTIME_BASE=${BUILD_BASE}

FROM ${BUILD_BASE} AS build
# pip's own variables, for the length of the build: another index, or a directory of wheels. Wherever
# packages come from, their hashes decide.
ARG PIP_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_NO_INDEX
ARG PIP_TRUSTED_HOST
# 1 compiles the modules on every byte's path, at half their cost; empty leaves them as they are.
ARG COMPILED
ARG NEEDS=${COMPILED:+compile}
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ONLY_BINARY=:all: \
    PIP_REQUIRE_VIRTUALENV=1
WORKDIR /build
RUN ["python3", "-m", "venv", "venv"]
# Before the source: what changes rarely is built once.
COPY requirements/run.txt requirements/
COPY requirements/${NEEDS:-build}.txt requirements/needs.txt
RUN ["venv/bin/pip", "install", "--require-hashes", "-r", "requirements/needs.txt"]
RUN ["venv/bin/pip", "install", "--require-hashes", "-r", "requirements/run.txt", \
     "--target", "/opt/mcp-proxy-exporter"]
COPY pyproject.toml README.md LICENSE ./
COPY grafana/dashboards grafana/dashboards
COPY mcp_proxy_exporter mcp_proxy_exporter
# The compiler reads the types of what is imported.
ENV HATCH_BUILD_HOOK_ENABLE_MYPYC=${COMPILED} \
    PYTHONPATH=${COMPILED:+/opt/mcp-proxy-exporter}
RUN ["venv/bin/pip", "install", "--no-deps", "--no-build-isolation", ".", \
     "--target", "/opt/mcp-proxy-exporter", "--upgrade"]
# Commands for the builder's Python, which may be somewhere else than the runtime's.
RUN ["rm", "-r", "/opt/mcp-proxy-exporter/bin"]
COPY deploy/container/shed deploy/container/shed

FROM ${RUNTIME_BASE}
USER 0:0
# What installs software has no business in a running service.
COPY --from=build /build/deploy/container/shed /tmp/shed
RUN ["python3", "-I", "/tmp/shed"]
COPY --from=build /opt/mcp-proxy-exporter /opt/mcp-proxy-exporter

# Inside a container the loopback is nobody's: listen on all of its interfaces, and let whoever runs
# it decide by published ports and network policies who comes in.
ENV PYTHONPATH=/opt/mcp-proxy-exporter \
    PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MCP_PROXY_EXPORTER__LISTEN=:8080 \
    MCP_PROXY_EXPORTER__ADMIN__LISTEN=:10464
EXPOSE 8080 10464

# A number, so that Kubernetes can tell that it is not root; nobody's in any base.
USER 65532:65532
WORKDIR /
STOPSIGNAL SIGTERM
ENTRYPOINT ["python3", "-m", "mcp_proxy_exporter"]
CMD ["run"]
# Liveness: what restarts an unhealthy container must not do so because it drains.
HEALTHCHECK --interval=15s --timeout=5s --start-period=5s --retries=3 \
    CMD ["python3", "-m", "mcp_proxy_exporter", "healthcheck"]

# Last, so that another revision of the same files takes every layer from the cache.
ARG VERSION=0.1.0
ARG REVISION=unknown
ENV MCP_PROXY_EXPORTER_REVISION=${REVISION}
LABEL org.opencontainers.image.title="mcp-proxy-exporter" \
      org.opencontainers.image.description="Per-tool Prometheus metrics for any MCP server" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
