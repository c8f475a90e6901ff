/** The Connect protocol, the smaller one of the two, over `fetch`. */
import type { Transport } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import { connectWith, type ClientOptions } from "./options.js";

/** A transport for `createClient`: `createClient(FeedbackService, connect({ baseUrl, credential }))`. */
export function connect(options: ClientOptions): Transport {
  return createConnectTransport(connectWith(options));
}
