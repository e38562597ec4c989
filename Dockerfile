# The page of `two-look serve` in a container: an unprivileged user, gallery and photos as read-only volumes.
#
#   docker build -t two-look .
#   docker run --rm -p 127.0.0.1:8000:8000 -v "$PWD/gallery:/gallery:ro" -v "$PWD/photos:$PWD/photos:ro" two-look
#
# A gallery remembers where its photos lay when they were indexed: mount them under that same path. Another machine's
# requests need the token that the server prints; `--allow-host NAME` names what the container is reached by.
FROM python:3.11-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY scripts/constraints.txt scripts/
COPY pipeline pipeline
COPY stages stages
COPY artifacts/two_stage artifacts/two_stage
RUN python -m venv /opt/two-look \
    && /opt/two-look/bin/pip install --no-cache-dir --constraint scripts/constraints.txt '.[web]'

FROM python:3.11-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 look
COPY --from=build /opt/two-look /opt/two-look
USER look
WORKDIR /home/look
ENV PATH=/opt/two-look/bin:$PATH PIPELINE_GALLERY=/gallery PYTHONUNBUFFERED=1
VOLUME ["/gallery"]
EXPOSE 8000
ENTRYPOINT ["two-look", "serve", "--host", "0.0.0.0", "--port", "8000"]
