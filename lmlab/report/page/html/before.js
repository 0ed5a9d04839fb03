// Runs before BokehJS: the style elements that it creates get the page's nonce, without which the policy refuses them.
"use strict";
(() => {
  const nonce = document.currentScript.dataset.nonce;
  const create = Document.prototype.createElement;
  Document.prototype.createElement = function (name, options) {
    const element = create.call(this, name, options);
    if (String(name).toLowerCase() === "style") element.nonce = nonce;
    return element;
  };
})();
