/** gRPC-Web over `fetch`, for servers behind a proxy that passes on nothing else. */
import type { Transport } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { connectWith, type ClientOptions } from "./options.js";

/** A transport for `createClient`. */
export function grpcWeb(options: Omit<ClientOptions, "useHttpGet">): Transport {
  return createGrpcWebTransport(connectWith(options));
}
