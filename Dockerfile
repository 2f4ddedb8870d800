# Two images: `services` runs every Python process, `infra` the Kafka broker and the Connect worker with Debezium.

FROM python:3.11-slim-bookworm AS environment
RUN pip install --no-cache-dir uv
ENV UV_PROJECT_ENVIRONMENT=/opt/surge/venv UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
WORKDIR /opt/surge
COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-dev

FROM python:3.11-slim-bookworm AS services
RUN useradd --system --uid 10001 --home-dir /opt/surge surge && install -d -o surge /var/lib/surge /var/lib/surge/data \
      /var/lib/surge/dagster /var/lib/surge/docs
WORKDIR /opt/surge
COPY --from=environment /opt/surge/venv venv
COPY contracts contracts
COPY kit kit
COPY oltp oltp
COPY sagas sagas
COPY cdc cdc
COPY seed seed
COPY audit audit
COPY dbt_project dbt_project
COPY orchestration orchestration
COPY stack stack
ENV PATH=/opt/surge/venv/bin:$PATH PYTHONPATH=/opt/surge PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 MALLOC_ARENA_MAX=2
USER surge

FROM maven:3.9-eclipse-temurin-17 AS jars
COPY stack/infra /build
RUN mvn -B -q -f /build/pom.xml package -Djars=/jars && sh /build/connect/build.sh /build/connect /jars

FROM debian:bookworm-slim AS infra
RUN apt-get update \
 && apt-get install -y --no-install-recommends openjdk-17-jre-headless curl \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --home-dir /opt/surge surge \
 && install -d -o surge /var/lib/kafka
COPY --from=jars /jars/kafka /opt/surge/jars/kafka
COPY --from=jars /jars/plugins /opt/surge/jars/plugins
COPY stack/infra/log4j2.xml stack/infra/start-java.sh /opt/surge/
USER surge
ENTRYPOINT ["/opt/surge/start-java.sh"]
