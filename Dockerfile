# The operator's image: two stages, so that neither pip nor the build tools are in the second.
FROM python:3.11-slim AS build
RUN python3 -m venv /opt/curation
WORKDIR /src
COPY requirements/runtime.txt requirements/runtime.txt
RUN /opt/curation/bin/pip install --no-cache-dir --require-hashes -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
RUN /opt/curation/bin/pip install --no-cache-dir --no-deps .

FROM python:3.11-slim
COPY --from=build /opt/curation /opt/curation
ENV PATH=/opt/curation/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
ENTRYPOINT ["curation-operator"]
CMD ["run"]
