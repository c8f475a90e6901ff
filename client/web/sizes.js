// What a page pays for: bundles of typical imports, minified, in bytes and as gzip.
import { build } from "esbuild";
import { gzipSync } from "node:zlib";

const uses = {
  "submit with a token": `import { connect, createClient, SubmitService } from "@plaudit/client";
    export const client = createClient(SubmitService, connect({ baseUrl: "/" }));`,
  "all calls": `import { connect, createClient, FeedbackService } from "@plaudit/client";
    export const client = createClient(FeedbackService, connect({ baseUrl: "/" }));`,
  "all calls, paging, watch, queries": `import * as plaudit from "@plaudit/client"; export const { rows, watch, field, query,
    connect, createClient, FeedbackService, describe, record } = plaudit;`,
  "query builder alone": `export { field, query } from "@plaudit/client";`,
  "id alone": `export { newId } from "@plaudit/client";`,
};
for (const [name, contents] of Object.entries(uses)) {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: import.meta.dirname },
    bundle: true, minify: true, format: "esm", write: false, target: "es2022",
  });
  const [{ contents: bytes }] = outputFiles;
  console.log(`${name}: ${bytes.length} bytes, ${gzipSync(bytes, { level: 9 }).length} gzip`);
}
