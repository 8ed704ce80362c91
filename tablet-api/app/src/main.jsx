import { render } from "preact";
import { useEffect } from "preact/hooks";
import * as db from "./db.js";
import { start } from "./outbox.js";
import { loadApp } from "./session.js";
import { change, day, state, useApp } from "./state.js";
import { Header, Notices } from "./parts.jsx";
import { Handover } from "./pages/handover.jsx";
import { Login } from "./pages/login.jsx";
import { List } from "./pages/list.jsx";
import { Mend } from "./pages/mend.jsx";
import { PreShot } from "./pages/preshot.jsx";
import { Read } from "./pages/read.jsx";
import { Revoked } from "./pages/revoked.jsx";
import { Setup } from "./pages/setup.jsx";
import { recallUnlock } from "./unlock.js";
import { registerWorker } from "./worker.js";

const PAGES = { login: Login, setup: Setup, read: Read, list: List, handover: Handover, mend: Mend, preshot: PreShot };

function App() {
  const s = useApp();
  const closed = s.session === "none" && s.page !== "list";
  const name = s.revoked ? "revoked" : closed ? "login" : s.page;
  const Page = s.revoked && s.page !== "list" ? Revoked : PAGES[closed ? "login" : s.page] ?? Login;
  useEffect(() => {
    const heading = document.querySelector("main h1");
    document.title = `${heading?.textContent ?? ""} - 接種記録の読み取り`;
    heading?.focus();
  }, [name]);
  return (
    <>
      <Header />
      <Notices />
      <main id="main"><Page /></main>
    </>
  );
}

/** The choice of the morning survives a restart, that of yesterday does not. */
async function recall() {
  const sitting = await db.setting("sitting");
  if (sitting && sitting.chosen === day()) change({ sitting });
  change({ exported: (await db.setting("exported")) ?? [] });
  await recallUnlock();
}

async function main() {
  render(<App />, document.getElementById("app"));
  performance.mark("interactive"); // the log-in can be typed; the rest comes behind it
  await recall();
  await loadApp();
  await start();
  await registerWorker();
  document.documentElement.dataset.ready = "yes";
}

window.addEventListener("beforeunload", e => {
  if (state.waiting.length > 0) e.preventDefault();
});
main();
