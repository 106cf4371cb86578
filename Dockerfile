# The server on a CPU: docker build -t ccsr . && docker run -p 8765:8765 -v ccsr:/data -e CCSR_TOKEN=... ccsr
# Each RUN is a step that tests/test_dockerfile.py runs in a new environment.
FROM python:3.13-slim

WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src

# The CPU build of torch first: the default one brings gigabytes of CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir -c constraints.txt --extra-index-url "$TORCH_INDEX" torch
RUN pip install --no-cache-dir -c constraints.txt ".[serve]"

RUN useradd --create-home ccsr && mkdir /data && chown ccsr /data
USER ccsr
ENV CCSR_HOME=/data CCSR_OFFLINE=1
VOLUME /data
EXPOSE 8765
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8765/healthz', timeout=5)"]
# Open to other machines, so it stops at once where CCSR_TOKEN is not set.
CMD ["ccsr", "serve", "--host", "0.0.0.0", "--data", "/data/serve"]
