// Writes src/openapi.ts from openapi.json. A response's known values become its type's; `Received` adds unknown ones.
import { readFileSync, writeFileSync } from "node:fs";
import openapiTS, { astToString } from "openapi-typescript";

function withValues(_name, value) {
  const known = value?.["x-known-values"];
  return known ? { ...value, enum: value.type.includes("null") ? [...known, null] : known } : value;
}

const description = JSON.parse(readFileSync("openapi.json", "utf8"), withValues);
writeFileSync("src/openapi.ts", astToString(await openapiTS(description)));
