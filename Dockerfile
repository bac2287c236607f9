# An image with the commands worker, dashboard, notify, record and inspect:
#
#   docker build -t latentwatch .
#
# None of these needs torch, by far the largest package, so the image does not have it. The demo also
# runs a model and has its own target:
#
#   docker build -t latentwatch-demo --target demo .
#
# On x86-64, torch from PyPI brings 2.5 GB of GPU libraries that the demo does not use. To avoid
# them, give PyTorch's index of CPU wheels (see its installation page):
#
#   docker build -t latentwatch-demo --target demo --build-arg PIP_EXTRA_INDEX_URL=<index> .

FROM python:3.11-slim-trixie AS build
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/latentwatch
ENV PATH=/opt/latentwatch/bin:$PATH
WORKDIR /build
# dependencies first: they rarely change
COPY pyproject.toml constraints.txt deploy/docker/requirements.py ./
RUN python requirements.py --without torch metrics notify dashboard record > service.txt \
 && pip install --constraint constraints.txt --requirement service.txt
COPY README.md LICENSE ./
COPY src ./src
COPY detector ./detector
COPY producers ./producers
COPY stream ./stream
COPY chaos ./chaos
COPY lab ./lab
RUN pip install --no-deps .

FROM build AS build-demo
ARG PIP_EXTRA_INDEX_URL=""
RUN python requirements.py demo > demo.txt \
 && pip install --constraint constraints.txt --requirement demo.txt

FROM python:3.11-slim-trixie AS runtime
# A user without shell, home and privileges. Volumes that are mounted at the two folders take on their
# owner.
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin latentwatch \
 && install --directory --owner latentwatch --mode 0700 /var/lib/latentwatch \
 && install --directory --owner latentwatch --mode 0755 /demo
ENV PATH=/opt/latentwatch/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OMP_NUM_THREADS=1
USER 10001
WORKDIR /tmp
STOPSIGNAL SIGTERM
ENTRYPOINT ["latentwatch"]
CMD ["worker"]

FROM runtime AS demo
COPY --from=build-demo /opt/latentwatch /opt/latentwatch

FROM runtime AS service
COPY --from=build /opt/latentwatch /opt/latentwatch
