(() => {
  "use strict";
  const tree = document.querySelector(".tree svg"), words = document.querySelector(".words");
  const people = new Map([...tree.querySelectorAll(".one")].map(one => [one.dataset.id, one]));
  const links = [...tree.querySelectorAll(".link")], silent = words.textContent;
  const parents = id => people.get(id).dataset.parents.split(" ").filter(Boolean);
  let held = null, at = tree.querySelector(".chosen") || people.values().next().value;
  const ancestors = id => {
    const found = new Set(), waiting = [id];
    while (waiting.length) parents(waiting.pop()).forEach(one => found.has(one) || (found.add(one), waiting.push(one)));
    return found;
  };
  const show = id => {
    const up = id === null ? new Set() : ancestors(id), near = id === null ? [] : parents(id);
    tree.classList.toggle("following", id !== null);
    people.forEach((one, other) => {
      one.classList.toggle("up", up.has(other));
      one.classList.toggle("parent", near.includes(other));
      one.classList.toggle("now", other === id);
      one.setAttribute("aria-pressed", other === held);
    });
    links.forEach(link => link.classList.toggle(
      "up", id !== null && (link.dataset.child === id || up.has(link.dataset.child))));
    words.textContent = id === null ? silent : people.get(id).dataset.words;
  };
  const reach = one => { at.tabIndex = -1; at = one; at.tabIndex = 0; at.focus(); };
  const beside = (one, step) => {
    const row = [...people.values()].filter(other => other.dataset.row === one.dataset.row)
      .sort((a, b) => a.dataset.x - b.dataset.x);
    return row[row.indexOf(one) + step];
  };
  const turn = { ArrowUp: one => people.get(parents(one.dataset.id)[0]),
    ArrowDown: one => [...people.values()].find(other => parents(other.dataset.id).includes(one.dataset.id)),
    ArrowLeft: one => beside(one, -1), ArrowRight: one => beside(one, 1) };
  people.forEach((one, id) => {
    one.tabIndex = one === at ? 0 : -1;
    one.addEventListener("pointerenter", () => held === null && show(id));
    one.addEventListener("pointerleave", () => held === null && show(null));
    one.addEventListener("focus", () => show(id));
    one.addEventListener("blur", () => show(held));
    one.addEventListener("click", event => { event.stopPropagation(); held = held === id ? null : id; show(held); });
    one.addEventListener("keydown", event => {
      if (event.key === "Enter" || event.key === " ") { held = held === id ? null : id; show(held); }
      else if (event.key in turn) { const next = turn[event.key](one); if (next) reach(next); }
      else if (event.key === "Escape") { held = null; one.blur(); }
      else return;
      event.preventDefault();
    });
  });
  document.addEventListener("click", () => { held = null; show(null); });
})();
