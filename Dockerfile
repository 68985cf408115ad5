# One image for the scorer and for the jobs around it. Small is not the aim; that nothing in it runs as root, and that every package in it is
# the one of requirements.run.lock, by its hash, is.
FROM python:3.11.13-slim-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev
WORKDIR /src
COPY requirements.run.lock ./
RUN python -m venv /opt/lockstep
RUN /opt/lockstep/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --no-deps -r requirements.run.lock
COPY pyproject.toml README.md build_core.py ./
COPY feature_repo feature_repo
COPY protos protos
COPY lockstep lockstep
COPY lockstep_client lockstep_client
COPY serving serving
COPY training training
COPY benchmarks benchmarks
RUN /opt/lockstep/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps .

FROM python:3.11.13-slim-bookworm
RUN useradd --uid 10001 --create-home --home-dir /var/lib/lockstep lockstep
COPY --from=build /opt/lockstep /opt/lockstep
COPY feature_repo /srv/lockstep/feature_repo
COPY deploy/job.sh /srv/lockstep/job.sh
ENV PATH=/opt/lockstep/bin:$PATH LOCKSTEP_HOME=/var/lib/lockstep LOCKSTEP_REPO=/srv/lockstep/feature_repo PYTHONUNBUFFERED=1
USER 10001
WORKDIR /srv/lockstep
EXPOSE 50051 9464
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9464/readyz', timeout=2)"]
ENTRYPOINT ["lockstep"]
CMD ["serve", "--host", "0.0.0.0"]
