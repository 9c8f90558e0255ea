import { flow } from "./flow.js";

declare const process: { env: Record<string, string | undefined> };

const { AVA_URL = "", AVA_API_KEY = "", RUNTIME = "" } = process.env;
console.log(JSON.stringify(await flow(AVA_URL, AVA_API_KEY, RUNTIME)));
