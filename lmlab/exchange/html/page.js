// The beginning: opens the model, fills the page with what is known of it, and connects the views.

class Page {
  constructor() {
    this.lab = openModel((id) => at(id).textContent);
    const { facts } = this.lab;
    at("name").textContent = facts.title;
    at("about_line").textContent = facts.about;
    at("recipe").textContent = facts.recipe;
    at("card").replaceChildren(...facts.card.map((text) => element("p", {}, text)));
    at("chart").replaceChildren(drawCurves(facts.curves));
    at("losses").replaceChildren(...facts.losses.map((row, place) =>
      element("tr", {}, ...row.map((text) => element(place ? "td" : "th", {}, text)))));
    this.writing = new Writing(this.lab);
    this.views = { attention: new AttentionView(this.lab), surprise: new SurpriseView(this.lab) };
    this.tabs = Array.from(at("tabs").children);
    this.tabs.forEach((tab) => tab.addEventListener("click", () => this.open(tab.dataset.view)));
    at("check").addEventListener("click", () => this.check());
    if (!this.lab.model.heads) this.tabs[1].textContent = "State";
  }

  open(view) {
    for (const tab of this.tabs) {
      tab.setAttribute("aria-selected", String(tab.dataset.view === view));
      at(tab.dataset.view).hidden = tab.dataset.view !== view;
    }
    showError(null);
    if (!(view in this.views)) return;
    // A field that the user hasn't changed has the text that was written last.
    const field = at(view + "_text"), text = this.writing.whole ?? this.lab.facts.example;
    if (field.value !== (field.dataset.given ?? "") || field.dataset.given === text) return;
    field.value = field.dataset.given = text;
    this.views[view].show(text);
  }

  async check() {
    at("check_status").textContent = "computing ...";
    await pause();
    await pause();
    const found = checkModel(this.lab);
    at("check_status").textContent = (found.passed ? "this browser computes the same" : "this browser computes something else")
      + ": largest difference of a logit " + found.largest.toExponential(1) + " at " + found.positions + " positions, "
      + (found.greedy - found.different) + " of " + found.greedy + " greedy tokens equal";
  }
}

if (typeof document !== "undefined") {
  try {
    const page = new Page();
    // lmlab export asks for the check alone; a reader sees at once what may follow the prompt.
    if (location.hash !== "#check") {
      page.writing.restart(() => 0);
    } else {
      const version = /(?:Chrome|Firefox)\/[\d.]+/.exec(navigator.userAgent);
      at("checked").textContent = JSON.stringify({ ...checkModel(page.lab), by: version === null ? "a browser" : version[0].replace("/", " ") });
    }
  } catch (error) {
    showError(error);
  }
}
