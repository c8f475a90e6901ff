// What the page of another origin runs, bundled.
import { connect } from "@plaudit/client";
import { grpcWeb } from "@plaudit/client/grpc-web";
import { calls } from "./calls.js";

window.calls = async (baseUrl, project) => ({
  "page connect": await calls(connect({ baseUrl }), project),
  "page connect, GET": await calls(connect({ baseUrl, useHttpGet: true }), project),
  "page gRPC-Web": await calls(grpcWeb({ baseUrl }), project),
});
