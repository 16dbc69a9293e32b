// Validates an AsyncAPI document with AsyncAPI's own parser: `node asyncapi.js FILE`.
import { readFile } from "node:fs/promises";
import { Parser } from "@asyncapi/parser";

const problems = await new Parser().validate(await readFile(process.argv[2], "utf8"));
for (const { path, message } of problems) {
  console.error(`${path.join(".")}: ${message}`);
}
process.exitCode = problems.length ? 1 : 0;
