# The operator's image: an environment made in a first stage, and nothing else, on top of the base image.
FROM python:3.11-slim AS build
RUN python3 -m venv --without-pip /opt/curation
WORKDIR /src
COPY requirements/runtime.txt requirements/runtime.txt
RUN python3 -m pip --python /opt/curation install --no-cache-dir --require-hashes -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
RUN python3 -m pip --python /opt/curation install --no-cache-dir --no-deps .

FROM python:3.11-slim
COPY --from=build /opt/curation /opt/curation
ENV PATH=/opt/curation/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
ENTRYPOINT ["curation-operator"]
CMD ["run"]
