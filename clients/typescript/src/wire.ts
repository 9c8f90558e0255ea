import type { paths } from "./openapi.js";

/** Fields whose content belongs to the user, or has names that are no fields: it keeps its names. */
const PAYLOADS = [
  "input", "output", "data", "tags", "config", "secrets", "value", "event", "match", "headers", "extensions",
  "input_schema", "verifier", "changes", "payload", "schema", "approval", "handler_approval",
] as const;
/** Objects by id: each id stays, and what it has is a record. */
const MAPS = ["by_worker"];
/** Query parameters that are no filters. */
const PLAIN = new Set([
  "page", "per_page", "cursor", "fields", "sort", "q", "since", "until", "days", "group_by", "percentiles", "wait", "limit",
  "tail", "after", "before", "count", "scope", "dry_run", "range_seconds",
]);

type Payload = (typeof PAYLOADS)[number];
type CamelName<Name extends string> = Name extends `${infer First}_${infer Rest}`
  ? `${First}${Capitalize<CamelName<Rest>>}`
  : Name;

/** A type of the API with names in camelCase, except within payloads. Each enumeration also has the strings `Open`. */
type Camel<T, Open> = T extends string
  ? string extends T ? T : T | Open
  : T extends readonly (infer Item)[]
    ? Camel<Item, Open>[]
    : T extends object
      ? string extends keyof T
        ? { [Key in keyof T]: Camel<T[Key], Open> }
        : {
            [Key in keyof T as CamelName<Key & string>]: Key extends Payload ? T[Key] : Camel<T[Key], Open>;
          }
      : T;

/** A record of a response. A newer server may send a value that an enumeration does not list. */
export type Received<T> = Camel<T, string & {}>;
/** The body of a request. */
export type Sent<T> = Camel<T, never>;

export type Path = keyof paths & string;
export type Method = "get" | "post" | "put" | "patch" | "delete";
type Operation<P extends Path, M extends Method> = NonNullable<paths[P][M]>;
type Content<T> = T extends { content: { "application/json": infer Body } } ? Body : never;
type Answer<O> = O extends { responses: infer All } ? Content<All[keyof All & (200 | 201 | 202)]> : never;

/** The `data` of an operation's response. */
export type Reply<P extends Path, M extends Method> =
  Answer<Operation<P, M>> extends infer Body ? (Body extends { data: infer Data } ? Received<Data> : never) : never;
/** The body of an operation's request. */
export type Body<P extends Path, M extends Method> =
  Operation<P, M> extends { requestBody?: infer Request } ? Sent<Content<NonNullable<Request>>> : never;
/** One entry of a list. */
export type Item<P extends Path> = Reply<P, "get"> extends readonly (infer Each)[] ? Each : never;
/** The ids of a path, in its order. */
export type Ids<P extends string> = P extends `${string}{${string}}${infer Rest}` ? [string, ...Ids<Rest>] : [];

type QueryOf<P extends Path> = NonNullable<
  Operation<P, "get"> extends { parameters: { query?: infer Query } } ? Query : never
>;
type QueryName<Name> = Name extends `filter[${infer Field}]`
  ? Field extends `${string}.${string}` ? never : CamelName<Field>
  : Name extends "page" | "cursor" ? never : CamelName<Name & string>;
interface JobMaps {
  /** Exact values of tags. */
  tags?: Record<string, string>;
  /** Exact values by path in the input: `{"account.id": 17}`. */
  input?: Record<string, string | number | boolean | null>;
}
/** The query of a GET: its filters by their plain names. Pages are fetched by the client. */
export type Query<P extends Path> = {
  [Name in keyof QueryOf<P> as QueryName<Name>]: Sent<QueryOf<P>[Name]>;
} & ("filter[tag.key]" extends keyof QueryOf<P> ? JobMaps : unknown);

const snake = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
const camel = (name: string): string => name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());

function renamed(value: unknown, rename: (name: string) => string): unknown {
  if (Array.isArray(value)) return value.map((each) => renamed(each, rename));
  if (typeof value !== "object" || value === null || "toJSON" in value) return value;
  const entries = Object.entries(value).map(([name, each]): [string, unknown] => {
    const field = snake(name);
    if ((PAYLOADS as readonly string[]).includes(field)) return [rename(name), each];
    const isMap = MAPS.includes(field) && typeof each === "object" && each !== null && !Array.isArray(each);
    return [rename(name), isMap ? mapOf(each, (record) => renamed(record, rename)) : renamed(each, rename)];
  });
  return Object.fromEntries(entries);
}

function mapOf(value: object, each: (record: unknown) => unknown): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).map(([id, record]) => [id, each(record)]));
}

/** Returns a body with the names of the API. */
export const toWire = (value: unknown): unknown => renamed(value, snake);

/** Returns a value of the API with names in camelCase. */
export const fromWire = <T>(value: unknown): T => renamed(value, camel) as T;

/** Returns a query of the API, with a leading `?` if it has parameters. A parameter without a value is left out. */
export function queryText(query: Record<string, unknown>): string {
  const found = new URLSearchParams();
  const filter = (name: string, value: unknown): void => {
    if (value !== undefined && value !== null) found.append(PLAIN.has(name) ? name : `filter[${name}]`, String(value));
  };
  const { tags, input, ...rest } = query as JobMaps & Record<string, unknown>;
  for (const [name, value] of Object.entries(rest)) filter(snake(name), value);
  for (const [key, value] of Object.entries(tags ?? {})) filter(`tag.${key}`, value);
  for (const [path, value] of Object.entries(input ?? {})) {
    filter(`input.${path}`, typeof value === "string" ? value : JSON.stringify(value));
  }
  const text = found.toString();
  return text && `?${text}`;
}
