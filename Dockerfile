# syntax=docker/dockerfile:1
FROM python:3.12-slim-bookworm AS build
# A compiler of any release will do, and Debian keeps only one.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY pyproject.toml constraints.txt setup.py README.md ./
COPY gateway ./gateway
RUN python -m venv tools \
 && tools/bin/pip install --no-cache-dir --constraint constraints.txt '.[compile]' \
 && COMPILE_GATEWAY=1 tools/bin/pip wheel --no-build-isolation --no-deps --wheel-dir dist . \
 && python -m venv /opt/gateway \
 && /opt/gateway/bin/pip install --no-cache-dir --constraint constraints.txt dist/*.whl

FROM python:3.12-slim-bookworm
RUN useradd --uid 10001 --create-home --home-dir /var/lib/gateway gateway
COPY --from=build /opt/gateway /opt/gateway
ENV PATH=/opt/gateway/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
WORKDIR /var/lib/gateway
VOLUME ["/var/lib/gateway"]
EXPOSE 8001 8002
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["gateway", "probe", "--url", "127.0.0.1:8001"]
ENTRYPOINT ["gateway"]
CMD ["serve", "--host", "0.0.0.0", "--admin-host", "0.0.0.0", "--models", "/models", "--policies", "/policies", "--data", "/var/lib/gateway"]
