"use strict";
(() => {
  const controls = document.getElementById("controls");
  if (!controls) return;
  const shown = document.getElementById("shown");
  const entries = [...document.querySelectorAll("[data-outcome]")];
  const cards = entries.filter((entry) => "frame" in entry.dataset);

  const apply = () => {
    const fields = new FormData(controls);
    const outcomes = new Set(fields.getAll("outcome"));
    const product = fields.get("product");
    const name = fields.get("name").trim().toLowerCase();
    for (const entry of entries) {
      const { outcome, product: made, name: called } = entry.dataset;
      entry.hidden =
        !outcomes.has(outcome) || (product !== "" && made !== product) || !called.toLowerCase().includes(name);
    }
    const count = cards.filter((card) => !card.hidden).length;
    shown.textContent = `${count} of ${cards.length} frames`;
    document.documentElement.style.setProperty("--heat", String(Number(fields.get("heat")) / 100));
    document.documentElement.classList.toggle("without-boxes", !fields.has("boxes"));
  };

  controls.addEventListener("input", apply);
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.hidden = false;
  apply();
})();
