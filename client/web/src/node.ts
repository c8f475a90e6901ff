/** Transports for Node, over its own HTTP client; needs `@connectrpc/connect-node`. */
import type { Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { connectWith, type ClientOptions } from "./options.js";

/** Connect over HTTP/1.1. */
export function connect(options: ClientOptions): Transport {
  const { fetch: _, ...given } = connectWith(options);
  return createConnectTransport({ ...given, httpVersion: "1.1" });
}

/** gRPC-Web over HTTP/1.1. */
export function grpcWeb(options: ClientOptions): Transport {
  const { fetch: _, ...given } = connectWith(options);
  return createGrpcWebTransport({ ...given, httpVersion: "1.1" });
}

/** gRPC over HTTP/2, on the server's gRPC port: the only one with streams of requests in both directions at a time. */
export function grpc(options: ClientOptions): Transport {
  const { fetch: _, useHttpGet: __, ...given } = connectWith(options);
  return createGrpcTransport(given);
}
