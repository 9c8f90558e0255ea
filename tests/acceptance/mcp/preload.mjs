// `node --import` this before the suite.
import { register } from "node:module";

// The suite imports fs.globSync, which Node has since 22, for a command that is not run here.
const fs = `export * from "node:fs"; export { default } from "node:fs"; export const globSync = () => [];`;
const hooks = `
export const resolve = (specifier, context, next) =>
  specifier === "fs" && context.parentURL?.includes("/@modelcontextprotocol/conformance/")
    ? { url: "data:text/javascript," + encodeURIComponent(${JSON.stringify(fs)}), shortCircuit: true }
    : next(specifier, context);
`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);

// The suite gives a call whose job has to run 500 ms, because it expects a stream that may never end. This server
// ends each answer, and on a busy machine a job takes longer.
const PATIENCE_MS = 60_000;
const send = globalThis.fetch;
globalThis.fetch = (resource, options) => send(resource, { ...options, signal: AbortSignal.timeout(PATIENCE_MS) });
