#!/bin/sh
# build.sh SOURCES JARS: compiles Connect's own converter and transform into JARS/plugins, with the JDK in JAVA_HOME
set -eu
sources="$1" jars="$2"
plugin="$jars/plugins/surge-connect"
classes="$(mktemp -d)"
trap 'rm -rf "$classes"' EXIT
services="$classes/META-INF/services"
mkdir -p "$plugin" "$services"
"$JAVA_HOME/bin/javac" -cp "$jars/kafka/*" -d "$classes" --release 17 "$sources/TopicConverter.java" "$sources/EmittedAt.java"
echo TopicConverter > "$services/org.apache.kafka.connect.storage.Converter"
echo EmittedAt > "$services/org.apache.kafka.connect.transforms.Transformation"
"$JAVA_HOME/bin/jar" --create --file="$plugin/surge-connect.jar" -C "$classes" .
