import { useState } from "preact/hooks";
import { Field } from "../parts.jsx";
import { logIn } from "../session.js";
import { state, useApp } from "../state.js";
import { unlock } from "../unlock.js";

export function Login() {
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  async function submit(e) {
    e.preventDefault();
    const form = new FormData(e.target);
    setBusy(true);
    setProblem(null);
    const why = await logIn(form.get("user"), form.get("password"));
    setBusy(false);
    setProblem(why);
  }
  return (
    <section class="narrow">
      <h1 tabIndex={-1}>ログイン</h1>
      {state.app?.terminal && <p>端末 {state.app.terminal}{state.app.site && `（${state.app.site}）`}</p>}
      <form onSubmit={submit}>
        <Field id="user" label="ユーザーID">
          <input id="user" name="user" required autocomplete="username" autocapitalize="off" spellcheck={false} />
        </Field>
        <Field id="password" label="パスワード">
          <input id="password" name="password" type="password" required autocomplete="current-password" />
        </Field>
        <p class="problem" role="alert">{problem}</p>
        <button class="main" disabled={busy}>{busy ? "確認しています…" : "ログイン"}</button>
      </form>
      <Local />
    </section>
  );
}

/** Without network, after a restart: reading goes on under the supervisor's code. */
function Local() {
  const s = useApp();
  const [problem, setProblem] = useState(null);
  if (s.online || !s.unlock) return null;
  async function submit(e) {
    e.preventDefault();
    setProblem(null);
    if (!s.sitting || !s.app) return setProblem("今日のワクチンと会場がまだ選ばれていないため、使えません。");
    setProblem(await unlock(new FormData(e.target).get("code")));
  }
  return (
    <form onSubmit={submit} class="card">
      <h2>通信できないとき</h2>
      <p>{s.unlock.user_id} が設定した解錠コードで、読み取りだけを続けられます。</p>
      <Field id="code" label="解錠コード"><input id="code" name="code" type="password" autocomplete="off" required /></Field>
      <p class="problem" role="alert">{problem}</p>
      <button>読み取りを続ける</button>
    </form>
  );
}
