# The server on a CPU: docker build -t ccsr . && docker run -p 8765:8765 -v ccsr:/data -e CCSR_TOKEN=... ccsr
# Each RUN of the first stage is a step that tests/test_dockerfile.py runs in a new environment.
# For a build that can be repeated name the base by its digest: --build-arg BASE=python:3.13-slim@sha256:...
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
RUN python -m venv /opt/ccsr
ENV PATH=/opt/ccsr/bin:$PATH
WORKDIR /app
# The CPU build of torch first: the default one brings gigabytes of CUDA, and a change of the source leaves this layer.
COPY constraints.txt ./
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir -c constraints.txt --extra-index-url "$TORCH_INDEX" torch
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY src ./src
RUN pip install --no-cache-dir -c constraints.txt ".[serve]"

FROM ${BASE}
LABEL org.opencontainers.image.title="ccsr" \
      org.opencontainers.image.description="Faithful enlarging of photographs: the web page and the HTTP API" \
      org.opencontainers.image.licenses="Apache-2.0 AND BSD-3-Clause" \
      org.opencontainers.image.version="0.1.0"
COPY --from=build /opt/ccsr /opt/ccsr
# By number, so that an orchestrator can see that it is not root; a folder mounted at /data must belong to it.
RUN useradd --uid 10001 --create-home ccsr && mkdir /data && chown 10001:10001 /data
USER 10001:10001
ENV PATH=/opt/ccsr/bin:$PATH CCSR_HOME=/data CCSR_OFFLINE=1
VOLUME /data
EXPOSE 8765
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8765/healthz', timeout=5)"]
# Open to other machines, so it stops at once where CCSR_TOKEN is not set.
CMD ["ccsr", "serve", "--host", "0.0.0.0", "--data", "/data/serve"]
