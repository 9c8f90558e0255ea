// Patterns over events in tests. The service, which decides in production, has the same rules.

type Json = unknown;

const MISSING = Symbol("missing");

/** Returns true if an event matches a pattern: an object whose fields hold lists of values and rules, or objects. */
export function matches(pattern: object, event: Json): boolean {
  return branchMatches(pattern as Record<string, Json>, event);
}

function branchMatches(fields: Record<string, Json>, value: Json): boolean {
  if (Array.isArray(value)) return value.some((each) => isObject(each) && branchMatches(fields, each));
  return Object.entries(fields).every(([name, rules]) => {
    const inner = isObject(value) && Object.hasOwn(value, name) ? value[name] : MISSING;
    if (!Array.isArray(rules)) return branchMatches(rules as Record<string, Json>, inner);
    const isAbsent = inner === MISSING || (Array.isArray(inner) && inner.length === 0);
    if (isAbsent) return rules.some((rule) => isObject(rule) && rule["exists"] === false);
    return (Array.isArray(inner) ? inner : [inner]).some((each) => rules.some((rule) => ruleMatches(rule, each)));
  });
}

function isObject(value: Json): value is Record<string, Json> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function ruleMatches(rule: Json, value: Json): boolean {
  if (!isObject(rule)) return rule === value;
  const [[operator, operand] = []] = Object.entries(rule);
  switch (operator) {
    case "prefix":
      return typeof value === "string" && value.startsWith(operand as string);
    case "suffix":
      return typeof value === "string" && value.endsWith(operand as string);
    case "exists":
      return operand === true;
    case "anything-but":
      return !(Array.isArray(operand) ? operand : [operand]).some((each: Json) => ruleMatches(each, value));
    case "numeric":
      return typeof value === "number" && isWithin(operand as (string | number)[], value);
    case "cidr":
      return typeof value === "string" && isInside(operand as string, value);
    default:
      throw new TypeError(`the operator ${JSON.stringify(operator)} of a pattern is unknown`);
  }
}

const COMPARISONS: Record<string, (value: number, bound: number) => boolean> = {
  "=": (value, bound) => value === bound,
  "<": (value, bound) => value < bound,
  "<=": (value, bound) => value <= bound,
  ">": (value, bound) => value > bound,
  ">=": (value, bound) => value >= bound,
};

function isWithin(bounds: (string | number)[], value: number): boolean {
  for (let n = 0; n < bounds.length; n += 2) {
    if (!COMPARISONS[bounds[n] as string]?.(value, bounds[n + 1] as number)) return false;
  }
  return true;
}

function isInside(network: string, address: string): boolean {
  const [base = "", length] = network.split("/");
  const [first, second] = [bitsOf(base), bitsOf(address)];
  if (first === null || second === null || first.length !== second.length) return false;
  const size = length === undefined ? first.length : Number(length);
  return first.slice(0, size) === second.slice(0, size);
}

/** Returns the bits of an IP address; null for another string. */
function bitsOf(address: string): string | null {
  const bits = (parts: string[], radix: number, size: number): string =>
    parts.map((part) => Number.parseInt(part, radix).toString(2).padStart(size, "0")).join("");
  if (/^\d{1,3}(\.\d{1,3}){3}$/.test(address)) return bits(address.split("."), 10, 8);
  if (!/^[\da-f:]*:[\da-f:.]*$/i.test(address) || !URL.canParse(`http://[${address}]`)) return null;
  const [left = "", right] = new URL(`http://[${address}]`).hostname.slice(1, -1).split("::");
  const [begin, end] = [left, right ?? ""].map((half) => half.split(":").filter((part) => part !== ""));
  const zeros = Array<string>(8 - (begin?.length ?? 0) - (end?.length ?? 0)).fill("0");
  return bits([...(begin ?? []), ...zeros, ...(end ?? [])], 16, 16);
}
