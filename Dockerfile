# The operator's image: an environment made in a first stage, and nothing else, on top of the base image.
#   docker build --build-arg BASE=python:3.11-slim@sha256:<digest> -t registry.example.com/curation-operator:0.1.0 .
# The base is named by digest, so that a build tomorrow is the build of today; docs/install.md says how to find one.
ARG BASE
FROM ${BASE} AS build
ARG BASE
# For tests alone, on a stand-in that no registry has: ALLOW_TAG=1.
ARG ALLOW_TAG=
RUN case "${BASE}${ALLOW_TAG:+@sha256:}" in *@sha256:*) ;; \
      *) echo "BASE=${BASE} names no digest; give --build-arg BASE=NAME@sha256:DIGEST (docs/install.md)" >&2; exit 1 ;; \
    esac
RUN python3 -m venv --without-pip /opt/curation
WORKDIR /src
COPY requirements/runtime.txt requirements/build.txt requirements/
# Every file that is installed, the build's tools too, has its hash in the repository; what has none is not built here,
# since a build would fetch tools of its own.
RUN python3 -m pip --python /opt/curation install --no-cache-dir --only-binary=:all: --require-hashes \
      -r requirements/runtime.txt
RUN python3 -m venv /opt/build && /opt/build/bin/pip install --no-cache-dir --only-binary=:all: --require-hashes \
      -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
RUN /opt/build/bin/pip wheel --no-cache-dir --no-index --no-deps --no-build-isolation --wheel-dir /opt/wheels . \
    && python3 -m pip --python /opt/curation install --no-cache-dir --no-index --no-deps /opt/wheels/*.whl

# The session service of the demo, to try the operator with (manifests/samples/session-service). Nothing for real work.
#   docker build --target sessions --build-arg BASE=... -t registry.example.com/curation-sessions:0.1.0 .
FROM ${BASE} AS sessions
COPY --from=build /opt/curation /opt/curation
COPY testing/__init__.py /srv/testing/
COPY testing/sessions /srv/testing/sessions
ENV PATH=/opt/curation/bin:$PATH PYTHONDONTWRITEBYTECODE=1
WORKDIR /srv
USER 65532:65532
ENTRYPOINT ["python", "-m", "testing.sessions"]

FROM ${BASE}
# Official images have removed what Python has compiled of its own library, and here nobody can write it: every worker,
# and every pod of a guest, would compile it anew.
RUN python3 -m compileall -q -x '/(test|tests|idlelib|tkinter|lib2to3|site-packages|dist-packages)/' \
      "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
COPY --from=build /opt/curation /opt/curation
ENV PATH=/opt/curation/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
ENTRYPOINT ["curation-operator"]
CMD ["run"]
