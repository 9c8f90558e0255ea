/** One Server-Sent Event. */
interface ServerEvent {
  id: string;
  event: string;
  data: string;
}

/** Max silence of a response; the API sends bytes every 10 s. */
const MAX_SILENT_MS = 45_000;

/** Yields the events of a response. */
export async function* eventsOf(response: Response): AsyncGenerator<ServerEvent> {
  for await (const part of partsOf(response, "\n\n")) {
    const event = read(part);
    if (event !== null) yield event;
  }
}

/** Yields the lines of a response. */
export async function* linesOf(response: Response): AsyncGenerator<string> {
  for await (const line of partsOf(response, "\n")) if (line) yield line;
}

/** Yields the parts of a response. Throws if it breaks or is silent for too long. */
async function* partsOf(response: Response, separator: string): AsyncGenerator<string> {
  if (response.body === null) return;
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let [text, isSilent] = ["", false];
  const stop = (): void => {
    isSilent = true;
    void reader.cancel().catch(() => undefined);
  };
  try {
    for (;;) {
      const timer = setTimeout(stop, MAX_SILENT_MS);
      const { done, value } = await reader.read().finally(() => clearTimeout(timer));
      if (isSilent) throw new Error(`The response was silent for ${MAX_SILENT_MS / 1000} s.`);
      if (done) return;
      text += decoder.decode(value, { stream: true });
      const parts = text.split(separator);
      text = parts.pop() ?? "";
      yield* parts;
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

function read(part: string): ServerEvent | null {
  const event: ServerEvent = { id: "", event: "message", data: "" };
  let hasData = false;
  for (const line of part.split("\n")) {
    const [name, value] = [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).replace(/^ /, "")];
    if (name === "id" || name === "event") event[name] = value;
    if (name === "data") {
      event.data += (hasData ? "\n" : "") + value;
      hasData = true;
    }
  }
  return hasData ? event : null;
}
