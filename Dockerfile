# One image for all of hostpulse: publisher, consumer and the one-shots of compose.yaml.

FROM python:3.13-slim AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /opt/hostpulse
# Dependencies first: they change less often than the code. A wheel needs no compiler, and there is none.
COPY pyproject.toml ./
RUN python -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; print(*project["dependencies"], *project["optional-dependencies"]["notify"], sep="\n")' > /tmp/dependencies \
 && pip --python /opt/hostpulse install --quiet --only-binary :all: --requirement /tmp/dependencies
COPY . .
RUN pip --python /opt/hostpulse install --quiet --no-deps . \
 # The root file system is read-only at run time: what is not compiled now would be compiled at every start.
 && python -m compileall -q -j 0 /opt/hostpulse/lib

FROM python:3.13-slim
LABEL org.opencontainers.image.title="hostpulse" \
      org.opencontainers.image.description="A machine's vital signs over MQTT, with their history." \
      org.opencontainers.image.documentation="docs/compose.md"
RUN groupadd --gid 10001 hostpulse \
 && useradd --uid 10001 --gid hostpulse --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin hostpulse \
 && install -d -o hostpulse -g hostpulse -m 0700 /var/lib/hostpulse
COPY --from=build /opt/hostpulse /opt/hostpulse
ENV PATH=/opt/hostpulse/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOSTPULSE_DATA_DIR=/var/lib/hostpulse \
    HOSTPULSE_HEARTBEAT_FILE=/tmp/hostpulse.heartbeat
USER hostpulse
# The service renews the file every 10 seconds while it is connected and stores what comes.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["sh", "-c", "test -n \"$(find /tmp/hostpulse.heartbeat -mmin -1 2>/dev/null)\""]
ENTRYPOINT ["hostpulse"]
CMD ["--help"]
