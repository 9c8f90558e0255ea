/** One Server-Sent Event. */
export interface ServerEvent {
  id: string;
  event: string;
  data: string;
}

/** The API sends something every 10 s, so a response without a word for so long is broken. */
const MAX_SILENT_MS = 45_000;

/** Yields the events of a response, and ends when it ends, or is broken. */
export async function* eventsOf(response: Response): AsyncGenerator<ServerEvent> {
  if (response.body === null) return;
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  try {
    for (;;) {
      const silent = setTimeout(() => void reader.cancel().catch(() => undefined), MAX_SILENT_MS);
      const { done, value } = await reader.read().finally(() => clearTimeout(silent));
      if (done) return;
      text += decoder.decode(value, { stream: true });
      const parts = text.split("\n\n");
      text = parts.pop() ?? "";
      for (const part of parts) {
        const event = read(part);
        if (event !== null) yield event;
      }
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
