# Slugline in a container, for machines without Linux or without user namespaces of their own.
#
#   docker build -t slugline .
#   docker run --rm -it --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
#     --security-opt systempaths=unconfined --cap-add SYS_ADMIN slugline demo
#
# With podman (also on macOS, through `podman machine`):
#
#   podman build -t slugline .
#   podman run --rm -it --security-opt seccomp=unconfined --security-opt unmask=ALL \
#     --cap-add SYS_ADMIN slugline demo
#
# To serve, publish the port and keep the data:
#
#   docker run … -p 127.0.0.1:7007:7007 -v slugline:/var/lib/slugline slugline serve --listen 0.0.0.0:7007 --behind-proxy

FROM rust:1-bookworm AS build
WORKDIR /source
COPY . .
RUN cargo build --release --locked

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends \
      ca-certificates git nodejs npm python3 python3-pip python3-venv \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /source/target/release/slugline /usr/local/bin/slugline
VOLUME /var/lib/slugline
EXPOSE 7007
ENTRYPOINT ["slugline"]
CMD ["serve", "--listen", "0.0.0.0:7007", "--behind-proxy"]
