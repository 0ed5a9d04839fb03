// Elements of the page. Texts of models and users are only ever set as text, never as HTML.

const at = (id) => document.getElementById(id);

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const number = (value, digits = 2) => value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

function percent(share) {
  if (share >= 0.0995) return number(100 * share, 0) + " %";
  return share >= 0.001 ? number(100 * share, 1) + " %" : "< 0.1 %";
}

function showError(error) {
  at("error").textContent = error === null ? "" : error.message;
  at("error").hidden = error === null;
}

// Let the browser draw and react to buttons.
const pause = () => new Promise((resolve) => setTimeout(resolve));

// A colour of the style as [red, green, blue].
function colour(name) {
  const probe = element("span");
  probe.style.color = "var(" + name + ")";
  document.body.append(probe);
  const found = getComputedStyle(probe).color.match(/\d+/g).slice(0, 3).map(Number);
  probe.remove();
  return found;
}

const tinted = (name, share) => "rgb(" + colour(name).join(" ") + " / " + share.toFixed(3) + ")";

// A list of tokens with their probabilities, longest bar first; choose(token) is called for the one that is pressed.
function showBars(list, tokenizer, entries, taken, choose) {
  const highest = Math.max(...entries.map(([, share]) => share), 1e-9);
  list.replaceChildren(...entries.map(([token, share]) => {
    const bar = element("span", { class: "bar" });
    bar.style.width = (100 * share) / highest + "%";
    const button = element("button", { type: "button", class: token === taken ? "taken" : "" },
      element("span", { class: "name" }, shownToken(tokenizer, token)), bar, element("span", { class: "share" }, percent(share)));
    button.disabled = choose === null;
    if (choose !== null) button.addEventListener("click", () => choose(token));
    return element("li", {}, button);
  }));
}

// The likeliest tokens as [token, probability], and the one that was taken at the end if it isn't among them.
function likeliest(logits, count, taken = null) {
  const probabilities = softmax(logits), places = highestPlaces(probabilities, count);
  if (taken !== null && !places.includes(taken)) places.push(taken);
  return places.map((token) => [token, probabilities[token]]);
}
