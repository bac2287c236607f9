# The command `latentwatch` with what a worker needs (neither demo nor tests).
#
#   docker build -t latentwatch .
#
# PyPI's torch brings some 2.5 GB of GPU libraries that a worker does not use. To leave them out,
# give the address of PyTorch's index of CPU wheels (see its installation page):
#
#   docker build -t latentwatch --build-arg PIP_EXTRA_INDEX_URL=<index> .
FROM python:3.11-slim

ARG PIP_EXTRA_INDEX_URL=""
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OMP_NUM_THREADS=1

WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY detector ./detector
COPY producers ./producers
COPY stream ./stream
RUN pip install --constraint constraints.txt '.[metrics]'

# No shell, no home, no rights: it needs none to read a topic and write another.
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin latentwatch
USER 10001
WORKDIR /tmp

STOPSIGNAL SIGTERM
ENTRYPOINT ["latentwatch"]
CMD ["worker"]
