// Checks an exported page in node: node node.js PAGE.html. Prints the result of the page's own check as JSON.
"use strict";
const fs = require("fs");
const vm = require("vm");

const page = fs.readFileSync(process.argv[2], "utf8");
const blocks = new Map();
for (const [, attributes, content] of page.matchAll(/<script([^>]*)>([^<]*(?:<(?!\/script>)[^<]*)*)<\/script>/g)) {
  const id = /id="([^"]*)"/.exec(attributes);
  blocks.set(id === null ? "" : id[1], content);
}
vm.runInThisContext(blocks.get(""), { filename: "page.js" });
globalThis.readBlock = (id) => blocks.get(id);
const checked = vm.runInThisContext("checkModel(openModel(readBlock))");
process.stdout.write(JSON.stringify({ ...checked, by: "node " + process.version }));
