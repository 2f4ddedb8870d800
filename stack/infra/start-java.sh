#!/bin/sh
# start-java.sh MAIN PROPERTIES: becomes a Kafka broker or a Connect worker in a container. JVM options in JAVA_OPTS.
# A broker's log directory is formatted at the first start, with CLUSTER_ID. Without room there it waits: it would take a
# full disk for a corrupt log, and empty that (see stack/start_kafka.py).
set -eu
main="$1" properties="$2"
jvm="-cp /opt/surge/jars/kafka/* -Dlog4j2.configurationFile=file:/opt/surge/log4j2.xml"

if [ "$main" = kafka.Kafka ]; then
  data="$(sed -n 's/^log\.dirs=//p' "$properties")"
  if [ ! -f "$data/meta.properties" ]; then
    # shellcheck disable=SC2086
    java -Xmx256m -Dlog.level=WARN $jvm kafka.tools.StorageTool format --standalone -t "$CLUSTER_ID" -c "$properties"
  fi
  waiting=""
  until [ "$(df -Pm "$data" | awk 'NR == 2 { print $4 }')" -ge 128 ]; do
    [ "$waiting" ] || echo "Kafka waits for 128 MB of room in $data"
    waiting=yes
    sleep 1
  done
fi
# shellcheck disable=SC2086
exec java $JAVA_OPTS $jvm "$main" "$properties"
