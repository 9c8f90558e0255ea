// The jobs that belong together: as a graph, and as a time line.

import { get, post, session } from "../api.js";
import { h, put, say } from "../dom.js";
import { number, short } from "../format.js";
import { ask, button, card, notify, pill, repeat } from "../parts.js";
import { treeGraph } from "../tree_graph.js";
import { FINAL, countsOf, nameOf } from "../tree_jobs.js";
import { treeTimes } from "../tree_times.js";

/** Seconds between two looks at a tree of up to 500 jobs; larger ones are read less often. */
const SECONDS = 2;

export async function open(main, { signal, rest: [id] }) {
  const path = `/v1/ava/jobs/${encodeURIComponent(id)}/tree`;
  let tree = null;
  const graph = treeGraph(id);
  const times = treeTimes(id);
  const title = h("h1", {}, "Tree");
  const counts = h("p", { class: "row counts-of" });
  const cancel = button("Cancel all", () => ask({
    title: "Cancel all jobs of this tree?", action: "Cancel all jobs", kind: "danger",
    text: "Queued jobs will not start; running jobs are asked to stop.",
    submit: async () => {
      await post("/v1/ava/jobs/cancel", { filter: { tree_id: tree.tree_id } });
      notify("Cancel requested.");
      await load();
    },
  }), { kind: "danger" });
  const load = async () => {
    tree = (await get(path, { signal })).data;
    const root = tree.jobs.find((job) => job.id === tree.tree_id);
    const name = root ? nameOf(root) : short(tree.tree_id);
    say(title, `${number(tree.jobs.length)} ${tree.jobs.length === 1 ? "job" : "jobs"} of ${name}`);
    document.title = `Tree of ${name} · AVA Jobs`;
    put(counts, countsOf(tree.jobs).map(([state, count]) => [pill(state).element, h("span", {}, number(count))]));
    cancel.hidden = !session.mayWrite || isOver(tree);
    graph.update(tree);
    times.update(tree);
  };
  put(main,
    h("div", { class: "heading" },
      h("div", {}, h("p", { class: "crumbs" }, h("a", { href: "#/jobs" }, "Jobs"), " / ", h("a", { href: `#/jobs/${id}`, class: "mono" }, id), " / Tree"), title, counts),
      h("div", { class: "row" }, cancel)),
    card("Graph", { wide: true, actions: kinds() }, graph.element), card("Time line", { wide: true }, times.element));
  await load();
  let turn = 0;
  repeat(signal, SECONDS, async () => {
    turn += 1;
    // A tree of 10,000 jobs is read every 40 seconds.
    if (!isOver(tree) && turn % Math.ceil(tree.jobs.length / 500) === 0) await load();
  });
}

const isOver = (tree) => tree.jobs.every((job) => FINAL.includes(job.status));

/** What the lines of the graph mean. */
const kinds = () => h("ul", { class: "legend lines" }, [["completed", "after it completed"], ["ended", "after it ended"], ["failed", "if it failed"], ["child", "created by"]]
  .map(([kind, text]) => h("li", { "data-line": kind }, text)));
