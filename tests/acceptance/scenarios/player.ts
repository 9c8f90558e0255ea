// Plays the scenarios of durable functions, see README.md: `node player.js API KEY WORKER…`.
import { PullWorker, Suspended, type Child, type Env } from "ava-jobs";

// Without the types of Node, which a project need not install.
interface Files {
  appendFileSync(path: string, text: string): void;
  existsSync(path: string): boolean;
  writeFileSync(path: string, text: string, options: { flag: string }): void;
}
interface Node {
  argv: string[];
  pid: number;
  kill(pid: number, signal: string): void;
  getBuiltinModule(name: string): unknown;
}
const node = (globalThis as unknown as { process: Node }).process;
const files = node.getBuiltinModule("node:fs") as Files;

type Action = Record<string, any>;
type Input = { folder: string; script: Action[] };

/** Files that survive a kill: what happened once, and the effects of steps. */
class Marks {
  constructor(readonly folder: string) {}

  isFirst(name: string): boolean {
    try {
      files.writeFileSync(`${this.folder}/mark ${name}`, "", { flag: "wx" });
      return true;
    } catch {
      return false;
    }
  }

  async kill(name: string): Promise<void> {
    if (!this.isFirst(name)) return;
    node.kill(node.pid, "SIGKILL");
    await new Promise((resolve) => setTimeout(resolve, 60_000));
  }

  async runStep(action: Action): Promise<unknown> {
    files.appendFileSync(`${this.folder}/effects`, `${action["step"]}\n`);
    if (action["kills"]) await this.kill(`within ${action["step"]}`);
    const fails = action["fails"];
    if (fails === "always" || (fails === "once" && this.isFirst(`failed ${action["step"]}`))) {
      throw new TypeError("on purpose");
    }
    while (action["holds"] && !files.existsSync(`${this.folder}/release`)) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return action["value"];
  }
}

class Player {
  readonly #marks: Marks;
  readonly #children = new Map<string, Child>();
  readonly #results: Record<string, unknown> = {};

  constructor(
    readonly env: Env,
    folder: string,
  ) {
    this.#marks = new Marks(folder);
  }

  async play(script: Action[]): Promise<Record<string, unknown>> {
    for (const action of script) await this.#act(action);
    return this.#results;
  }

  async #act(action: Action): Promise<void> {
    if ("step" in action) await this.#step(action);
    else if ("trigger" in action) await this.#trigger(action);
    else if ("wait" in action || "wait_any" in action) await this.#wait(action);
    else if ("sleep" in action) await this.env.sleep(action["seconds"], { key: action["sleep"] });
    else if ("wait_event" in action) await this.#waitEvent(action);
    else if ("map" in action) {
      const options = { key: action["map"] };
      this.#results[action["map"]] = await this.env.map("t_scenario_part", action["inputs"], options);
    } else if ("gather" in action) {
      await this.env.gather((action["gather"] as Action[][]).map((script) => () => this.play(script)));
    } else if ("try" in action) await this.#try(action);
    else if ("kill" in action) await this.#marks.kill(action["kill"]);
    else if (action["fail"] === "always" || this.#marks.isFirst(action["fail"])) throw new TypeError("on purpose");
  }

  async #try(action: Action): Promise<void> {
    let kind = null;
    try {
      await this.play(action["try"]);
    } catch (error) {
      if (error instanceof Suspended) throw error;
      kind = (error as Error).name;
    }
    this.#results[action["name"]] = kind;
  }

  async #step(action: Action): Promise<void> {
    const once = action["once"] ?? "at_least";
    this.#results[action["step"]] = await this.env.step(action["step"], () => this.#marks.runStep(action), { once });
  }

  async #trigger(action: Action): Promise<void> {
    const input = { ...action["input"], folder: this.#marks.folder };
    const options = { key: action["trigger"], detached: action["detached"] ?? false };
    this.#children.set(action["trigger"], await this.env.trigger("t_scenario_part", input, options));
  }

  async #wait(action: Action): Promise<void> {
    const names: string[] = action["wait"] ?? action["wait_any"];
    const children = names.map((name) => this.#children.get(name) as Child);
    const seconds = action["timeout_seconds"];
    const options = { key: action["name"], ...(seconds === undefined ? {} : { timeoutSeconds: seconds }) };
    if ("wait" in action) this.#results[action["name"]] = await this.env.wait(children, options);
    else this.#results[action["name"]] = (await this.env.waitAny(children, options)).name;
  }

  async #waitEvent(action: Action): Promise<void> {
    const event = await this.env.waitEvent(action["type"], {
      key: action["wait_event"],
      ...(action["of_job"] ? { match: { data: { of: [this.env.job.id] } } } : {}),
      ...(action["timeout_seconds"] === undefined ? {} : { timeoutSeconds: action["timeout_seconds"] }),
    });
    this.#results[action["wait_event"]] = (event.data as Record<string, unknown>)["n"];
  }
}

/** Each tenth response is lost after the server has sent it, and each tenth request is sent twice. */
async function fetchUnreliably(address: string, init: RequestInit): Promise<Response> {
  if (address.endsWith("/claim")) return fetch(address, init);
  const chance = Math.random();
  const response = await fetch(address, init);
  if (chance < 0.1) throw new TypeError("the response was lost");
  return chance < 0.2 ? fetch(address, init) : response;
}

const [url = "", apiKey = "", ...workers] = node.argv.slice(2);
const worker = new PullWorker({ url, apiKey, fetch: fetchUnreliably as typeof fetch });
for (const id of workers) {
  const slug = id.slice("wkr_".length);
  worker.handle<Input>(slug, ({ folder, script }, env) => new Player(env, folder).play(script));
}
await worker.run();
