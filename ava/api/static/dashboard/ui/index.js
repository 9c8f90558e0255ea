// The exports for pages: Preact, data hooks and components, without those that the overview does
// not need.

export * from "./address.js";
export * from "./data.js";
export * from "./dialog.js";
export * from "./elements.js";
export * from "./fields.js";
export * from "./hash.js";
export * from "./icons.js";
export * from "./preact.js";
export * from "./table.js";
export * from "./tabs.js";
