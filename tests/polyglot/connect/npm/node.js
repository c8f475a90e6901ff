// The clients of Node: `node node.js '{"http": …, "grpc": …, "project": …}'` prints what became of each call.
import { connect as viaFetch } from "@plaudit/client";
import { grpcWeb as grpcWebViaFetch } from "@plaudit/client/grpc-web";
import { connect, grpc, grpcWeb } from "@plaudit/client/node";
import { calls } from "./calls.js";

const { http, grpc: target, project } = JSON.parse(process.argv[2]);
const transports = {
  "node connect": connect({ baseUrl: http }),
  "node connect, GET": connect({ baseUrl: http, useHttpGet: true }),
  "node gRPC-Web": grpcWeb({ baseUrl: http }),
  "node gRPC, the other port": grpc({ baseUrl: target }),
  "fetch connect": viaFetch({ baseUrl: http }),
  "fetch gRPC-Web": grpcWebViaFetch({ baseUrl: http }),
};
const done = {};
for (const [name, transport] of Object.entries(transports)) done[name] = await calls(transport, project);
console.log(JSON.stringify(done));
process.exit(0);
