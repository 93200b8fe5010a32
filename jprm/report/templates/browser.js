// Fills the browsers of judged solutions and saves figures. All texts become text nodes, never markup.
(() => {
  const PER_PAGE = 20, VOTES_PER_PAGE = 4;
  const FILTERS = [["all", "all"], ["right", "right"], ["wrong", "wrong"], ["disagreement", "disagreement"],
    ["none", "None"]];
  const TOKEN = /("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(#.*)|\b(\d+(?:\.\d+)?)\b|\b(and|as|assert|break|class|continue|def|elif|else|except|False|for|from|if|import|in|is|lambda|None|not|or|pass|raise|return|True|try|while|with)\b/g;
  const KINDS = ["str", "com", "num", "kw"];

  function el(name, style, text) {
    const node = document.createElement(name);
    if (style) node.className = style;
    if (text !== undefined) node.textContent = text;
    return node;
  }
  function button(text, style, act) {
    const node = el("button", style, text);
    node.type = "button";
    node.addEventListener("click", act);
    return node;
  }
  function highlighted(text) {
    const code = el("pre", "code");
    let end = 0;
    for (const match of text.matchAll(TOKEN)) {
      code.append(text.slice(end, match.index));
      code.append(el("i", KINDS[match.slice(1, 5).findIndex(part => part !== undefined)], match[0]));
      end = match.index + match[0].length;
    }
    code.append(text.slice(end));
    return code;
  }
  const word = verdict => verdict === null ? "None" : verdict ? "Yes" : "No";
  const mark = verdict => verdict === null ? "none" : verdict ? "yes" : "no";
  const position = at => at === null ? "unknown" : at < 0 ? "no error" : `step ${at + 1}`;
  const share = x => x === null ? "none" : x.toFixed(2);
  const counted = votes => [1, 0, null].map(v => votes.filter(vote => vote[1] === v).length);

  function pager(node, size, length, page, show) {
    node.replaceChildren();
    if (length <= size) return;
    const last = Math.ceil(length / size) - 1;
    const step = (text, to, usable) => {
      const made = button(text, "", () => show(to));
      made.disabled = !usable;
      node.append(made);
    };
    step("\u2190 earlier", page - 1, page > 0);
    node.append(el("span", "", `${page * size + 1} to ${Math.min(length, (page + 1) * size)} of ${length}`));
    step("later \u2192", page + 1, page < last);
  }

  function fill(root) {
    const data = JSON.parse(root.querySelector("script").textContent), strings = data.strings;
    const items = data.items.map(([id, problem, origin, label, prediction, tags, steps], order) =>
      ({id, problem: strings[problem], origin: strings[origin], label, prediction, tags, steps, order}));
    let filter = "all", page = 0, texts = null;

    const textOf = item => {  // all words of a solution, made when somebody searches for the first time
      texts ||= new Map();
      if (!texts.has(item)) {
        const words = [item.id, item.problem, item.origin];
        for (const [text, , , votes] of item.steps) {
          words.push(strings[text]);
          for (const vote of votes) for (let i = 5; i < vote.length; i += 2) words.push(strings[vote[i]]);
        }
        texts.set(item, words.join("\n").toLowerCase());
      }
      return texts.get(item);
    };
    const split = item => Math.max(0, ...item.steps.map(step => {
      const [yes, no] = counted(step[3]);
      return Math.min(yes, no) / Math.max(1, yes + no);
    }));
    const SORTS = {
      order: item => item.order,
      split: item => -split(item),
      low: item => Math.min(2, ...item.steps.map(step => step[2] === null ? 2 : step[2])),
      silent: item => -item.steps.reduce((sum, step) => sum + counted(step[3])[2], 0),
      steps: item => -item.steps.length,
    };

    function vote(one, majority) {
      const [number, verdict, reward, note] = one, node = el("div", "rationale");
      const head = node.appendChild(el("p", "head"));
      head.append(el("b", `vote ${mark(verdict)}`), `vote ${number + 1} says `, el("b", "", word(verdict)));
      if (reward !== null) head.append(`, reward ${share(reward)}`);
      head.append(el("span", verdict === majority ? "agrees" : "differs",
        `the majority says ${majority === undefined ? "nothing: a tie" : word(majority)}`));
      for (let i = 4; i < one.length; i += 2) {
        const kind = one[i], text = strings[one[i + 1]];
        if (kind === "c") node.append(highlighted(text));
        else if (kind === "o") node.append(el("pre", "out", text || "(no output)"));
        else if (kind === "v") node.append(el("span", `verdict ${text.toLowerCase()}`, text));
        else node.append(el("p", "", text));
      }
      if (strings[note]) node.append(el("p", "note", strings[note]));
      return node;
    }

    function judged([text, truth, reward, votes], number) {
      const row = el("li"), [yes, no, none] = counted(votes);
      row.append(el("p", `step ${truth === false ? "wrong" : ""}`, `${number + 1}. ${strings[text]}`));
      const said = row.appendChild(el("p", "votes"));
      const majority = yes === no ? (yes ? undefined : null) : yes > no ? 1 : 0;
      const box = el("div"), turn = el("p", "pager");
      const show = at => {
        const from = at * VOTES_PER_PAGE;
        box.replaceChildren(...votes.slice(from, from + VOTES_PER_PAGE).map(one => vote(one, majority)));
        pager(turn, VOTES_PER_PAGE, votes.length, at, show);
      };
      votes.forEach((one, i) => {
        const square = button("", `vote ${mark(one[1])}`, () => show(Math.floor(i / VOTES_PER_PAGE)));
        square.title = `vote ${one[0] + 1}: ${word(one[1])}`;
        square.setAttribute("aria-label", square.title);
        said.append(square);
      });
      const known = truth === null ? "" : truth ? "; the step is right" : "; the step is wrong";
      said.append(el("span", "", votes.length
        ? `${yes} Yes, ${no} No, ${none} None; mean reward ${share(reward)}${known}` : `no vote${known}`));
      if (votes.length) row.append(button("read the votes", "read", event => { event.target.remove(); show(0); }));
      row.append(box, turn);
      return row;
    }

    function opened(item) {
      const node = el("details", "sample"), head = node.appendChild(el("summary"));
      const known = item.tags.includes("right") ? ["hit", "right"]
        : item.tags.includes("wrong") ? ["miss", "wrong"] : ["unknown", "no label"];
      head.append(el("span", `chip ${known[0]}`, known[1]), el("span", "what", item.problem.split("\n")[0]));
      const verdict = item.prediction === null ? "no verdict" : `predicted ${position(item.prediction)}`;
      head.append(el("span", "facts", `label ${position(item.label)}, ${verdict}`));
      node.addEventListener("toggle", () => {
        if (!node.open || node.children.length > 1) return;
        node.append(el("p", "problem", item.problem), el("p", "facts", `${item.origin} ${item.id}`));
        const list = node.appendChild(el("ol"));
        item.steps.forEach((step, number) => list.append(judged(step, number)));
      });
      return node;
    }

    function show(at) {
      page = at;
      const words = root.querySelector("input").value.trim().toLowerCase();
      const by = SORTS[root.querySelector("select").value];
      const found = items.filter(item => filter === "all" || item.tags.includes(filter))
        .filter(item => !words || textOf(item).includes(words))
        .sort((a, b) => by(a) - by(b) || a.order - b.order);
      const rest = data.of > items.length ? `, of ${data.of} that were judged (the others do not fit on this page)` : "";
      root.querySelector(".count").textContent = `${found.length} of ${items.length} solutions${rest}`;
      root.querySelector(".list").replaceChildren(...found.slice(at * PER_PAGE, (at + 1) * PER_PAGE).map(opened));
      pager(root.querySelector(":scope > .pager"), PER_PAGE, found.length, at, show);
      for (const chip of root.querySelectorAll(".filters button")) {
        chip.setAttribute("aria-pressed", chip.dataset.filter === filter);
      }
    }

    for (const [name, text] of FILTERS) {
      const n = items.filter(item => name === "all" || item.tags.includes(name)).length;
      const chip = button(`${text} ${n}`, "", () => { filter = name; show(0); });
      chip.dataset.filter = name;
      root.querySelector(".filters").append(chip);
    }
    root.querySelector("select").addEventListener("change", () => show(0));
    root.querySelector("input").addEventListener("input", () => show(0));
    show(0);
  }

  function saveFigure(link) {  // in the colours of the screen, and on its ground
    const drawn = link.closest("figure").querySelector("svg").cloneNode(true), style = getComputedStyle(document.body);
    drawn.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    drawn.style.background = style.getPropertyValue("--card");
    const text = drawn.outerHTML.replace(/var\((--[a-z0-9]+)\)/g, (_, name) => style.getPropertyValue(name).trim());
    link.href = URL.createObjectURL(new Blob([text], {type: "image/svg+xml"}));
  }

  document.querySelectorAll(".browser").forEach(fill);
  document.querySelectorAll("a.svg").forEach(link => link.addEventListener("click", () => saveFigure(link)));
})();
